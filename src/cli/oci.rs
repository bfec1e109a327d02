//! Container images: what in them boots.

use std::path::Path;
use std::sync::Arc;

use super::medium::{Subject, WalkArgs, explain_oci, identify_inner};
use super::output::hinted;
use crate::source::Blob;
use crate::source::oci::{Layout, Node, Tree};
use crate::walk::{Medium, MediumError};

/// Finds out what a container image holds: a disk image, the content of a boot partition, or a UKI.
pub(super) fn identify(layout: &Layout, path: &Path, args: &WalkArgs) -> anyhow::Result<Subject> {
    let tree = Tree::read(layout, &is_wanted, args.max_size()).map_err(|error| explain_oci(error, path))?;
    let name = layout.name.as_deref().map_or(String::new(), |name| format!(" {name}"));
    let step = format!("a container image{name} of {} layers", layout.layers.len());
    let place = |what: &str| path.join(what);
    let subject = match files(&tree, is_disk).as_slice() {
        [] => None,
        [(name, content)] => Some(identify_inner(content, &place(name), args)?),
        several => return Err(too_many(path, "disk images", several)),
    };
    if let Some(mut subject) = subject {
        if let Subject::Medium(medium) = &mut subject {
            medium.steps.insert(0, step);
            medium.warnings.extend(layout.warnings.iter().cloned());
        }
        return Ok(subject);
    }
    let ukis = files(&tree, is_module_uki);
    match Medium::of_tree(&Arc::new(tree)) {
        Ok(mut medium) => {
            medium.steps.insert(0, step);
            medium.warnings.extend(layout.warnings.iter().cloned());
            return Ok(Subject::Medium(Box::new(medium)));
        }
        Err(MediumError::NoBootFolder(_)) => {}
        Err(error) => return Err(anyhow::Error::new(error).context(path.display().to_string())),
    }
    match ukis.as_slice() {
        [(name, content)] => identify_inner(content, &place(name), args),
        [] => Err(hinted(
            format!("{}: nothing boots from this container image", path.display()),
            "it has neither a disk image, nor EFI in /boot, /efi or /boot/efi, nor /usr/lib/modules/*/*.efi",
        )),
        several => Err(too_many(path, "unified kernel images", several)),
    }
}

type Files = [(String, Blob)];

fn too_many(path: &Path, what: &str, several: &Files) -> anyhow::Error {
    let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
    let text = format!("{}: the container image has several {what}: {}", path.display(), names.join(", "));
    hinted(text, "unpack the one that is meant, and name it")
}

fn files(tree: &Tree, wanted: fn(&str) -> bool) -> Vec<(String, Blob)> {
    let files = tree.nodes.iter().filter_map(|(path, node)| match node {
        Node::File(content) if wanted(path) => Some((path.clone(), content.clone())),
        _ => None,
    });
    files.collect()
}

fn is_wanted(path: &str) -> bool {
    let boots = ["boot/", "efi/", "usr/lib/bootupd/updates/"].iter().any(|folder| path.starts_with(folder));
    boots || is_disk(path) || is_module_uki(path)
}

/// A disk in the place where KubeVirt's container disks have theirs, or at the top.
fn is_disk(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let base = [".zst", ".xz", ".gz"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let suffixes = [".raw", ".qcow2", ".vmdk", ".vhd", ".vhdx"];
    let is_disk = suffixes.iter().any(|suffix| base.ends_with(suffix));
    // At the top, *.img may as well be an initrd.
    (folder == "disk" && (is_disk || base.ends_with(".img"))) || (folder.is_empty() && is_disk)
}

/// `usr/lib/modules/VERSION/NAME.efi`.
fn is_module_uki(path: &str) -> bool {
    let rest = path.strip_prefix("usr/lib/modules/").or_else(|| path.strip_prefix("lib/modules/"));
    rest.is_some_and(|rest| rest.ends_with(".efi") && rest.matches('/').count() == 1)
}
