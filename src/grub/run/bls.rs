//! `blscfg`: entries of the Boot Loader Specification as menu entries (GRUB 2.14 `grub-core/commands/blsuki.c`).
//!
//! Fedora's GRUB before 2.14 has another command of that name; its builds are not followed.

use super::{Flow, Grub, Stop, stop, versions};
use crate::source::Blob;

/// Most entries, and the largest one in bytes.
const MAX_ENTRIES: usize = 1000;
const MAX_ENTRY: u64 = 1 << 20;
/// Most keys of an entry.
const MAX_KEYS: usize = 10_000;
/// `GRUB_BLS_CONFIG_PATH`. A name behind it has two slashes in front, and so it is measured.
const FOLDER: &str = "/loader/entries/";

/// An entry's file: its name, and keys with values in the order of its lines.
struct EntryFile {
    name: String,
    keys: Vec<(String, String)>,
}

impl EntryFile {
    fn value(&self, wanted: &'static str) -> Option<&str> {
        self.values(wanted).next()
    }

    fn values<'a>(&'a self, wanted: &'static str) -> impl Iterator<Item = &'a str> {
        self.keys.iter().filter(move |(key, _)| key == wanted).map(|(_, value)| value.as_str())
    }
}

impl Grub<'_> {
    /// `blscfg` without options: all entries of the device in `root`.
    pub(super) fn boot_loader_entries(&mut self, arguments: &[String]) -> Flow {
        if let Some(option) = arguments.first() {
            return Err(stop(format!("blscfg {option} is not followed")));
        }
        let device = self.environment.plain("root").to_owned();
        let volume = self.volume(&device)?;
        if !volume.knows_order() {
            return Err(stop(
                "the order in which blscfg opens the entries is the file system's, which a folder does not have",
            ));
        }
        let found = volume.list(FOLDER).map_err(|error| stop(error.to_string()))?.unwrap_or_default();
        let names: Vec<String> =
            found.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".conf")).collect();
        if names.len() > MAX_ENTRIES {
            return Err(stop(format!("{FOLDER} has more entries than are followed")));
        }
        let mut entries = Vec::new();
        for name in names {
            if name.starts_with('.') {
                return Err(stop(format!("where blscfg sorts {name} is not followed")));
            }
            let Some(file) = self.open(&format!("({device}){FOLDER}/{name}"))? else { continue };
            let keys = keys(&name, &file)?;
            entries.push(EntryFile { name, keys });
        }
        entries.sort_by(|one, other| versions::compare(&other.name, &one.name));
        let same = entries
            .windows(2)
            .any(|pair| matches!(pair, [one, other] if versions::compare(&one.name, &other.name).is_eq()));
        if same {
            return Err(stop("blscfg takes two names of entries for the same"));
        }
        for entry in &entries {
            self.add_boot_loader_entry(entry)?;
        }
        self.succeeded = Some(true);
        Ok(())
    }

    fn add_boot_loader_entry(&mut self, entry: &EntryFile) -> Flow {
        let Some(linux) = entry.value("linux") else { return Ok(()) };
        if entry.value("devicetree").is_some() {
            return Err(stop(format!("{}: devicetree is not followed", entry.name)));
        }
        let title = entry.value("title").unwrap_or(linux).to_owned();
        let options = self.expand_value(entry.value("options").unwrap_or_default())?;
        let mut source = String::new();
        match self.environment.get("blsuki_save_default")? {
            None | Some("" | "0" | "false" | "n" | "no" | "off" | "disable" | "disabled") => {}
            Some("1" | "true" | "y" | "yes" | "on" | "enable" | "enabled") => {
                source.push_str("savedefault\n")
            }
            Some(_) => return Err(stop("what blsuki_save_default says is not followed")),
        }
        source.push_str(&format!("linux {linux}"));
        if let Some(options) = options {
            source.push_str(&format!(" {options}"));
        }
        source.push('\n');
        let initrds: Vec<&str> = entry.values("initrd").collect();
        if !initrds.is_empty() {
            source.push_str(&format!("initrd {}\n", initrds.join(" ")));
        }
        let id = entry.name.strip_suffix(".conf").unwrap_or(&entry.name).to_owned();
        self.push_entry(id, title, source)
    }

    /// `blsuki_expand_val`: a variable's value takes its name's place, with a space behind it. A last piece of a single
    /// character is lost, as there.
    fn expand_value(&self, value: &str) -> Result<Option<String>, Stop> {
        if !value.is_ascii() {
            return Err(stop("options with other than ASCII characters are not followed"));
        }
        let bytes = value.as_bytes();
        let (mut start, mut end, mut variable) = (0_usize, 0_usize, false);
        let mut text: Option<String> = None;
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b'$' {
                if start != end {
                    self.append(&mut text, variable, value, (start, end))?;
                }
                variable = true;
                start = at.saturating_add(1);
            } else if variable && !byte.is_ascii_alphanumeric() && *byte != b'_' {
                self.append(&mut text, variable, value, (start, end))?;
                variable = false;
                start = if *byte == b' ' { at.saturating_add(1) } else { at };
            }
            end = at;
        }
        if start != end {
            self.append(&mut text, variable, value, (start, end))?;
        }
        Ok(text)
    }

    fn append(
        &self,
        text: &mut Option<String>,
        variable: bool,
        value: &str,
        (start, end): (usize, usize),
    ) -> Result<(), Stop> {
        let piece = value.get(start..end.saturating_add(1)).unwrap_or_default();
        if !variable {
            text.get_or_insert_default().push_str(piece);
            return Ok(());
        }
        if let Some(value) = self.environment.get(piece)? {
            text.get_or_insert_default().push_str(&format!("{value} "));
        }
        Ok(())
    }
}

/// Lines of a key, blanks and a value. The first line without a value ends an entry, an empty one too.
fn keys(name: &str, file: &Blob) -> Result<Vec<(String, String)>, Stop> {
    let bytes = file.read(MAX_ENTRY).map_err(|error| stop(format!("{name}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| stop(format!("{name} is not UTF-8")))?;
    let mut keys = Vec::new();
    for line in text.lines() {
        let line = line.replace('\r', "");
        let blank = [' ', '\t'];
        let (key, value) = line.trim_start_matches(blank).split_once(blank).unwrap_or_default();
        if key.starts_with('#') {
            continue;
        }
        let value = value.trim_start_matches(blank);
        if key.is_empty() || value.is_empty() {
            // `#` alone is a comment, too.
            if line.trim_start_matches(blank).starts_with('#') {
                continue;
            }
            break;
        }
        if keys.len() >= MAX_KEYS {
            return Err(stop(format!("{name} has more lines than are followed")));
        }
        keys.push((key.to_owned(), value.to_owned()));
    }
    Ok(keys)
}
