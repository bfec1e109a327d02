//! Boot entries: files of `\EFI\Linux` (Type #2) and of `\loader\entries` (Type #1), as systemd-boot collects them
//! (UAPI.1 "Boot Loader Specification").

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod type1;
mod type2;

use std::sync::Arc;

use type1::{by_smbios, type1};
use type2::type2;

use super::text::ends_with;
use super::{Loader, LoaderChoice, Medium, WalkError};
use crate::disk::{Volume, VolumeError};
use crate::source::Blob;

const EMPTY_VALUE: &str =
    "it has an empty value, and whether this version of systemd-boot takes that for none is not known";

/// An entry of the boot menu.
#[derive(Debug, Clone)]
pub struct BootEntry {
    /// Its id, in lower case: the file's name, for a profile followed by `@` and the profile's id.
    pub id: String,
    /// The id without the profile.
    pub base_id: String,
    /// What the menu shows.
    pub title: Option<String>,
    /// `sort-key`.
    pub sort_key: Option<String>,
    /// `version`.
    pub version: Option<String>,
    /// `machine-id`.
    pub machine_id: Option<String>,
    /// Profile of the UKI.
    pub profile: u32,
    /// Boot counting: tries that are left, when the name has a counter.
    pub tries_left: Option<u32>,
    /// Tries that are done.
    pub tries_done: Option<u32>,
    /// Where it comes from.
    pub source: EntrySource,
    pub(super) volume: Arc<dyn Volume>,
    pub(super) file: Blob,
}

/// What kind of entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntrySource {
    /// A UKI in `\EFI\Linux`: its path.
    Type2(String),
    /// A file in `\loader\entries`.
    Type1 {
        /// Its path.
        path: String,
        /// The key that names the program: `linux`, `efi`, `uki` or `uki-url`.
        key: &'static str,
        /// The program.
        program: String,
        /// `initrd` lines.
        initrds: Vec<String>,
        /// `options` lines, joined with spaces.
        options: Option<String>,
        /// `extra` lines.
        extras: Vec<String>,
        /// `devicetree`.
        devicetree: Option<String>,
    },
    /// A file in `\EFI\Linux` of which systemd-boot may read what is not read here, so that it may make an entry of it.
    Unread {
        /// Its path.
        path: String,
        /// Why it is not read.
        why: String,
    },
}

impl BootEntry {
    /// An entry of which nothing is known but its name.
    fn new(id: String, source: EntrySource, volume: &Arc<dyn Volume>, file: &Blob) -> Self {
        Self {
            base_id: id.clone(),
            id,
            title: None,
            sort_key: None,
            version: None,
            machine_id: None,
            profile: 0,
            tries_left: None,
            tries_done: None,
            source,
            volume: Arc::clone(volume),
            file: file.clone(),
        }
    }

    /// Nothing is known of it but its name, so neither is its place in the menu.
    pub(super) fn is_unplaced(&self) -> bool {
        matches!(self.source, EntrySource::Unread { .. }) && self.title.is_none()
    }

    /// What it is, in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.source {
            EntrySource::Type2(_) => "Type #2",
            EntrySource::Type1 { .. } => "Type #1",
            EntrySource::Unread { .. } => "not read",
        }
    }
}

/// The rules of a version, with one way to read the ids of entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids<'a> {
    pub(super) rules: &'a LoaderChoice,
    /// Ids leave out the boot counter.
    pub(super) without_counter: bool,
}

impl std::ops::Deref for Ids<'_> {
    type Target = LoaderChoice;

    fn deref(&self) -> &LoaderChoice {
        self.rules
    }
}

/// Collects the entries of both boot partitions, in the order in which systemd-boot finds them.
pub(super) fn find(
    medium: &Medium,
    loader: &Loader,
    rules: &Ids<'_>,
    (smbios, warnings): (&[Vec<u8>], &mut Vec<String>),
) -> Result<Vec<BootEntry>, WalkError> {
    let mut entries = Vec::new();
    // Only entries of the volume that it comes from are compared with systemd-boot's own path (systemd `config_load_xbootldr`).
    for (volume, own_path) in
        [(Some(&medium.esp), Some(loader.path.as_str())), (medium.xbootldr.as_ref(), None)]
    {
        let Some(volume) = volume else { continue };
        type2(volume, loader, rules, warnings, &mut entries)?;
        type1(volume, (loader, own_path), rules, warnings, &mut entries)?;
    }
    if rules.smbios_entries {
        by_smbios(&medium.esp, loader, rules, (smbios, warnings), &mut entries)?;
    }
    Ok(entries)
}

/// The id of an entry, in lower case; without its boot counter where the version leaves that out.
fn id_of(name: &str, suffix: &str, rules: &Ids<'_>) -> String {
    let id = match split_counter(name, suffix) {
        Some((stem, ..)) if rules.without_counter => format!("{stem}{suffix}"),
        _ => name.to_owned(),
    };
    id.to_ascii_lowercase()
}

/// Path and content of each file in a folder that systemd-boot takes for an entry by its name.
fn entry_files(
    volume: &Arc<dyn Volume>,
    folder: &str,
    suffix: &str,
) -> Result<Vec<(String, Blob)>, VolumeError> {
    let mut files = Vec::new();
    for found in volume.list(folder)?.unwrap_or_default() {
        if found.is_file() && is_entry_name(&found.name, suffix) {
            let path = format!("{folder}\\{}", found.name);
            files.extend(volume.open(&path)?.map(|file| (path, file)));
        }
    }
    Ok(files)
}

fn is_entry_name(name: &str, suffix: &str) -> bool {
    let automatic = name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("auto-"));
    !name.starts_with('.') && !automatic && ends_with(name, suffix)
}

/// `+LEFT-DONE` or `+LEFT` before the suffix (systemd `boot_entry_parse_tries`): tries left and done.
pub(super) fn counters(name: &str, suffix: &str) -> (Option<u32>, Option<u32>) {
    match split_counter(name, suffix) {
        Some((_, left, done)) => (Some(left), Some(done)),
        None => (None, None),
    }
}

/// The name before the counter, and the counter's numbers.
pub(super) fn split_counter<'n>(name: &'n str, suffix: &str) -> Option<(&'n str, u32, u32)> {
    let (stem, counter) = name.rsplit_once('+')?;
    if !ends_with(counter, suffix) {
        return None;
    }
    let counter = counter.get(..counter.len().checked_sub(suffix.len())?)?;
    let number = |text: &str| -> Option<u32> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number <= i32::MAX as u32)
    };
    match counter.split_once('-') {
        Some((left, done)) => Some((stem, number(left)?, number(done)?)),
        None => Some((stem, number(counter)?, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_names() {
        assert_eq!(split_counter("foo+3-1.efi", ".efi"), Some(("foo", 3, 1)));
        assert_eq!(split_counter("foo+3.EFI", ".efi"), Some(("foo", 3, 0)));
        assert_eq!(split_counter("6.1+deb12+0-3.conf", ".conf"), Some(("6.1+deb12", 0, 3)));
        for name in
            ["foo.efi", "foo+.efi", "foo+x.efi", "foo+1-.efi", "foo+1.conf", "foo+3 .efi", "a+1-2-3.efi"]
        {
            assert_eq!(split_counter(name, ".efi"), None, "{name}");
        }
    }
}
