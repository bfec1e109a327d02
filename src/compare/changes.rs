//! What differs inside two events that belong together, as far as their data is known.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeMap;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::model::Event;
use super::topic::Topic;
use crate::boot::utf16_nul;
use crate::tcg::event_data::{Context, EventData, Field, Value, decode};
use crate::tcg::{Digest, HashAlgorithm};

/// Texts with more words are shown whole.
const MAX_WORDS: usize = 2048;
/// More differences in one event are counted only: a dbx has hundreds of entries.
const MAX_CHANGES: usize = 64;

/// One difference inside an event.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// What differs, by the specification's name of the field.
    pub field: String,
    /// As expected; absent where it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// As observed; absent where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// Both texts word by word, where it is a text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
}

/// A word of a text that changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Word {
    /// What became of it.
    pub change: WordChange,
    /// The word, or several that share their fate.
    pub text: String,
}

/// What became of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordChange {
    /// It is in both texts.
    Kept,
    /// It is gone.
    Removed,
    /// It is new.
    Added,
}

/// What differs between two events. `texts` are command lines that occur elsewhere in the observed log: an event that only
/// holds a digest may be of one of them.
#[must_use]
pub fn changes(expected: &Event, observed: &Event, texts: &[String]) -> Vec<Change> {
    if expected.topic == Topic::KernelOptions
        && let Some(change) = command_line(expected, observed, texts)
    {
        return vec![change];
    }
    let (Some(one), Some(other)) = (&expected.data, &observed.data) else {
        return sizes(expected);
    };
    let (Some(one_type), Some(other_type)) = (expected.event_type, observed.event_type) else {
        return Vec::new();
    };
    let one = decode(one_type, one, Context::default()).data;
    let other = decode(other_type, other, Context::default()).data;
    let mut found = of_fields(&one, &other);
    if found.is_empty() {
        // The data only names what was hashed.
        found = sizes(expected);
    }
    let more = found.len().saturating_sub(MAX_CHANGES);
    found.truncate(MAX_CHANGES);
    if more > 0 {
        found.push(Change::of("(more)", None, Some(format!("{more} further differences"))));
    }
    found
}

impl Change {
    fn of(field: impl Into<String>, expected: Option<String>, observed: Option<String>) -> Self {
        let words = match (&expected, &observed) {
            (Some(one), Some(other)) if one.contains(' ') || other.contains(' ') => words(one, other),
            _ => Vec::new(),
        };
        Self { field: field.into(), expected, observed, words }
    }
}

/// Where the expected bytes come from, when all that is known is that they are others.
fn sizes(expected: &Event) -> Vec<Change> {
    let Some(origin) = &expected.origin else { return Vec::new() };
    let (Some(section), Some(length), Some(offset)) = (&origin.section, origin.length, origin.offset) else {
        return Vec::new();
    };
    let text = format!("{section} of {}, {length} bytes at {offset:#x}", origin.files.join(", "));
    vec![Change::of("content", Some(text), None)]
}

/// The text of an expected command line event.
pub(super) fn command_line_text(event: &Event) -> Option<&str> {
    event.what.strip_prefix("command line: ")
}

fn command_line(expected: &Event, observed: &Event, texts: &[String]) -> Option<Change> {
    let expected = command_line_text(expected)?;
    let found = texts.iter().find(|text| is_text(observed, text))?;
    Some(Change::of("LoadOptions", Some(expected.to_owned()), Some(found.clone())))
}

/// The event is the digest of this text as UTF-16 with the final NUL.
pub(super) fn is_text(event: &Event, text: &str) -> bool {
    let units: Vec<u16> = text.encode_utf16().collect();
    let bytes = utf16_nul(&units);
    let digest = event.digests.get(HashAlgorithm::Sha256).or_else(|| event.digests.iter().next());
    digest.is_some_and(|digest| Digest::of(digest.algorithm(), &bytes) == digest)
}

/// Command lines that a log holds, and those that the kernel may have got from them together.
pub(super) fn command_lines(expected: Option<&[Event]>, observed: &[Event]) -> Vec<String> {
    let text_of = |event: &Event| -> Option<String> {
        let wanted = matches!(event.topic, Topic::Options | Topic::Grub);
        let data = event.data.as_deref().filter(|_| wanted)?;
        match decode(event.event_type?, data, Context::default()).data {
            EventData::Text(text) => Some(text.text.into_owned()),
            _ => None,
        }
    };
    let measured: Vec<String> = observed.iter().filter_map(text_of).take(16).collect();
    let ours = expected.into_iter().flatten().filter(|event| event.topic == Topic::KernelOptions);
    let mut bases: Vec<String> = ours.filter_map(command_line_text).map(str::to_owned).take(4).collect();
    bases.push(String::new());
    let mut lines = bases.clone();
    lines.extend(measured.iter().cloned());
    // The stub appends the texts of addons and SMBIOS, in the order in which it measured them.
    for first in bases.iter().chain(&measured) {
        let mut line = first.clone();
        for text in measured.iter().filter(|text| *text != first) {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(text);
            lines.push(line.clone());
        }
        for text in measured.iter().filter(|text| *text != first) {
            lines.push(format!("{first} {text}"));
        }
    }
    lines.truncate(512);
    lines
}

/// Fields that differ from boot to boot and that no digest covers.
const NOT_MEASURED: [&str; 2] = ["ImageLocationInMemory", "ImageLinkTimeAddress"];

fn of_fields(one: &EventData<'_>, other: &EventData<'_>) -> Vec<Change> {
    let (ours, theirs) = (flat(&one.fields()), flat(&other.fields()));
    let mut found = Vec::new();
    for (name, values) in &ours {
        let other = theirs.get(name).map(Vec::as_slice).unwrap_or_default();
        if let ([one], [other]) = (values.as_slice(), other) {
            if one != other {
                found.push(Change::of(name, Some(one.clone()), Some(other.clone())));
            }
            continue;
        }
        let (mut removed, mut added) = (subtract(values, other), subtract(other, values));
        found.extend(removed.drain(..).map(|value| Change::of(name, Some(value), None)));
        found.extend(added.drain(..).map(|value| Change::of(name, None, Some(value))));
    }
    for (name, values) in theirs.iter().filter(|(name, _)| !ours.contains_key(*name)) {
        found.extend(values.iter().map(|value| Change::of(name, None, Some(value.clone()))));
    }
    found
}

/// What is in one list and not in the other, as often as it is there.
fn subtract(one: &[String], other: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for value in other {
        let count = counts.entry(value).or_default();
        *count = count.saturating_add(1);
    }
    let mut left = Vec::new();
    for value in one {
        match counts.get_mut(value.as_str()) {
            Some(count) if *count > 0 => *count = count.saturating_sub(1),
            _ => left.push(value.clone()),
        }
    }
    left
}

/// Fields by their path; values of the same path are a list.
fn flat(fields: &[Field]) -> BTreeMap<String, Vec<String>> {
    let mut map = BTreeMap::new();
    flatten("", fields, &mut map);
    map
}

fn flatten(prefix: &str, fields: &[Field], map: &mut BTreeMap<String, Vec<String>>) {
    let mut partitions = 0_u32;
    for field in fields.iter().filter(|field| !NOT_MEASURED.contains(&&*field.name)) {
        let mut name =
            if prefix.is_empty() { field.name.to_string() } else { format!("{prefix}.{}", field.name) };
        let text = match &field.value {
            Value::Fields(parts) => {
                // Partitions are told apart by their number, entries of signature lists are not.
                if field.name == "Partition" {
                    partitions = partitions.saturating_add(1);
                    name = format!("{name} {partitions}");
                }
                flatten(&name, parts, map);
                continue;
            }
            Value::Text(text) | Value::Bytes(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Hex(number) => format!("{number:#x}"),
        };
        map.entry(name).or_default().push(text);
    }
}

/// Two texts word by word.
#[must_use]
pub fn words(expected: &str, observed: &str) -> Vec<Word> {
    let ours: Vec<&str> = expected.split(' ').take(MAX_WORDS).collect();
    let theirs: Vec<&str> = observed.split(' ').take(MAX_WORDS).collect();
    let mut words = Vec::new();
    let mut push = |change, from: &[&str], start: usize, length: usize| {
        let text = from.get(start..start.saturating_add(length)).unwrap_or_default().join(" ");
        if length > 0 {
            words.push(Word { change, text });
        }
    };
    for op in capture_diff_slices(Algorithm::Myers, &ours, &theirs) {
        match op {
            DiffOp::Equal { old_index, len, .. } => push(WordChange::Kept, &ours, old_index, len),
            DiffOp::Delete { old_index, old_len, .. } => push(WordChange::Removed, &ours, old_index, old_len),
            DiffOp::Insert { new_index, new_len, .. } => push(WordChange::Added, &theirs, new_index, new_len),
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                push(WordChange::Removed, &ours, old_index, old_len);
                push(WordChange::Added, &theirs, new_index, new_len);
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_removed_and_added() {
        let found = words("root=/dev/vda1 quiet splash", "root=/dev/vda1 quiet single");
        let word = |change, text: &str| Word { change, text: text.to_owned() };
        assert_eq!(
            found,
            [
                word(WordChange::Kept, "root=/dev/vda1 quiet"),
                word(WordChange::Removed, "splash"),
                word(WordChange::Added, "single")
            ]
        );
    }

    #[test]
    fn a_value_that_is_there_twice_may_go_once() {
        let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        assert_eq!(subtract(&list(&["a", "a", "b"]), &list(&["a"])), ["a", "b"]);
    }
}
