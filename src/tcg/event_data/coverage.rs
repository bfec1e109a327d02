//! Which bytes of an event's data its digest vouches for.
//!
//! The specification leaves it to each event type what is hashed, and writers differ. So the rules are tried in
//! turn; the first whose hash is the digest says which bytes are proven. No rule means: nothing is.

use std::ops::Range;

use crate::bytes::Reader;
use crate::tcg::{Digest, EventType, Hasher};
use crate::uefi::variable::{Uintn, VariableData};

use super::tag::TaggedEvent;
use super::text::grub_prefix;

/// What of an event's data is proven by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// The rule that made the digest.
    pub rule: Rule,
    /// The bytes of the data that were hashed.
    pub range: Range<usize>,
}

/// How a digest was made from an event's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// From something else, which the data only names.
    Nothing,
    /// From the whole of it.
    WholeData,
    /// From `UEFI_VARIABLE_DATA.VariableData` alone (EDK2 `MeasureVariable` for `EV_EFI_VARIABLE_BOOT`).
    VariableData,
    /// From the payload of a `TCG_PCClientTaggedEvent`.
    TagPayload,
    /// From the text behind a prefix, without its NUL (GRUB `grub_tpm_verify_string`).
    TextBehindPrefix,
    /// From the text behind a prefix with its NUL (GRUB of RHEL 8).
    TextBehindPrefixWithNul,
    /// From all but the last byte (shim up to 15.2 `tpm_measure_variable`).
    WithoutLastByte,
    /// From the data and one more NUL (systemd-boot before 251).
    WithTerminator,
    /// From the text in ASCII with its NUL, while the data has it in UTF-16 (systemd-stub, section names).
    AsciiForm,
}

impl Coverage {
    /// The bytes of a field are proven.
    #[must_use]
    pub fn covers(&self, range: &Range<usize>) -> bool {
        self.rule != Rule::Nothing && range.start >= self.range.start && range.end <= self.range.end
    }

    fn nothing() -> Self {
        Self { rule: Rule::Nothing, range: 0..0 }
    }
}

/// Finds the rule that makes `digest` from `data`.
#[must_use]
pub fn coverage(event_type: EventType, data: &[u8], digest: Digest, uintn: Uintn) -> Coverage {
    if event_type == EventType::NO_ACTION || data.is_empty() {
        return Coverage::nothing();
    }
    let whole =
        || hashes_to(digest, &[data]).then_some(Coverage { rule: Rule::WholeData, range: 0..data.len() });
    let special = || special(event_type, data, digest, uintn);
    let found = match event_type {
        // What the writer of that type does most, first: a variable's data may be large.
        EventType::EFI_VARIABLE_BOOT | EventType::EVENT_TAG | EventType::IPL => special().or_else(whole),
        _ => whole().or_else(special),
    };
    found.unwrap_or_else(Coverage::nothing)
}

fn special(event_type: EventType, data: &[u8], digest: Digest, uintn: Uintn) -> Option<Coverage> {
    match event_type {
        EventType::EFI_VARIABLE_BOOT | EventType::EFI_VARIABLE_DRIVER_CONFIG => {
            let variable = VariableData::read(Reader::new(data), uintn).ok()?;
            let covered = hashes_to(digest, &[variable.data]) && !variable.data.is_empty();
            covered.then_some(Coverage { rule: Rule::VariableData, range: variable.data_range })
        }
        EventType::EVENT_TAG => {
            let tag = TaggedEvent::read(Reader::new(data)).ok()?;
            hashes_to(digest, &[tag.data])
                .then(|| Coverage { rule: Rule::TagPayload, range: tag.data_range.clone() })
        }
        EventType::EFI_VARIABLE_AUTHORITY => {
            let (_, rest) = data.split_last()?;
            hashes_to(digest, &[rest])
                .then_some(Coverage { rule: Rule::WithoutLastByte, range: 0..rest.len() })
        }
        EventType::IPL => text_behind_prefix(data, digest)
            .or_else(|| ascii_form(data, digest))
            .or_else(|| with_terminator(data, digest)),
        _ => None,
    }
}

fn text_behind_prefix(data: &[u8], digest: Digest) -> Option<Coverage> {
    let start = grub_prefix(data)?.len();
    let behind = data.get(start..)?;
    let length = behind.iter().position(|byte| *byte == 0).unwrap_or(behind.len());
    let text = behind.get(..length)?;
    let end = start.checked_add(length)?;
    if hashes_to(digest, &[text]) {
        return Some(Coverage { rule: Rule::TextBehindPrefix, range: start..end });
    }
    let rule = Rule::TextBehindPrefixWithNul;
    hashes_to(digest, &[text, &[0]]).then_some(Coverage { rule, range: start..end })
}

fn ascii_form(data: &[u8], digest: Digest) -> Option<Coverage> {
    // Section names are short; longer text is not worth hashing again.
    if data.len() > 64 || !data.len().is_multiple_of(2) {
        return None;
    }
    let (units, _) = data.as_chunks::<2>();
    let length = units.iter().position(|unit| *unit == [0, 0]);
    let units = units.get(..length.unwrap_or(units.len()))?;
    // Strictly: a stand-in for what is no text would let other bytes pass for the measured ones.
    let name: String = char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)))
        .collect::<Result<_, _>>()
        .ok()?;
    // Up to and with the NUL: nothing stands for what follows.
    let end = units.len().checked_mul(2)?.checked_add(if length.is_some() { 2 } else { 0 })?;
    hashes_to(digest, &[name.as_bytes(), &[0]]).then_some(Coverage { rule: Rule::AsciiForm, range: 0..end })
}

fn with_terminator(data: &[u8], digest: Digest) -> Option<Coverage> {
    // An odd length is what cutting one byte off UTF-16 leaves.
    let odd = !data.len().is_multiple_of(2);
    (odd && hashes_to(digest, &[data, &[0]]))
        .then_some(Coverage { rule: Rule::WithTerminator, range: 0..data.len() })
}

fn hashes_to(digest: Digest, parts: &[&[u8]]) -> bool {
    let mut hasher = Hasher::new(digest.algorithm());
    for part in parts {
        hasher.update(part);
    }
    hasher.finish() == digest
}
