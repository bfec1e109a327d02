//! Which program the firmware starts: what the caller names, what the machine's boot options name, or the removable media
//! path.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::sync::Arc;

use super::variables::{BootOption, Target};
use super::{Loader, Medium, Walk, WalkError, Wishes, in_image, shown, text};
use crate::disk::Volume;
use crate::pe::PeImage;
use crate::source::Blob;

/// Removable media paths (UEFI section 3.5.1.1) with the suffix that systemd uses for the architecture.
pub(super) const REMOVABLE: [(&str, &str); 4] = [
    ("\\EFI\\BOOT\\BOOTX64.EFI", "x64"),
    ("\\EFI\\BOOT\\BOOTAA64.EFI", "aa64"),
    ("\\EFI\\BOOT\\BOOTRISCV64.EFI", "riscv64"),
    ("\\EFI\\BOOT\\BOOTIA32.EFI", "ia32"),
];

/// The program that the firmware starts, and from where.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) loader: Loader,
    /// The medium, with the volume that it starts from in the place of the EFI System Partition.
    pub(super) medium: Medium,
    /// LoadOptions that the boot option brings along; empty without one.
    pub(super) load_options: Vec<u8>,
}

/// Finds the program that starts first.
pub(super) fn start(medium: &Medium, wishes: &Wishes, walk: &mut Walk) -> Result<Start, WalkError> {
    let mut medium = medium.clone();
    if let Some(path) = &wishes.boot_option {
        let volume = medium.esp.as_ref();
        let file = volume
            .open(path)?
            .ok_or_else(|| WalkError::NoFile { place: volume.label().to_owned(), path: shown(path) })?;
        // However it is written, the firmware knows it by its path from the root.
        let loader = loader(&text::efi_path(&format!("\\{path}")), file)?;
        return Ok(Start { loader, medium, load_options: Vec::new() });
    }
    let variables = wishes.variables.as_ref().filter(|variables| variables.has_options());
    let Some(variables) = variables else {
        let loader = removable(&medium, walk)?;
        return Ok(Start { loader, medium, load_options: Vec::new() });
    };
    for (is_next, option) in variables.in_order() {
        let option = match option {
            Ok(option) => option,
            Err(damaged) => {
                walk.warnings.push(format!("{damaged}: the firmware is taken to pass it over"));
                continue;
            }
        };
        if !option.automatic && !is_next {
            continue;
        }
        match resolve(&option, &medium)? {
            Ok((volume, path, file)) => {
                let named = if is_next { "BootNext" } else { "the boot order" };
                walk.steps.push(format!("{named} names {}: {}", option.title, shown(&path)));
                medium.esp = volume;
                let loader = loader(&path, file)?;
                return Ok(Start { loader, medium, load_options: option.load_options });
            }
            Err(why) => {
                walk.warnings.push(format!(
                    "the firmware tries {} first, which starts nothing of this disk ({why}): if it starts anything, or \
                     the firmware keeps count of failed attempts, PCR 4 is another one (--boot-option PATH decides)",
                    option.title
                ));
                medium.earlier_options.push(option.title);
            }
        }
    }
    walk.steps.push("no boot option of the machine names a program of this disk".to_owned());
    let loader = removable(&medium, walk)?;
    Ok(Start { loader, medium, load_options: Vec::new() })
}

type Found = (Arc<dyn Volume>, String, Blob);

/// The file that an option starts; the inner error says why it starts none of this medium.
fn resolve(option: &BootOption, medium: &Medium) -> Result<Result<Found, String>, WalkError> {
    let (volume, file) = match &option.target {
        Target::Elsewhere(path) => return Ok(Err(path.clone())),
        Target::Partition(guid, file) => match medium.volume_of(*guid) {
            Some(Ok(volume)) => (volume, file.clone()),
            Some(Err(error)) => return Ok(Err(error.to_string())),
            None => return Ok(Err(format!("there is no partition {guid}"))),
        },
        Target::File(file) => return on_any_volume(file, medium),
        Target::Device(file) => (Arc::clone(&medium.esp), file.clone()),
    };
    let candidates: Vec<String> = match file {
        Some(file) => vec![text::efi_path(&file)],
        None => REMOVABLE.iter().map(|(path, _)| (*path).to_owned()).collect(),
    };
    for path in &candidates {
        if let Some(file) = volume.open(path)? {
            return Ok(Ok((volume, path.clone(), file)));
        }
    }
    let tried = candidates.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ");
    Ok(Err(format!("{}: there is no {tried}", volume.label())))
}

fn on_any_volume(file: &str, medium: &Medium) -> Result<Result<Found, String>, WalkError> {
    let path = text::efi_path(file);
    for volume in [Some(&medium.esp), medium.xbootldr.as_ref()].into_iter().flatten() {
        if let Some(file) = volume.open(&path)? {
            return Ok(Ok((Arc::clone(volume), path, file)));
        }
    }
    Ok(Err(format!("there is no {}", shown(&path))))
}

fn removable(medium: &Medium, walk: &mut Walk) -> Result<Loader, WalkError> {
    let mut found = Vec::new();
    for (path, _) in REMOVABLE {
        found.extend(medium.esp.open(path)?.map(|file| (path, file)));
    }
    let others: Vec<&str> = found.iter().skip(1).map(|(path, _)| *path).collect();
    if let (Some((first, _)), false) = (found.first(), others.is_empty()) {
        walk.warnings.push(format!(
            "there are loaders of several architectures; {} is followed, not {}",
            shown(first),
            others.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ")
        ));
    }
    match found.into_iter().next() {
        Some((path, file)) => loader(path, file),
        None => Err(no_loader(medium)?),
    }
}

/// Reads a program.
pub(super) fn loader(path: &str, file: Blob) -> Result<Loader, WalkError> {
    let image = PeImage::parse(&file).map_err(|error| in_image(path, error))?;
    Ok(Loader { path: path.to_owned(), file, image })
}

/// The error, with programs that somebody may have meant.
fn no_loader(medium: &Medium) -> Result<WalkError, WalkError> {
    let volume = medium.esp.as_ref();
    let mut candidates = Vec::new();
    for folder in volume.list("\\EFI")?.unwrap_or_default() {
        let path = format!("\\EFI\\{}", folder.name);
        for entry in volume.list(&path)?.unwrap_or_default() {
            if entry.is_file() && text::ends_with(&entry.name, ".efi") {
                candidates.push(format!("{path}\\{}", entry.name));
            }
        }
    }
    let tried = REMOVABLE.map(|(path, _)| shown(path)).join(", ");
    Ok(WalkError::NoLoader { place: volume.label().to_owned(), tried, candidates })
}
