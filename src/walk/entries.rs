//! Boot entries: files of `\EFI\Linux` (Type #2) and of `\loader\entries` (Type #1), as systemd-boot collects them
//! (UAPI.1 "Boot Loader Specification").

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::sync::Arc;

use super::choice::OPEN_QUOTES;
use super::text::{MAX_FILE, assignments, efi_path, ends_with, file_name};
use super::{Loader, LoaderChoice, Medium, WalkError, machine_suffix, shown};
use crate::disk::{Volume, VolumeError};
use crate::pe::PeImage;
use crate::source::Blob;
use crate::uki::{MAX_TEXT, SectionLookup, SectionSet, profile_count};

/// Assignments of `.osrel` that name and sort an entry.
const RELEASE: [&str; 8] =
    ["PRETTY_NAME", "IMAGE_ID", "NAME", "ID", "IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"];
const EMPTY_VALUE: &str =
    "it has an empty value, and whether this version of systemd-boot takes that for none is not known";

/// Most profiles that systemd-boot shows of one UKI (`UNIFIED_PROFILES_MAX`).
const MAX_PROFILES: usize = 256;

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

/// Entries of the SMBIOS strings `io.systemd.boot.entries-extra:NAME=TEXT` (systemd `config_load_smbios_entries`; from 258).
fn by_smbios(
    volume: &Arc<dyn Volume>,
    loader: &Loader,
    rules: &Ids<'_>,
    (strings, warnings): (&[Vec<u8>], &mut Vec<String>),
    entries: &mut Vec<BootEntry>,
) -> Result<(), WalkError> {
    for string in strings {
        let Some(rest) = string.strip_prefix(b"io.systemd.boot.entries-extra:") else { continue };
        let Some(at) = rest.iter().position(|byte| *byte == b'=') else { continue };
        let (name, text) = rest.split_at(at);
        let text = text.get(1..).unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        if !is_entry_name(&name, ".conf") {
            continue;
        }
        let path = format!("SMBIOS/{name}");
        let file = Blob::from_bytes(text.to_vec());
        match type1_entry(volume, &path, (&file, text), (loader, Some(&loader.path)), rules)? {
            Ok(entry) => entries.push(entry),
            Err(problem) => warnings.push(format!("{path}: {problem}, so systemd-boot passes it over")),
        }
    }
    Ok(())
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

fn type2(
    volume: &Arc<dyn Volume>,
    loader: &Loader,
    rules: &Ids<'_>,
    warnings: &mut Vec<String>,
    entries: &mut Vec<BootEntry>,
) -> Result<(), WalkError> {
    for (path, file) in entry_files(volume, "\\EFI\\Linux", ".efi")? {
        match type2_profiles(volume, &path, &file, loader, rules) {
            Ok(profiles) => entries.extend(profiles),
            Err(Passed::Over(problem)) => {
                warnings.push(format!("{}: {problem}, so systemd-boot passes it over", shown(&path)))
            }
            Err(Passed::Unread(why)) => {
                let id = id_of(file_name(&path), ".efi", rules);
                let source = EntrySource::Unread { path: path.clone(), why };
                entries.push(BootEntry::new(id, source, volume, &file));
            }
        }
    }
    Ok(())
}

/// Why a file in `\EFI\Linux` makes no entry.
enum Passed {
    /// systemd-boot makes none of it.
    Over(String),
    /// systemd-boot reads the section table and `.osrel` alone, and so may make one of what is damaged elsewhere.
    Unread(String),
}

impl From<String> for Passed {
    fn from(problem: String) -> Self {
        Self::Unread(problem)
    }
}

/// The entries of one UKI; the error says why systemd-boot takes none.
fn type2_profiles(
    volume: &Arc<dyn Volume>,
    path: &str,
    file: &Blob,
    loader: &Loader,
    rules: &Ids<'_>,
) -> Result<Vec<BootEntry>, Passed> {
    let image = match PeImage::parse(file) {
        Ok(image) => image,
        Err(error) if file.read_prefix(2).is_ok_and(|start| start == b"MZ") => {
            return Err(Passed::Unread(error.to_string()));
        }
        Err(error) => return Err(Passed::Over(error.to_string())),
    };
    if image.machine != loader.image.machine {
        return Err(Passed::Over(format!("is for {}, not {}", image.machine, loader.image.machine)));
    }
    let lookup = if rules.profiles { SectionLookup::FirstExact } else { SectionLookup::LastByPrefix };
    let profiles = if rules.profiles { profile_count(&image).clamp(1, MAX_PROFILES) } else { 1 };
    let mut entries = Vec::new();
    for profile in 0..u32::try_from(profiles).unwrap_or(1) {
        let sections = if rules.profiles {
            SectionSet::with_profile(&image, lookup, profile).map_err(|error| error.to_string())?
        } else {
            SectionSet::without_profiles(&image, lookup)
        };
        let Some(mut entry) = type2_entry(volume, path, file, (&sections, profile), rules)? else { continue };
        let without_cmdline = profile > 0
            && SectionSet::with_profile(&image, lookup, 0)
                .is_ok_and(|first| matches!(first.get(".cmdline"), Ok(None)));
        match rules.profiles_without_cmdline {
            Some(false) if without_cmdline => break,
            None if without_cmdline => {
                let why = "whether this version of systemd-boot finds profiles behind one without .cmdline is not known";
                entry.source = EntrySource::Unread { path: path.to_owned(), why: why.to_owned() };
            }
            _ => {}
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(Passed::Over("has no .osrel that names a system".to_owned()));
    }
    Ok(entries)
}

fn type2_entry(
    volume: &Arc<dyn Volume>,
    path: &str,
    file: &Blob,
    (sections, profile): (&SectionSet<'_>, u32),
    rules: &Ids<'_>,
) -> Result<Option<BootEntry>, String> {
    let text = |name: &str| -> Result<Option<Vec<u8>>, String> {
        let section = sections.get(name).map_err(|error| error.to_string())?;
        section.map(|section| section.read(MAX_TEXT)).transpose().map_err(|error| error.to_string())
    };
    let Some(release) = text(".osrel")? else { return Ok(None) };
    let profile_text = text(".profile")?.unwrap_or_default();
    let mut fields = assignments(&release, b"=", rules.quotes());
    let has_empty = fields.iter().any(|(key, value)| value.is_empty() && RELEASE.contains(&key.as_str()));
    let open = if rules.empty_values.is_none() && has_empty {
        Some(EMPTY_VALUE)
    } else if rules.leaves_quotes_open(&release, b"=", &RELEASE)
        || rules.leaves_quotes_open(&profile_text, b"=", &["ID"])
    {
        Some(OPEN_QUOTES)
    } else {
        None
    };
    if let Some(why) = open {
        let source = EntrySource::Unread { path: path.to_owned(), why: why.to_owned() };
        return Ok(Some(BootEntry::new(id_of(file_name(path), ".efi", rules), source, volume, file)));
    }
    if rules.empty_values == Some(false) {
        // An assignment without a value takes an earlier one away.
        let last = fields.clone();
        let is_last = |key: &str, value: &str| {
            last.iter().rfind(|(other, _)| other == key).is_some_and(|(_, text)| text == value)
        };
        fields.retain(|(key, value)| !value.is_empty() && is_last(key, value));
    }
    // The first of these names that is there, the value may be empty (systemd `bootspec_pick_name_version_sort_key`).
    let first = |names: &[&str]| -> Option<String> {
        let last_of = |name: &&str| fields.iter().rfind(|(key, _)| key == name);
        names.iter().find_map(last_of).map(|(_, value)| value.clone())
    };
    let Some(title) = first(&["PRETTY_NAME", "IMAGE_ID", "NAME", "ID"]) else { return Ok(None) };
    let base_id = id_of(file_name(path), ".efi", rules);
    let id = match profile {
        0 => base_id.clone(),
        number => {
            let profile = assignments(&profile_text, b"=", rules.quotes());
            let name = profile.into_iter().rfind(|(key, _)| key == "ID");
            let name = name.filter(|(_, id)| !id.is_empty() || rules.empty_values != Some(false));
            format!("{base_id}@{}", name.map_or(number.to_string(), |(_, id)| id.to_ascii_lowercase()))
        }
    };
    let (tries_left, tries_done) = counters(file_name(path), ".efi");
    Ok(Some(BootEntry {
        id,
        base_id,
        title: Some(title),
        sort_key: first(&["IMAGE_ID", "ID"]),
        version: first(&["IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"]),
        machine_id: None,
        profile,
        tries_left,
        tries_done,
        source: EntrySource::Type2(path.to_owned()),
        volume: Arc::clone(volume),
        file: file.clone(),
    }))
}

fn type1(
    volume: &Arc<dyn Volume>,
    (loader, own_path): (&Loader, Option<&str>),
    rules: &Ids<'_>,
    warnings: &mut Vec<String>,
    entries: &mut Vec<BootEntry>,
) -> Result<(), WalkError> {
    for (path, file) in entry_files(volume, "\\loader\\entries", ".conf")? {
        let text = file.read(MAX_FILE).map_err(|error| VolumeError::Io { path: shown(&path), error })?;
        match type1_entry(volume, &path, (&file, &text), (loader, own_path), rules)? {
            Ok(entry) => entries.push(entry),
            Err(problem) => {
                warnings.push(format!("{}: {problem}, so systemd-boot passes it over", shown(&path)))
            }
        }
    }
    Ok(())
}

/// One entry file (systemd `boot_entry_add_type1`); the inner error says why systemd-boot passes it over.
fn type1_entry(
    volume: &Arc<dyn Volume>,
    path: &str,
    (file, text): (&Blob, &[u8]),
    (loader, own_path): (&Loader, Option<&str>),
    rules: &Ids<'_>,
) -> Result<Result<BootEntry, String>, WalkError> {
    // Boot counters are in the names of files only.
    let is_file = path.starts_with('\\');
    let id =
        if is_file { id_of(file_name(path), ".conf", rules) } else { file_name(path).to_ascii_lowercase() };
    let (tries_left, tries_done) = if is_file { counters(file_name(path), ".conf") } else { (None, None) };
    let source = EntrySource::Type2(String::new());
    let mut entry = BootEntry { tries_left, tries_done, ..BootEntry::new(id, source, volume, file) };
    let mut program: Option<(&'static str, String)> = None;
    let (mut initrds, mut options, mut extras, mut devicetree) =
        (Vec::new(), None::<String>, Vec::new(), None);
    if rules.leaves_quotes_open(text, b" \t", &[]) {
        let source = EntrySource::Unread { path: path.to_owned(), why: OPEN_QUOTES.to_owned() };
        return Ok(Ok(BootEntry::new(entry.id, source, volume, file)));
    }
    let pairs = assignments(text, b" \t", rules.quotes());
    if rules.empty_values.is_none() && pairs.iter().any(|(_, value)| value.is_empty()) {
        let source = EntrySource::Unread { path: path.to_owned(), why: EMPTY_VALUE.to_owned() };
        return Ok(Ok(BootEntry::new(entry.id, source, volume, file)));
    }
    let present =
        |value: String| Some(value).filter(|value| !value.is_empty() || rules.empty_values == Some(true));
    for (key, value) in pairs {
        match key.as_str() {
            "title" => entry.title = present(value),
            "sort-key" => entry.sort_key = present(value),
            "version" => entry.version = present(value),
            "machine-id" => entry.machine_id = present(value),
            "profile" if rules.type1_profile => entry.profile = value.parse().unwrap_or(entry.profile),
            "linux" | "efi" | "uki" => {
                let key = match key.as_str() {
                    "linux" => "linux",
                    "efi" => "efi",
                    _ if rules.type1_uki => "uki",
                    _ => continue,
                };
                // Before there was `uki` the last of several lines counted, whatever its key (257.13, booted).
                if rules.type1_uki && program.as_ref().is_some_and(|(other, _)| *other != key) {
                    return Ok(Err("names programs of two kinds".to_owned()));
                }
                program = Some((key, efi_path(&value)));
            }
            "uki-url" if rules.type1_uki => {
                if program.as_ref().is_some_and(|(other, _)| *other != "uki-url") {
                    return Ok(Err("names programs of two kinds".to_owned()));
                }
                if value.starts_with(':') {
                    return Ok(Err("has a path relative to the URL that the disk came from".to_owned()));
                }
                program = Some(("uki-url", value));
            }
            "architecture" => {
                let own = machine_suffix(loader.image.machine);
                if own.is_none_or(|own| !own.eq_ignore_ascii_case(&value)) {
                    return Ok(Err(format!("is for architecture {value}")));
                }
            }
            "initrd" => initrds.push(efi_path(&value)),
            "devicetree" => devicetree = Some(efi_path(&value)),
            "options" => {
                options = match (options, present(value)) {
                    (Some(text), value) => Some(format!("{text} {}", value.as_deref().unwrap_or("(null)"))),
                    (None, value) => value,
                };
            }
            "extra" if rules.type1_extra => extras.push(efi_path(&value)),
            _ => {}
        }
    }
    let Some((key, program)) = program else { return Ok(Err("names no program".to_owned())) };
    if key == "efi" && own_path.is_some_and(|own| program.eq_ignore_ascii_case(own)) {
        return Ok(Err("is systemd-boot itself".to_owned()));
    }
    if key != "uki-url" && volume.open(&program)?.is_none() {
        return Ok(Err(format!("there is no {}", shown(&program))));
    }
    if key != "linux" {
        // systemd `initrd_prepare`: of other kinds the lines mean nothing.
        initrds.clear();
    }
    entry.source =
        EntrySource::Type1 { path: path.to_owned(), key, program, initrds, options, extras, devicetree };
    Ok(Ok(entry))
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
