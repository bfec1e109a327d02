//! Which entry systemd-boot starts when nobody touches the menu.

use super::entries::{BootEntry, EntrySource};
use super::glob::matches;
use super::text::assignments;
use super::{LoaderConf, LoaderVariables, WalkError, Wishes};
use crate::uki::SystemdVersion;

/// Whether the id of an entry has the boot counter of the file's name in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterInIds {
    /// `foo+3-1.conf` is `foo+3-1.conf`.
    Kept,
    /// `foo+3-1.conf` is `foo.conf`.
    LeftOut,
    /// No boot of such a version was seen, and versions on both sides differ.
    Unknown,
}

impl CounterInIds {
    /// The readings that are possible, each as: ids leave the counter out.
    pub(super) const fn readings(self) -> &'static [bool] {
        match self {
            Self::Kept => &[false],
            Self::LeftOut => &[true],
            Self::Unknown => &[true, false],
        }
    }
}

const DOUBLE_QUOTES: &[u8] = b"\"";
const BOTH_QUOTES: &[u8] = b"\"'";
/// Why a text with single quotes decides nothing.
pub(super) const OPEN_QUOTES: &str =
    "it has a value in single quotes, and whether this version of systemd-boot takes them off is not known";

/// How a range of versions of systemd-boot collects entries and chooses among them.
#[derive(Debug, Clone, Copy)]
pub struct LoaderChoice {
    /// First version (major, minor) that behaves so.
    pub from: (u16, u16),
    /// Profiles of a UKI are entries of their own.
    pub profiles: bool,
    /// Type #1 entries know `uki` and `uki-url`.
    pub type1_uki: bool,
    /// Entries come from SMBIOS strings, too.
    pub smbios_entries: bool,
    /// Whether ids have the boot counter in them.
    pub counter: CounterInIds,
    /// Type #1 entries know `profile`.
    pub type1_profile: bool,
    /// `loader.conf` knows `preferred`, and there is a variable `LoaderEntryPreferred`.
    pub preferred: bool,
    /// Type #1 entries know `extra`.
    pub type1_extra: bool,
    /// A value of entries, `loader.conf` and `.osrel` may stand in single quotes as in double ones; `None` where that is not
    /// known.
    pub single_quotes: Option<bool>,
    /// An empty value is a value; otherwise it is as none, and `(null)` where it is printed. `None` where that is not known.
    pub empty_values: Option<bool>,
    /// Profiles from the second on are found where neither the base nor the first one has a `.cmdline`; `None` where that is
    /// not known.
    pub profiles_without_cmdline: Option<bool>,
}

impl LoaderChoice {
    /// All rows, ascending. Observed: 252.39, 254.26, 257.13, 262.1. Ids lose the counter with systemd pull request 38897, of
    /// September 2025, which is in 259, was reported of 258.3 (issue 40192), and is in 257.13 as booted: point releases
    /// between those that were seen may have it or not.
    pub const ROWS: &[Self] = &[
        Self::V0,
        Self::V254_27,
        Self::V255,
        Self::V255_5,
        Self::V256,
        Self::V256_8,
        Self::V257,
        Self::V257_10,
        Self::V257_13,
        Self::V258,
        Self::V258_3,
        Self::V258_4,
        Self::V259,
        Self::V259_1,
        Self::V260,
        Self::V261,
        Self::V262,
    ];

    const V0: Self = Self {
        from: (0, 0),
        profiles: false,
        type1_uki: false,
        smbios_entries: false,
        counter: CounterInIds::Kept,
        type1_profile: false,
        preferred: false,
        type1_extra: false,
        single_quotes: Some(false),
        empty_values: Some(false),
        profiles_without_cmdline: None,
    };
    const V254_27: Self =
        Self { from: (254, 27), counter: CounterInIds::Unknown, single_quotes: None, ..Self::V0 };
    // Single quotes come with systemd pull request 40563 of February 2026: not in what was released before, nor in the programs of
    // 252.39 and 254.26; in those of 257.13 and 262.1. Which releases between got it is not known.
    const V255: Self = Self { from: (255, 0), single_quotes: Some(false), ..Self::V254_27 };
    const V255_5: Self = Self { from: (255, 5), single_quotes: None, ..Self::V255 };
    const V256: Self = Self { from: (256, 0), single_quotes: Some(false), ..Self::V255 };
    const V256_8: Self = Self { from: (256, 8), single_quotes: None, ..Self::V256 };
    const V257: Self = Self { from: (257, 0), profiles: true, single_quotes: Some(false), ..Self::V256 };
    const V257_10: Self = Self { from: (257, 10), single_quotes: None, ..Self::V257 };
    const V257_13: Self = Self {
        from: (257, 13),
        counter: CounterInIds::LeftOut,
        profiles_without_cmdline: Some(true),
        single_quotes: Some(true),
        ..Self::V257
    };
    // Empty values: booted were 252.39, 254.26 and 257.13 (none), and 262.1 (a value).
    const V258: Self =
        Self { from: (258, 0), type1_uki: true, smbios_entries: true, empty_values: None, ..Self::V257 };
    const V258_3: Self = Self { from: (258, 3), counter: CounterInIds::LeftOut, ..Self::V258 };
    const V258_4: Self = Self { from: (258, 4), single_quotes: None, ..Self::V258_3 };
    const V259: Self = Self { from: (259, 0), type1_profile: true, ..Self::V258_3 };
    const V259_1: Self = Self { from: (259, 1), single_quotes: None, ..Self::V259 };
    // The search goes on behind a profile without .cmdline in a commit before 260 (`boot_entry_add_type2`).
    const V260: Self =
        Self { from: (260, 0), preferred: true, profiles_without_cmdline: Some(true), ..Self::V259_1 };
    const V261: Self = Self { from: (261, 0), type1_extra: true, ..Self::V260 };
    const V262: Self =
        Self { from: (262, 0), empty_values: Some(true), single_quotes: Some(true), ..Self::V261 };

    /// Characters that a value may stand in, as far as they are known.
    #[must_use]
    pub fn quotes(&self) -> &'static [u8] {
        if self.single_quotes == Some(true) { BOTH_QUOTES } else { DOUBLE_QUOTES }
    }

    /// Whether a text means something else when single quotes are quotes, and it is not known whether they are. Only these
    /// keys count; all when there are none.
    pub(super) fn leaves_quotes_open(&self, text: &[u8], separators: &[u8], keys: &[&str]) -> bool {
        let with = |quotes| {
            let mut pairs = assignments(text, separators, quotes);
            pairs.retain(|(key, _)| keys.is_empty() || keys.contains(&key.as_str()));
            pairs
        };
        self.single_quotes.is_none() && with(DOUBLE_QUOTES) != with(BOTH_QUOTES)
    }

    /// The rules of a version; those of the newest one when it is not known.
    #[must_use]
    pub fn of(version: Option<&SystemdVersion>) -> &'static Self {
        const NEWEST: &LoaderChoice = &LoaderChoice::ROWS[LoaderChoice::ROWS.len() - 1];
        let row = version.and_then(|version| Self::ROWS.iter().rfind(|row| row.from <= version.key()));
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

/// A pattern that chooses, and where it stands.
struct Pattern<'a> {
    place: String,
    /// `None` where it can't be told: what `@saved` stands for is in a variable.
    text: Option<&'a str>,
    /// Entries whose tries are used up are passed over.
    respects_tries: bool,
}

/// Chooses among sorted entries (systemd `config_select_default_entry`): once for the next boot, then what is preferred,
/// then the default, a variable before `loader.conf` each.
pub(super) fn choose(
    entries: &[BootEntry],
    conf: Option<&LoaderConf>,
    rules: &LoaderChoice,
    wishes: &Wishes,
) -> Result<Chosen, WalkError> {
    if let Some(wanted) = &wishes.entry {
        return by_wish(entries, wanted);
    }
    let mut warnings = Vec::new();
    if conf.is_some_and(|conf| conf.quotes_open) {
        let reason = format!("loader.conf does not tell what systemd-boot boots: {OPEN_QUOTES}");
        return Ok(Chosen { index: None, reason, warnings });
    }
    let alive = |entry: &BootEntry| entry.tries_left != Some(0);
    for Pattern { place, text, respects_tries } in patterns(conf, rules, wishes, &mut warnings) {
        let Some(text) = text else {
            warnings.push(format!(
                "{place}: which entry is booted depends on the machine; the first one is taken (--variables, --entry or \
                 --all-entries decides otherwise)"
            ));
            let reason = "systemd-boot boots the entry that was booted last (@saved), which the machine's EFI variables \
                          know; before the first boot there is none"
                .to_owned();
            return Ok(Chosen { index: Some(0), reason, warnings });
        };
        let suits = |entry: &BootEntry| matches(text, &entry.id) && (!respects_tries || alive(entry));
        if let Some(reason) = undecided(entries, suits) {
            return Ok(Chosen { index: None, reason, warnings });
        }
        if let Some(index) = entries.iter().position(suits) {
            let reason = described(entries, index, &format!("it matches {place}"));
            warnings.extend(counter_warning(entries, index, text));
            return Ok(Chosen { index: Some(index), reason, warnings });
        }
        if text.starts_with("auto-") {
            let reason = format!("{place} chooses an entry that systemd-boot makes by itself");
            return Ok(Chosen { index: None, reason, warnings });
        }
        warnings.push(format!("{place}: no entry matches"));
        warnings.extend(counter_warning(entries, usize::MAX, text));
    }
    if let Some(reason) = undecided(entries, |_| true) {
        return Ok(Chosen { index: None, reason, warnings });
    }
    let why = if entries.len() == 1 { "it is the only one" } else { "it sorts first, and no default is set" };
    Ok(Chosen { index: Some(0), reason: described(entries, 0, why), warnings })
}

/// Why no entry is chosen: one that was not read may come first, or may not be there.
fn undecided(entries: &[BootEntry], suits: impl Fn(&BootEntry) -> bool) -> Option<String> {
    let entry = entries.iter().find(|entry| entry.is_unplaced() && suits(entry))?;
    let EntrySource::Unread { why, .. } = &entry.source else { return None };
    Some(format!("{} may be what systemd-boot boots: its place in the menu is not known ({why})", entry.id))
}

/// Goes by each way in which the version may read ids: where they choose different entries, none is chosen. The entries
/// are those of the first reading.
pub(super) fn choose_by_readings(
    readings: Vec<Vec<BootEntry>>,
    conf: Option<&LoaderConf>,
    rules: &LoaderChoice,
    wishes: &Wishes,
) -> Result<(Vec<BootEntry>, Chosen), WalkError> {
    let mut choices =
        readings.iter().map(|entries| choose(entries, conf, rules, wishes)).collect::<Vec<_>>().into_iter();
    let first = choices.next();
    let mut readings = readings.into_iter();
    let entries = readings.next().unwrap_or_default();
    let Some(first) = first else {
        return choose(&entries, conf, rules, wishes).map(|chosen| (entries, chosen));
    };
    let (Some(others), Some(other)) = (readings.next(), choices.next()) else {
        return first.map(|chosen| (entries, chosen));
    };
    let picked =
        |entries: &[BootEntry], chosen: &Chosen| chosen.index.and_then(|index| entries.get(index)).cloned();
    match (first, other) {
        // A wish that names the id of one reading is clear.
        (Err(_), Ok(chosen)) => Ok((others, chosen)),
        (Err(error), Err(_)) => Err(error),
        (Ok(chosen), Err(_)) => Ok((entries, chosen)),
        (Ok(mut chosen), Ok(other)) => {
            let (one, two) = (picked(&entries, &chosen), picked(&others, &other));
            let place =
                |entry: &Option<BootEntry>| entry.as_ref().map(|entry| (entry.source.clone(), entry.profile));
            if wishes.entry.is_none() && place(&one) != place(&two) {
                let name =
                    |entry: Option<BootEntry>| entry.map_or("one of its own".to_owned(), |entry| entry.id);
                chosen.index = None;
                chosen.reason = format!(
                    "whether this version of systemd-boot leaves the boot counter out of the ids of entries is not known: \
                     if it does it boots {}, else {}",
                    name(one),
                    name(two)
                );
            }
            Ok((entries, chosen))
        }
    }
}

/// The patterns in their order.
fn patterns<'a>(
    conf: Option<&'a LoaderConf>,
    rules: &LoaderChoice,
    wishes: &'a Wishes,
    warnings: &mut Vec<String>,
) -> Vec<Pattern<'a>> {
    let variables = wishes.variables.as_ref().map(|variables| &variables.loader);
    let variable =
        |pick: fn(&LoaderVariables) -> &Option<String>| variables.and_then(|all| pick(all).as_deref());
    let in_conf = |pick: fn(&LoaderConf) -> &Option<String>| conf.and_then(|conf| pick(conf).as_deref());
    let preferred_in_conf = in_conf(|conf| &conf.preferred);
    if preferred_in_conf.is_some() && !rules.preferred {
        warnings.push("loader.conf: systemd-boot before 260 ignores preferred".to_owned());
    }
    let saved = variable(|all| &all.last_booted);
    let by_variable = |name: &str, text: &str| format!("'{text}' of the EFI variable {name}");
    let by_conf = |key: &str, text: &str| format!("'{key} {text}' in loader.conf");
    let candidates = [
        ("LoaderEntryOneShot", variable(|all| &all.one_shot), false),
        ("LoaderEntryPreferred", variable(|all| &all.preferred).filter(|_| rules.preferred), true),
        ("preferred", preferred_in_conf.filter(|_| rules.preferred), true),
        ("LoaderEntryDefault", variable(|all| &all.default), false),
        ("default", in_conf(|conf| &conf.default), false),
    ];
    let mut patterns = Vec::new();
    for (name, text, respects_tries) in candidates {
        let is_variable = name.starts_with("Loader");
        let place = |text: &str| if is_variable { by_variable(name, text) } else { by_conf(name, text) };
        match (text, saved) {
            (None, _) => {}
            // Of the next boot alone @saved is a pattern like any other (systemd `config_select_default_entry`).
            (Some(text), _) if name == "LoaderEntryOneShot" => {
                patterns.push(Pattern { place: place(text), text: Some(text), respects_tries });
            }
            (Some("@saved"), _) if variables.is_none() => {
                patterns.push(Pattern { place: place("@saved"), text: None, respects_tries });
            }
            (Some("@saved"), None) => {}
            (Some("@saved"), Some(text)) => {
                let place = format!("{}, for which '{text}' is stored", place("@saved"));
                patterns.push(Pattern { place, text: Some(text), respects_tries });
            }
            (Some(text), _) => {
                patterns.push(Pattern { place: place(text), text: Some(text), respects_tries })
            }
        }
    }
    patterns
}

/// Whether ids have the boot counter in them depends on the version, so a pattern that would choose another entry without it
/// deserves a warning.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_quotes_are_open_where_no_release_was_seen() {
        let open = |version: &str, text: &[u8]| {
            let version: SystemdVersion = version.parse().expect("a version");
            LoaderChoice::of(Some(&version)).leaves_quotes_open(text, b" \t", &[])
        };
        let quoted = b"title 'Debian'";
        let seen = ["252.39", "254.26", "255.4", "256.7", "257.9", "257.13", "258.3", "259", "262.1"];
        assert!(seen.iter().all(|version| !open(version, quoted)));
        assert!(
            ["254.27", "255.21", "257.11", "258.5", "259.2", "260", "261"]
                .iter()
                .all(|version| open(version, quoted))
        );
        assert!(
            !open("260", b"title \"Debian\"\noptions a='b c'"),
            "single quotes inside a value are part of it"
        );
        let first = LoaderChoice::ROWS.iter().map(|row| row.from);
        assert!(first.is_sorted());
    }
}
