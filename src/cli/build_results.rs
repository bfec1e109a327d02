//! A folder of build results, as mkosi writes one: the disk image, parts of it as files of their own, and lists.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::input::{display_name, open, read_small};
use super::output::hinted;
use crate::hashing::{DigestPlan, Segment};
use crate::materials::{self, Material};
use crate::tcg::HashAlgorithm;

/// Most names in the folder that are looked at.
const MAX_NAMES: usize = 4096;
/// Most bytes of a list.
const MAX_LIST: u64 = 16 << 20;
/// Parts of an image that mkosi writes beside it (mkosi(1), `SplitArtifacts=`).
const PARTS: [&str; 4] = [".efi", ".vmlinuz", ".initrd", ".roothash"];

/// What lies in the folder.
#[derive(Debug)]
pub(super) struct BuildResults {
    folder: PathBuf,
    /// The disk image, or the UKI where there is no disk.
    pub(super) image: PathBuf,
    /// The image's name without suffixes.
    stem: String,
    names: Vec<String>,
}

impl BuildResults {
    /// Looks into a folder; `None` when there is no image in it.
    pub(super) fn find(folder: &Path) -> anyhow::Result<Option<Self>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())?.take(MAX_NAMES) {
            let path = entry?.path();
            if path.is_file() {
                names.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
            }
        }
        names.sort();
        let disks: Vec<&String> = names.iter().filter(|name| disk_stem(name).is_some()).collect();
        let images: Vec<&String> = if disks.is_empty() {
            names.iter().filter(|name| name.ends_with(".efi") && !name.ends_with(".addon.efi")).collect()
        } else {
            disks
        };
        match images.as_slice() {
            [] => Ok(None),
            [only] => {
                let stem = disk_stem(only).or_else(|| only.strip_suffix(".efi")).unwrap_or(only).to_owned();
                let image = folder.join(only);
                Ok(Some(Self { folder: folder.to_owned(), image, stem, names }))
            }
            several => {
                let several: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
                Err(hinted(
                    format!("{}: has several images: {}", folder.display(), several.join(", ")),
                    "name one of them",
                ))
            }
        }
    }

    /// `IMAGE` with a suffix, where it is there.
    pub(super) fn file(&self, suffix: &str) -> Option<PathBuf> {
        let name = format!("{}{suffix}", self.stem);
        self.names.contains(&name).then(|| self.folder.join(name))
    }

    /// The manifest of mkosi, where there is one in JSON.
    pub(super) fn manifest(&self) -> anyhow::Result<Option<Material>> {
        let Some(path) = self.file(".manifest") else { return Ok(None) };
        let bytes = read_small(&path, materials::MAX_SIZE)?;
        Ok(materials::recognise(&display_name(&path), &bytes).ok())
    }

    /// The root hash that the build wrote down, `IMAGE.roothash`; or of `/usr`, `IMAGE.usrhash`.
    pub(super) fn root_hashes(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut hashes = Vec::new();
        for path in [".roothash", ".usrhash"].iter().filter_map(|suffix| self.file(suffix)) {
            let text = String::from_utf8_lossy(&read_small(&path, 4096)?).trim().to_ascii_lowercase();
            hashes.push((display_name(&path), text));
        }
        Ok(hashes)
    }

    /// The UKI as a file of its own, where the image is a disk.
    pub(super) fn split_uki(&self) -> Option<PathBuf> {
        self.file(".efi").filter(|path| *path != self.image)
    }

    /// Files whose digest is not the one in `SHA256SUMS`, or `IMAGE.SHA256SUMS`, and why. Without `everything` the disk
    /// image is left out: reading all of it costs more than the prediction.
    pub(super) fn wrong_sums(&self, everything: bool) -> anyhow::Result<Vec<(String, String)>> {
        let mut wrong = Vec::new();
        let lists =
            [self.file(".SHA256SUMS"), Some(self.folder.join("SHA256SUMS")).filter(|path| path.is_file())];
        for list in lists.into_iter().flatten() {
            let text = read_small(&list, MAX_LIST)?;
            for line in String::from_utf8_lossy(&text).lines() {
                let Some((digest, name)) = line.split_once([' ', '\t']) else { continue };
                let name = name.trim_start().trim_start_matches('*');
                let is_part =
                    PARTS.iter().any(|suffix| name.ends_with(suffix)) || name.ends_with(".manifest");
                // Names with folders in them are about files elsewhere.
                if !self.names.iter().any(|known| known == name) || !(everything || is_part) {
                    continue;
                }
                let found = sha256(&self.folder.join(name))?;
                let why = format!("its SHA-256 is {found}, {} says {digest}", display_name(&list));
                let new = (name.to_owned(), why);
                if !digest.eq_ignore_ascii_case(&found) && !wrong.contains(&new) {
                    wrong.push(new);
                }
            }
        }
        Ok(wrong)
    }
}

/// The name of a disk image without its suffixes; `None` for a part of one (`IMAGE.root-x86-64.raw`), and other files.
fn disk_stem(name: &str) -> Option<&str> {
    let stem = [".zst", ".xz", ".gz"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let stem = stem.strip_suffix(".raw")?;
    let is_part = [".root", ".usr", ".esp", ".xbootldr", ".var", ".swap", ".home", ".srv"]
        .iter()
        .any(|part| stem.rsplit_once(part).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('-')));
    (!is_part).then_some(stem)
}

/// SHA-256 of a file, in hex.
pub(super) fn sha256(path: &Path) -> anyhow::Result<String> {
    let file = open(path)?;
    let digests = sha256_of(vec![vec![Segment::Range(file)]]).with_context(|| path.display().to_string())?;
    Ok(digests.into_iter().next().unwrap_or_default())
}

/// SHA-256 of each of several streams, in hex; what occurs in several of them is read once.
pub(super) fn sha256_of(streams: Vec<Vec<Segment>>) -> anyhow::Result<Vec<String>> {
    let mut plan = DigestPlan::new();
    let ids: Vec<_> =
        streams.into_iter().map(|stream| plan.add_single(HashAlgorithm::Sha256, stream)).collect();
    let bar = super::progress::Bar::new();
    bar.start(plan.bytes_to_read());
    let digests = plan.compute(&[], &|bytes| bar.advance(bytes))?;
    bar.finish();
    let of = |id| digests.get(id).and_then(|set| set.get(HashAlgorithm::Sha256));
    Ok(ids.into_iter().filter_map(of).map(|digest| digest.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_disks_are_no_disks() {
        for name in ["image.raw", "image.raw.zst", "a.root.b.raw", "rig_1.raw"] {
            assert!(disk_stem(name).is_some(), "{name}");
        }
        for name in ["image.root-x86-64.raw", "image.esp.raw", "image.usr-x86-64-verity.raw", "image.efi"] {
            assert_eq!(disk_stem(name), None, "{name}");
        }
    }
}
