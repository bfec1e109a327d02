//! The order of the boot menu.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::cmp::Ordering;

use super::entries::BootEntry;

/// Most entries that are sorted. systemd-boot's sort takes a time that grows with the square of their number, and so does this.
pub(super) const MAX_ENTRIES: usize = 4096;

/// Sorts as systemd-boot does (systemd `sort_pointer_array`). The comparison is no total order: entries without a counter
/// equal all others of their name. So the outcome depends on the way in which it is sorted.
pub(super) fn sort_entries(entries: Vec<BootEntry>) -> Vec<BootEntry> {
    let mut sorted: Vec<BootEntry> = Vec::with_capacity(entries.len());
    for entry in entries {
        let not_after = |other: &BootEntry| compare_entries(other, &entry) != Ordering::Greater;
        let place = sorted.iter().rposition(not_after).map_or(0, |index| index.saturating_add(1));
        sorted.insert(place, entry);
    }
    sorted
}

/// systemd `boot_entry_compare`. Equal entries keep the order in which they were found.
#[must_use]
pub fn compare_entries(one: &BootEntry, other: &BootEntry) -> Ordering {
    let exhausted = |entry: &BootEntry| entry.tries_left == Some(0);
    let by_sort_key = || match (&one.sort_key, &other.sort_key) {
        (Some(one_key), Some(other_key)) => compare_units(one_key, other_key)
            .then_with(|| compare_optional(one.machine_id.as_deref(), other.machine_id.as_deref()))
            .then_with(|| compare_optional_versions(other.version.as_deref(), one.version.as_deref())),
        (one_key, other_key) => one_key.is_none().cmp(&other_key.is_none()),
    };
    exhausted(one)
        .cmp(&exhausted(other))
        .then_with(by_sort_key)
        .then_with(|| compare_versions(&other.base_id, &one.base_id))
        .then_with(|| one.profile.cmp(&other.profile))
        .then_with(|| compare_tries(one, other))
}

/// Only entries that both count: more tries left first, then fewer done.
fn compare_tries(one: &BootEntry, other: &BootEntry) -> Ordering {
    match (one.tries_left, other.tries_left) {
        (Some(one_left), Some(other_left)) => {
            other_left.cmp(&one_left).then_with(|| one.tries_done.cmp(&other.tries_done))
        }
        _ => Ordering::Equal,
    }
}

/// By UTF-16 unit.
fn compare_units(one: &str, other: &str) -> Ordering {
    one.encode_utf16().cmp(other.encode_utf16())
}

/// Nothing comes before something (systemd `strcmp_ptr`).
fn compare_optional(one: Option<&str>, other: Option<&str>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => compare_units(one, other),
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

fn compare_optional_versions(one: Option<&str>, other: Option<&str>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => compare_versions(one, other),
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

/// Compares versions, the older one being less (UAPI.10 "Version Format Specification"; systemd
/// `strverscmp_improved`).
#[must_use]
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    if one.is_empty() || other.is_empty() {
        return compare_units(one, other);
    }
    let (mut one, mut other) = (one, other);
    loop {
        one = one.trim_start_matches(|c| !is_version_char(c));
        other = other.trim_start_matches(|c| !is_version_char(c));
        if let Some(ordering) = compare_separator('~', &mut one, &mut other) {
            return ordering;
        }
        if one.is_empty() || other.is_empty() {
            return (!one.is_empty()).cmp(&!other.is_empty());
        }
        for separator in ['-', '^', '.'] {
            if let Some(ordering) = compare_separator(separator, &mut one, &mut other) {
                return ordering;
            }
        }
        let ordering = if starts_with_digit(one) || starts_with_digit(other) {
            compare_numbers(&mut one, &mut other)
        } else {
            compare_words(&mut one, &mut other)
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

fn is_version_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '~' | '-' | '^' | '.')
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// The text that has the separator is the older one; if both have it, it goes from both.
fn compare_separator(separator: char, one: &mut &str, other: &mut &str) -> Option<Ordering> {
    match (one.strip_prefix(separator), other.strip_prefix(separator)) {
        (None, None) => None,
        (Some(rest), Some(other_rest)) => {
            *one = rest;
            *other = other_rest;
            None
        }
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
    }
}

fn compare_numbers(one: &mut &str, other: &mut &str) -> Ordering {
    // A number is newer than none, also where it is zero.
    let has_number = starts_with_digit(one).cmp(&starts_with_digit(other));
    if has_number != Ordering::Equal {
        return has_number;
    }
    let take = |text: &mut &str| {
        let significant = text.trim_start_matches('0');
        let end = significant.find(|c: char| !c.is_ascii_digit()).unwrap_or(significant.len());
        let (number, rest) = significant.split_at(end);
        *text = rest;
        number.to_owned()
    };
    let (one, other) = (take(one), take(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(&other))
}

fn compare_words(one: &mut &str, other: &mut &str) -> Ordering {
    let take = |text: &mut &str| {
        let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        *text = rest;
        word.to_owned()
    };
    let (one, other) = (take(one), take(other));
    one.cmp(&other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The orders given in UAPI.10 and in the comment of `strverscmp_improved`.
    #[test]
    fn versions_ascend_as_specified() {
        let ladders: [&[&str]; 2] = [
            &[
                "122.1",
                "123~rc1-1",
                "123",
                "123-a",
                "123-a.1",
                "123-1",
                "123-1.1",
                "123^post1",
                "123.a-1",
                "123.1-1",
                "123a-1",
                "124-1",
            ],
            &["5.11.0-0.rc5.20210128git76c057c84d28.137.fc34", "5.11.0-1", "5.11.0-10", "6.2"],
        ];
        for ladder in ladders {
            for (index, low) in ladder.iter().enumerate() {
                for high in ladder.iter().skip(index).skip(1) {
                    assert_eq!(compare_versions(low, high), Ordering::Less, "{low} {high}");
                    assert_eq!(compare_versions(high, low), Ordering::Greater, "{high} {low}");
                }
            }
        }
        // `systemd-analyze compare-versions` of 252.39.
        assert_eq!(compare_versions("os-1.0.efi", "os-1.beta.efi"), Ordering::Greater);
        assert_eq!(compare_versions("0", "a"), Ordering::Greater);
        assert_eq!(compare_versions("123_a", "123a"), Ordering::Equal);
        assert_eq!(compare_versions("00123", "123"), Ordering::Equal);
    }
}
