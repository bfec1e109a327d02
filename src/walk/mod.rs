//! From a medium to what boots from it: which loader the firmware starts, which entry the loader picks, and which files
//! lie beside it.
//!
//! The walk decides by what is on the medium, and by the machine's EFI variables where they are given. People at the menu
//! can decide otherwise; the caller names an entry then. Behaviour by version of systemd-boot is in [`LoaderChoice`];
//! *systemd* below means its sources, `src/boot/boot.c` (`src/boot/efi/boot.c` up to 256).

mod chain;
mod choice;
mod companions;
mod entries;
mod firmware;
mod glob;
mod grub;
mod grub_replay;
mod loader_conf;
mod medium;
mod order;
mod shim;
mod text;
mod variables;

use crate::baseline::RecordedGrub;
use crate::boot::BootChain;
use crate::disk::VolumeError;
use crate::pe::{Machine, PeError, PeImage};
use crate::source::Blob;
use crate::uki::{ImageRole, LoaderInfo, SystemdVersion};

pub use choice::{Chosen, CounterInIds, LoaderChoice};
pub use entries::{BootEntry, EntrySource};
pub use glob::matches as glob_matches;
pub use loader_conf::LoaderConf;
pub use medium::{Medium, MediumError};
use order::{MAX_ENTRIES, sort_entries};
pub use order::{compare_entries, compare_versions};
pub use variables::{BootVariables, LoaderVariables};

use shim::SecondStage;

/// What the caller decides in place of the medium.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// File that the firmware starts, a path on the ESP; the removable media path by default.
    pub boot_option: Option<String>,
    /// Entry that the boot loader starts: an id, or a glob of ids; the loader's own choice by default.
    pub entry: Option<String>,
    /// The machine's EFI variables; `None` when nothing is known of them.
    pub variables: Option<BootVariables>,
    /// OEM strings of the machine's SMBIOS; none in a confidential VM, where systemd-boot does not read them.
    pub smbios_strings: Vec<Vec<u8>>,
    /// A recorded boot by GRUB, or why that is of no use.
    pub recorded_grub: Option<Result<RecordedGrub, String>>,
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
    /// More entries than anybody has.
    #[error("{place}: the boot menu has more than {limit} entries")]
    TooManyEntries {
        /// The volume.
        place: String,
        /// The limit.
        limit: usize,
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

/// What starts before the program that is followed.
#[derive(Debug)]
struct Before<'a> {
    medium: &'a Medium,
    shim: Option<Loader>,
    /// Files beside shim that it goes by.
    beside_shim: Vec<String>,
    /// LoadOptions of the boot option, where no shim is between.
    load_options: Vec<u8>,
    /// The machine's EFI variables are known.
    knows_variables: bool,
}

impl<'a> Before<'a> {
    fn new(medium: &'a Medium, shim: Option<Loader>, load_options: Vec<u8>, wishes: &Wishes) -> Self {
        Self {
            medium,
            shim,
            beside_shim: Vec::new(),
            load_options,
            knows_variables: wishes.variables.is_some(),
        }
    }
}

/// Walks the boot of a medium.
///
/// # Errors
/// [`WalkError`].
pub fn walk(medium: &Medium, wishes: &Wishes) -> Result<Walk, WalkError> {
    let mut walk = walk_from_firmware(medium, wishes)?;
    let volumes = [Some(&medium.esp), medium.xbootldr.as_ref()].into_iter().flatten();
    walk.warnings.extend(volumes.flat_map(|volume| volume.warnings()));
    Ok(walk)
}

fn walk_from_firmware(medium: &Medium, wishes: &Wishes) -> Result<Walk, WalkError> {
    let mut walk = Walk {
        steps: medium.steps.clone(),
        warnings: medium.warnings.clone(),
        boots: Vec::new(),
        chosen: Some(0),
    };
    let mut start = firmware::start(medium, wishes, &mut walk)?;
    if role_of(&start.loader)? != ImageRole::Shim {
        let medium = &start.medium;
        let before = Before::new(medium, None, start.load_options, wishes);
        follow(&before, start.loader, wishes, &mut walk)?;
        return Ok(walk);
    }
    walk.steps.push(format!("the firmware starts {}: shim", shown(&start.loader.path)));
    let mut second = shim::second_stage(&start, &mut walk)?;
    if let SecondStage::Restart(other) = second {
        start.loader = other;
        walk.steps.push(format!("from the second boot on it starts {}", shown(&start.loader.path)));
        if role_of(&start.loader)? != ImageRole::Shim {
            let before = Before::new(&start.medium, None, Vec::new(), wishes);
            follow(&before, start.loader, wishes, &mut walk)?;
            return Ok(walk);
        }
        second = shim::second_stage(&start, &mut walk)?;
    }
    match second {
        SecondStage::Program(second) => {
            let beside_shim = shim::beside(&start)?;
            let before =
                Before { beside_shim, ..Before::new(&start.medium, Some(start.loader), Vec::new(), wishes) };
            follow(&before, second, wishes, &mut walk)?;
        }
        SecondStage::Restart(_) => {
            not_followed(&start.medium, &start.loader, "shim: fallback again", &mut walk)
        }
        SecondStage::Unknown(why) => {
            not_followed(&start.medium, &start.loader, &format!("shim: {why}"), &mut walk);
        }
    }
    Ok(walk)
}

fn role_of(loader: &Loader) -> Result<ImageRole, WalkError> {
    ImageRole::of(&loader.image).map_err(|error| in_image(&loader.path, error))
}

/// Goes on from a program that is no shim, or the second stage of one.
fn follow(before: &Before<'_>, loader: Loader, wishes: &Wishes, walk: &mut Walk) -> Result<(), WalkError> {
    let role = role_of(&loader)?;
    let starter = if before.shim.is_some() { "shim" } else { "the firmware" };
    let started = |what: &str| format!("{starter} starts {}: {what}", shown(&loader.path));
    match role {
        ImageRole::Uki => {
            walk.steps.push(started("a unified kernel image"));
            walk.boots.push(chain::direct_uki(before, &loader));
        }
        ImageRole::SystemdBoot => walk_systemd_boot(before, &loader, wishes, walk)?,
        ImageRole::Kernel => {
            walk.steps.push(started("a Linux kernel"));
            walk.boots.push(chain::direct_kernel(before, &loader));
        }
        ImageRole::Grub => {
            walk.steps.push(started("GRUB"));
            walk.boots.push(chain::grub(before, &loader, wishes.recorded_grub.as_ref()));
        }
        other => {
            walk.steps.push(started(other.name()));
            let why = format!(
                "{} is not followed: what it starts, and what it measures, is not known",
                other.name()
            );
            walk.warnings.push(format!("{}: {why}", shown(&loader.path)));
            walk.boots.push(chain::unknown(before, &loader));
        }
    }
    if role != ImageRole::SystemdBoot && wishes.entry.is_some() {
        walk.warnings.push(format!(
            "{} is no systemd-boot: there are no entries to choose among",
            shown(&loader.path)
        ));
    }
    Ok(())
}

fn not_followed(medium: &Medium, loader: &Loader, why: &str, walk: &mut Walk) {
    walk.warnings.push(format!("{}: {why}, so what starts next is not known", shown(&loader.path)));
    let before = Before::new(medium, None, Vec::new(), &Wishes::default());
    walk.boots.push(chain::unknown(&before, loader));
}

fn walk_systemd_boot(
    before: &Before<'_>,
    loader: &Loader,
    wishes: &Wishes,
    walk: &mut Walk,
) -> Result<(), WalkError> {
    let medium = before.medium;
    let version = version_of(&loader.image).map_err(|error| in_image(&loader.path, error))?;
    let described = version.as_ref().map_or("of unknown version".to_owned(), ToString::to_string);
    let starter = if before.shim.is_some() { "shim" } else { "the firmware" };
    walk.steps.push(format!("{starter} starts {}: systemd-boot {described}", shown(&loader.path)));
    let rules = LoaderChoice::of(version.as_ref());
    let configuration = loader_conf::read(medium.esp.as_ref(), rules, walk)?;
    let mut readings = Vec::new();
    for without_counter in rules.counter.readings() {
        let mut warnings = Vec::new();
        let ids = entries::Ids { rules, without_counter: *without_counter };
        let found = entries::find(medium, loader, &ids, (&wishes.smbios_strings, &mut warnings))?;
        if found.is_empty() {
            walk.warnings.extend(warnings);
            return Err(WalkError::NoEntries { place: medium.esp.label().to_owned() });
        }
        if found.len() > MAX_ENTRIES {
            return Err(WalkError::TooManyEntries {
                place: medium.esp.label().to_owned(),
                limit: MAX_ENTRIES,
            });
        }
        if readings.is_empty() {
            walk.warnings.extend(warnings);
        }
        readings.push(sort_entries(found));
    }
    let conf = configuration.as_ref().map(|(conf, _)| conf);
    let (found, chosen) = choice::choose_by_readings(readings, conf, rules, wishes)?;
    walk.steps.push(chosen.reason.clone());
    walk.warnings.extend(chosen.warnings.iter().cloned());
    walk.chosen = chosen.index;
    let drivers = companions::drivers(medium, loader, &mut walk.warnings)?;
    let context = chain::Context { before, loader, configuration, drivers };
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
