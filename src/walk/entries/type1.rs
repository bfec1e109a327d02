//! Type #1 entries: text files, and SMBIOS strings with such texts (UAPI.1, systemd `boot_entry_add_type1`).

use std::sync::Arc;

use super::{BootEntry, EMPTY_VALUE, EntrySource, Ids, counters, entry_files, id_of, is_entry_name};
use crate::disk::{Volume, VolumeError};
use crate::source::Blob;
use crate::walk::choice::OPEN_QUOTES;
use crate::walk::text::{MAX_FILE, assignments, efi_path, file_name};
use crate::walk::{Loader, WalkError, machine_suffix, shown};

/// Entries of the SMBIOS strings `io.systemd.boot.entries-extra:NAME=TEXT` (systemd `config_load_smbios_entries`; from 258).
pub(super) fn by_smbios(
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

pub(super) fn type1(
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
