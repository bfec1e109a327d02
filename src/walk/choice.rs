//! Which entry systemd-boot starts when nobody touches the menu.

use super::entries::BootEntry;
use super::glob::matches;
use super::{LoaderConf, WalkError, Wishes};
use crate::uki::SystemdVersion;

/// How a range of versions of systemd-boot collects entries and chooses among them.
#[derive(Debug, Clone, Copy)]
pub struct LoaderChoice {
    /// First major version that behaves so.
    pub from: u16,
    /// Profiles of a UKI are entries of their own.
    pub profiles: bool,
    /// Type #1 entries know `uki` and `uki-url`.
    pub type1_uki: bool,
    /// Type #1 entries know `profile`.
    pub type1_profile: bool,
    /// `loader.conf` knows `preferred`.
    pub preferred: bool,
    /// Type #1 entries know `extra`.
    pub type1_extra: bool,
}

impl LoaderChoice {
    /// All rows, ascending. Observed: 252.39, 254.26, 257.13, 262.1.
    pub const ROWS: &[Self] = &[
        Self {
            from: 0,
            profiles: false,
            type1_uki: false,
            type1_profile: false,
            preferred: false,
            type1_extra: false,
        },
        Self { from: 257, profiles: true, ..Self::FIRST },
        Self { from: 258, profiles: true, type1_uki: true, ..Self::FIRST },
        Self { from: 259, profiles: true, type1_uki: true, type1_profile: true, ..Self::FIRST },
        Self {
            from: 260,
            profiles: true,
            type1_uki: true,
            type1_profile: true,
            preferred: true,
            type1_extra: false,
        },
        Self {
            from: 261,
            profiles: true,
            type1_uki: true,
            type1_profile: true,
            preferred: true,
            type1_extra: true,
        },
    ];

    const FIRST: Self = Self {
        from: 0,
        profiles: false,
        type1_uki: false,
        type1_profile: false,
        preferred: false,
        type1_extra: false,
    };

    /// The rules of a version; those of the newest one when it is not known.
    #[must_use]
    pub fn of(version: Option<&SystemdVersion>) -> &'static Self {
        const NEWEST: &LoaderChoice = &LoaderChoice::ROWS[LoaderChoice::ROWS.len() - 1];
        let row = version.and_then(|version| Self::ROWS.iter().rfind(|row| row.from <= version.major));
        row.unwrap_or(NEWEST)
    }
}

/// The entry that is booted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its place among the sorted entries; `None` when the medium does not decide.
    pub index: Option<usize>,
    /// Why, for people.
    pub reason: String,
    /// What deserves a second look.
    pub warnings: Vec<String>,
}

/// Chooses among sorted entries (systemd `config_select_default_entry`), without EFI variables.
pub(super) fn choose(
    entries: &[BootEntry],
    conf: Option<&LoaderConf>,
    rules: &LoaderChoice,
    wishes: &Wishes,
) -> Result<Chosen, WalkError> {
    if let Some(wanted) = &wishes.entry {
        return by_wish(entries, wanted);
    }
    let preferred = conf.and_then(|conf| conf.preferred.as_deref()).filter(|_| rules.preferred);
    let default = conf.and_then(|conf| conf.default.as_deref());
    let mut warnings = Vec::new();
    if conf.is_some_and(|conf| conf.preferred.is_some()) && !rules.preferred {
        warnings.push("loader.conf: systemd-boot before 260 ignores preferred".to_owned());
    }
    if [preferred, default].contains(&Some("@saved")) {
        let reason = "systemd-boot boots the entry that was booted last (@saved), which the machine's EFI variables know; \
                      before the first boot there is none"
            .to_owned();
        warnings.push(
            "loader.conf has @saved: which entry is booted depends on the machine; the first one is taken (--entry \
             or --all-entries decides otherwise)"
                .to_owned(),
        );
        return Ok(Chosen { index: Some(0), reason, warnings });
    }
    let alive = |entry: &BootEntry| entry.tries_left != Some(0);
    for (key, pattern, may) in [("preferred", preferred, true), ("default", default, false)] {
        let Some(pattern) = pattern else { continue };
        let hit = entries.iter().position(|entry| matches(pattern, &entry.id) && (!may || alive(entry)));
        if let Some(index) = hit {
            let reason = described(entries, index, &format!("it matches '{key} {pattern}' in loader.conf"));
            warnings.extend(counter_warning(entries, index, pattern));
            return Ok(Chosen { index: Some(index), reason, warnings });
        }
        warnings.push(format!("loader.conf: no entry matches '{key} {pattern}'"));
        warnings.extend(counter_warning(entries, usize::MAX, pattern));
    }
    let why = if entries.len() == 1 { "it is the only one" } else { "it sorts first, and no default is set" };
    Ok(Chosen { index: Some(0), reason: described(entries, 0, why), warnings })
}

/// Whether ids have the boot counter in them changed over time, so a pattern that would choose another entry without
/// it deserves a warning.
fn counter_warning(entries: &[BootEntry], index: usize, pattern: &str) -> Option<String> {
    let bare = |entry: &BootEntry| {
        let suffix = if entry.base_id.ends_with(".conf") { ".conf" } else { ".efi" };
        let stem = super::entries::split_counter(&entry.base_id, suffix)?.0.to_owned();
        Some(format!("{stem}{suffix}"))
    };
    let other = entries.iter().position(|entry| bare(entry).is_some_and(|id| matches(pattern, &id)))?;
    (other < index && other != index).then(|| {
        let id = entries.get(other).map(|entry| entry.id.clone()).unwrap_or_default();
        format!("'{pattern}' in loader.conf matches {id} only without its boot counter; write '+*' or '*' into the pattern")
    })
}

fn by_wish(entries: &[BootEntry], wanted: &str) -> Result<Chosen, WalkError> {
    let pattern = wanted.to_ascii_lowercase();
    let exact = entries.iter().position(|entry| entry.id == pattern);
    let index = exact.or_else(|| entries.iter().position(|entry| matches(&pattern, &entry.id)));
    let Some(index) = index else {
        let known = entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>().join(", ");
        return Err(WalkError::NoSuchEntry { wanted: wanted.to_owned(), known });
    };
    Ok(Chosen {
        index: Some(index),
        reason: described(entries, index, "you asked for it"),
        warnings: Vec::new(),
    })
}

fn described(entries: &[BootEntry], index: usize, why: &str) -> String {
    let entry = entries.get(index);
    let id = entry.map(|entry| entry.id.as_str()).unwrap_or_default();
    let kind = entry.map(BootEntry::kind).unwrap_or_default();
    let count = entries.len();
    let of = if count == 1 { String::new() } else { format!(" of {count}") };
    format!("systemd-boot boots entry {id} ({kind}), number {}{of}: {why}", index.saturating_add(1))
}
