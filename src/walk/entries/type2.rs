//! Type #2 entries: UKIs, with their profiles (UAPI.1, systemd `boot_entry_add_unified`).

use std::sync::Arc;

use super::{BootEntry, EMPTY_VALUE, EntrySource, Ids, counters, entry_files, id_of};
use crate::disk::Volume;
use crate::pe::PeImage;
use crate::source::Blob;
use crate::uki::{MAX_TEXT, SectionLookup, SectionSet, profile_count};
use crate::walk::choice::OPEN_QUOTES;
use crate::walk::text::{assignments, file_name};
use crate::walk::{Loader, WalkError, shown};

/// Assignments of `.osrel` that name and sort an entry.
const RELEASE: [&str; 8] =
    ["PRETTY_NAME", "IMAGE_ID", "NAME", "ID", "IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"];

/// Most profiles that systemd-boot shows of one UKI (`UNIFIED_PROFILES_MAX`).
const MAX_PROFILES: usize = 256;

pub(super) fn type2(
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
