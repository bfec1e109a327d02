//! From a medium to what boots from it: which loader the firmware starts, which entry the loader picks, and which files
//! lie beside it.
//!
//! The walk decides by what is on the medium alone. EFI variables and people at the menu can decide otherwise; the
//! caller names an entry then. Behaviour by version of systemd-boot is in [`LoaderChoice`]; *systemd* below means
//! its sources, `src/boot/boot.c` (`src/boot/efi/boot.c` up to 256).

mod chain;
mod choice;
mod companions;
mod entries;
mod glob;
mod loader_conf;
mod medium;
mod order;
mod text;

use crate::boot::BootChain;
use crate::disk::VolumeError;
use crate::pe::{Machine, PeError, PeImage};
use crate::source::Blob;
use crate::uki::{ImageRole, LoaderInfo, SystemdVersion};

pub use choice::{Chosen, LoaderChoice};
pub use entries::{BootEntry, EntrySource};
pub use glob::matches as glob_matches;
pub use loader_conf::LoaderConf;
pub use medium::{Medium, MediumError};
pub use order::{compare_entries, compare_versions};

/// What the caller decides in place of the medium.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// File that the firmware starts, a path on the ESP; the removable media path by default.
    pub boot_option: Option<String>,
    /// Entry that the boot loader starts: an id, or a glob of ids; the loader's own choice by default.
    pub entry: Option<String>,
}

/// A walked boot.
#[derive(Debug)]
pub struct Walk {
    /// What was found and decided, in order, one line each.
    pub steps: Vec<String>,
    /// What deserves a second look.
    pub warnings: Vec<String>,
    /// Ways to boot in the order of the boot menu; a single one where no systemd-boot chooses.
    pub boots: Vec<Boot>,
    /// Which of them is booted; `None` when only the machine can tell.
    pub chosen: Option<usize>,
}

/// One way to boot from the medium.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Its name: the id of the loader's entry, or the path of the program.
    pub id: String,
    /// Profile of the UKI that is asked for.
    pub profile: u32,
    /// What boots; the error when this entry can't.
    pub chain: Result<Box<BootChain>, String>,
}

/// A boot that can't be walked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The volume could not be read.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A file that should be a program is none.
    #[error("{path}: {error}")]
    Image {
        /// Its path on the volume.
        path: String,
        /// What is wrong with it.
        #[source]
        error: PeError,
    },
    /// Nothing that the firmware could start.
    #[error("{place}: no boot loader: there is none of {tried}")]
    NoLoader {
        /// The volume.
        place: String,
        /// Paths that were looked for.
        tried: String,
        /// Programs that were found elsewhere on it.
        candidates: Vec<String>,
    },
    /// A file that the caller named is not there.
    #[error("{place}: there is no {path}")]
    NoFile {
        /// The volume.
        place: String,
        /// The path.
        path: String,
    },
    /// systemd-boot finds nothing to boot.
    #[error(
        "{place}: systemd-boot finds nothing to boot: there is neither an .efi file in EFI/Linux that it takes, nor a .conf file in loader/entries"
    )]
    NoEntries {
        /// The volume.
        place: String,
    },
    /// No entry of that name.
    #[error("there is no boot entry '{wanted}'; the entries are {known}")]
    NoSuchEntry {
        /// What was asked for.
        wanted: String,
        /// Ids that there are.
        known: String,
    },
}

/// The program that the firmware starts.
#[derive(Debug)]
struct Loader {
    path: String,
    file: Blob,
    image: PeImage,
}

/// Removable media paths (UEFI section 3.5.1.1) with the suffix that systemd uses for the architecture.
const REMOVABLE: [(&str, &str); 4] = [
    ("\\EFI\\BOOT\\BOOTX64.EFI", "x64"),
    ("\\EFI\\BOOT\\BOOTAA64.EFI", "aa64"),
    ("\\EFI\\BOOT\\BOOTRISCV64.EFI", "riscv64"),
    ("\\EFI\\BOOT\\BOOTIA32.EFI", "ia32"),
];

/// Walks the boot of a medium.
///
/// # Errors
/// [`WalkError`].
pub fn walk(medium: &Medium, wishes: &Wishes) -> Result<Walk, WalkError> {
    let mut walk = Walk {
        steps: medium.steps.clone(),
        warnings: medium.warnings.clone(),
        boots: Vec::new(),
        chosen: Some(0),
    };
    let loader = find_loader(medium, wishes, &mut walk)?;
    let role = ImageRole::of(&loader.image).map_err(|error| in_image(&loader.path, error))?;
    match role {
        ImageRole::Uki => {
            walk.steps.push(format!("the firmware starts {}: a unified kernel image", shown(&loader.path)));
            walk.boots.push(chain::direct_uki(medium, &loader)?);
        }
        ImageRole::SystemdBoot => walk_systemd_boot(medium, &loader, wishes, &mut walk)?,
        ImageRole::Kernel => {
            walk.steps.push(format!("the firmware starts {}: a Linux kernel", shown(&loader.path)));
            walk.boots.push(chain::direct_kernel(medium, &loader));
        }
        ImageRole::Grub => {
            walk.steps.push(format!("the firmware starts {}: GRUB", shown(&loader.path)));
            walk.boots.push(chain::grub(medium, None, &loader));
        }
        other => {
            if let Some(grub) = second_stage(medium, &loader, other)? {
                walk.steps.push(format!("the firmware starts {}: shim", shown(&loader.path)));
                walk.steps.push(format!("shim starts {}: GRUB", shown(&grub.path)));
                walk.boots.push(chain::grub(medium, Some(&loader), &grub));
                return Ok(walk);
            }
            walk.steps.push(format!("the firmware starts {}: {}", shown(&loader.path), other.name()));
            walk.warnings.push(format!(
                "{}: {} is not followed: what it starts, and what it measures, is not known",
                shown(&loader.path),
                other.name()
            ));
            walk.boots.push(chain::unknown(medium, &loader));
        }
    }
    if role != ImageRole::SystemdBoot && wishes.entry.is_some() {
        walk.warnings.push(format!(
            "{} is no systemd-boot: there are no entries to choose among",
            shown(&loader.path)
        ));
    }
    Ok(walk)
}

/// The GRUB that a shim starts: `grubx64.efi` and its like in shim's own folder (shim `DEFAULT_LOADER`).
fn second_stage(medium: &Medium, shim: &Loader, role: ImageRole) -> Result<Option<Loader>, WalkError> {
    let Some(suffix) = machine_suffix(shim.image.machine).filter(|_| role == ImageRole::Shim) else {
        return Ok(None);
    };
    let folder = shim.path.strip_suffix(text::file_name(&shim.path)).unwrap_or_default();
    let path = format!("{folder}grub{suffix}.efi");
    let Some(file) = medium.esp.open(&path)? else { return Ok(None) };
    let second = loader(&path, file)?;
    let role = ImageRole::of(&second.image).map_err(|error| in_image(&path, error))?;
    Ok((role == ImageRole::Grub).then_some(second))
}

fn find_loader(medium: &Medium, wishes: &Wishes, walk: &mut Walk) -> Result<Loader, WalkError> {
    let volume = medium.esp.as_ref();
    if let Some(path) = &wishes.boot_option {
        let file = volume
            .open(path)?
            .ok_or_else(|| WalkError::NoFile { place: volume.label().to_owned(), path: shown(path) })?;
        return loader(&text::efi_path(path), file);
    }
    let mut found = Vec::new();
    for (path, _) in REMOVABLE {
        found.extend(volume.open(path)?.map(|file| (path, file)));
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

fn loader(path: &str, file: Blob) -> Result<Loader, WalkError> {
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

fn walk_systemd_boot(
    medium: &Medium,
    loader: &Loader,
    wishes: &Wishes,
    walk: &mut Walk,
) -> Result<(), WalkError> {
    let version = version_of(&loader.image).map_err(|error| in_image(&loader.path, error))?;
    let described = version.as_ref().map_or("of unknown version".to_owned(), ToString::to_string);
    walk.steps.push(format!("the firmware starts {}: systemd-boot {described}", shown(&loader.path)));
    let rules = LoaderChoice::of(version.as_ref());
    let configuration = loader_conf::read(medium.esp.as_ref(), walk)?;
    let mut found = entries::find(medium, loader, rules, &mut walk.warnings)?;
    if found.is_empty() {
        return Err(WalkError::NoEntries { place: medium.esp.label().to_owned() });
    }
    found.sort_by(compare_entries);
    let chosen = choice::choose(&found, configuration.as_ref().map(|(conf, _)| conf), rules, wishes)?;
    walk.steps.push(chosen.reason.clone());
    walk.warnings.extend(chosen.warnings.iter().cloned());
    walk.chosen = chosen.index;
    let drivers = companions::drivers(medium, loader, &mut walk.warnings)?;
    let context = chain::Context { medium, loader, configuration, drivers };
    walk.boots = found.iter().map(|entry| chain::of_entry(&context, entry)).collect();
    Ok(())
}

fn version_of(image: &PeImage) -> Result<Option<SystemdVersion>, PeError> {
    Ok(LoaderInfo::of(image)?.and_then(|info| info.version))
}

/// The suffix that systemd gives to files of an architecture (`EFI_MACHINE_TYPE_NAME`).
fn machine_suffix(machine: Machine) -> Option<&'static str> {
    match machine {
        Machine::X86_64 => Some("x64"),
        Machine::AARCH64 => Some("aa64"),
        Machine::RISCV64 => Some("riscv64"),
        Machine::IA32 => Some("ia32"),
        _ => None,
    }
}

fn in_image(path: &str, error: PeError) -> WalkError {
    WalkError::Image { path: shown(path), error }
}

/// A path as people write it.
fn shown(path: &str) -> String {
    path.trim_start_matches(['\\', '/']).replace('\\', "/")
}
