//! Records that two logs of one boot both have.
//!
//! Firmware starts to fill its final events table when somebody asks for the log, and goes on filling the log too:
//! what is measured between two such requests is in both (TCG EFI Protocol Specification, section 7). Logs that
//! were taken at two moments overlap as well, and so do copies in other encodings. What a log begins with and an
//! earlier one ends with was extended once.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use super::EventType;
use super::cel::{Content, Record};
use super::eventlog::{Register, SpecId};
use super::timeline::BootLog;

/// Records of a log that an earlier one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Index of the log that begins with them.
    pub log: usize,
    /// Index of the log that ends with them.
    pub earlier: usize,
    /// How many there are.
    pub records: usize,
}

/// The longest overlap of each log with one before it in `order`, where there is one.
pub(super) fn overlaps(order: &[(usize, &BootLog<'_>)]) -> Vec<Overlap> {
    if order.len() < 2 {
        return Vec::new();
    }
    let state = RandomState::new();
    let mut before: Vec<(usize, Vec<u64>)> = Vec::new();
    let mut found = Vec::new();
    for (log, records) in order {
        let keys: Vec<u64> = records.iter().map(|record| key(&state, &record)).collect();
        let has_header = records.iter().next().is_some_and(|record| is_header(&record));
        let overlap = before.iter().map(|(earlier, text)| Overlap {
            log: *log,
            earlier: *earlier,
            records: common(&keys, text, has_header),
        });
        found.extend(overlap.filter(|overlap| overlap.records > 0).max_by_key(|overlap| overlap.records));
        before.push((*log, keys));
    }
    found
}

/// Records that `later` begins with and `earlier` ends with. A header of its own is no measurement: the records
/// behind it count.
fn common(later: &[u64], earlier: &[u64], has_header: bool) -> usize {
    let whole = prefix_in_suffix(later, earlier);
    let behind_header = match later.split_first() {
        Some((_, rest)) if has_header => prefix_in_suffix(rest, earlier),
        _ => 0,
    };
    if behind_header > 0 { whole.max(behind_header.saturating_add(1)) } else { whole }
}

/// What makes two records the same: everything but where they stand. The state is random, so that nobody can
/// write records that only look alike.
fn key(state: &RandomState, record: &Record<'_>) -> u64 {
    let mut hasher = state.build_hasher();
    // A final events table does not say what its indices are; those of one boot mean the same.
    (matches!(record.register, Register::Nv(_)), record.register.index()).hash(&mut hasher);
    record.content_type().hash(&mut hasher);
    for (algorithm, digest) in record.digests.iter() {
        (algorithm, digest).hash(&mut hasher);
    }
    match &record.content {
        Content::PcClient { event_type, data } => (event_type, data).hash(&mut hasher),
        Content::ImaTemplate { name, data } => (name, data).hash(&mut hasher),
        Content::Systemd(systemd) => systemd.hash(&mut hasher),
        Content::Management(management) => management.hash(&mut hasher),
        Content::Other(name, bytes) => (name, bytes).hash(&mut hasher),
    }
    hasher.finish()
}

fn is_header(record: &Record<'_>) -> bool {
    match &record.content {
        Content::PcClient { event_type, data } => {
            *event_type == EventType::NO_ACTION && data.starts_with(SpecId::SIGNATURE)
        }
        _ => false,
    }
}

/// The length of the longest prefix of `pattern` that `text` ends with (Knuth, Morris and Pratt: time in proportion
/// to the lengths, whatever is in them).
fn prefix_in_suffix(pattern: &[u64], text: &[u64]) -> usize {
    // borders[n]: the longest proper prefix of the first n + 1 keys that they also end with.
    let mut borders: Vec<usize> = Vec::with_capacity(pattern.len());
    let step = |borders: &[usize], mut matched: usize, key: u64| {
        while matched > 0 && pattern.get(matched) != Some(&key) {
            matched = borders.get(matched.saturating_sub(1)).copied().unwrap_or(0);
        }
        if pattern.get(matched) == Some(&key) { matched.saturating_add(1) } else { 0 }
    };
    for (index, key) in pattern.iter().enumerate() {
        let before = borders.last().copied().unwrap_or(0);
        borders.push(if index == 0 { 0 } else { step(&borders, before, *key) });
    }
    let start = text.len().saturating_sub(pattern.len());
    text.iter().skip(start).fold(0, |matched, key| step(&borders, matched, *key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_that_is_a_suffix_is_found() {
        let cases: [(&[u64], &[u64], usize); 8] = [
            (&[], &[], 0),
            (&[1], &[], 0),
            (&[1, 2, 3], &[9, 1, 2], 2),
            (&[1, 2, 3], &[1, 2, 3], 3),
            (&[1, 2, 3], &[1, 2, 3, 4], 0),
            (&[1, 1, 2], &[1, 1, 1], 2),
            (&[1, 2, 1, 2, 3], &[3, 1, 2, 1, 2, 1, 2], 4),
            (&[7], &[7, 7, 7], 1),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(prefix_in_suffix(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }
}
