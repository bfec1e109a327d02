//! Where a log ends: at the end of the file, where the padding of its memory area begins, or where bytes stand that
//! can't be a record.
//!
//! A log has no length of its own, so what follows the last record has to be told from a record that was cut off. The
//! rule, in this order:
//!
//! 1. Nothing but zeros, or nothing but 0xFF: padding, however short.
//! 2. A run of those that no record begins with ([`Trailer::at`]), then other bytes: padding and junk.
//! 3. Bytes that read as a record are one, whatever register they name.
//! 4. Bytes that don't, but that [can begin](can_begin_record) one: the log is cut off, or damaged, there.
//! 5. Bytes that can't: junk, unless a whole record stands somewhere behind them. Then the log is damaged, and
//!    nothing may be left out in silence.

use crate::bytes::Reader;
use crate::tcg::{EventType, PcrIndex};

use super::record::{Event, Layout};

/// What stands behind the last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailer {
    /// Nothing: the file ends with the last record.
    None,
    /// The unused rest of the log's memory area (ACPI `TPM2.LAML`, `CCEL.LAML`).
    Padding {
        /// The byte that fills it: 0x00 or 0xFF.
        byte: u8,
        /// How many.
        length: u64,
    },
    /// Bytes that are no records, behind padding or behind the last record itself. They are never taken as
    /// measurements.
    Junk {
        /// The byte that the padding before them consists of; `None` without padding.
        byte: Option<u8>,
        /// Offset of the first byte that is not padding.
        offset: u64,
        /// Bytes from there to the end of the file.
        length: u64,
    },
}

impl Trailer {
    /// The trailer, if the log ends at `reader`; `None` when a record is due there.
    ///
    /// EDK2 fills the area with 0xFF, other firmware with zeros. No record starts with an index and a type of
    /// all ones, and none with nothing but zeros: an `EV_PREBOOT_CERT` in PCR 0 without any digest.
    pub(super) fn at(reader: &Reader<'_>, layout: Layout<'_>) -> Option<Self> {
        let rest = reader.peek();
        let Some(byte @ (0x00 | 0xFF)) = rest.first().copied() else {
            return rest.is_empty().then_some(Self::None);
        };
        let run = rest.iter().take_while(|other| **other == byte).count();
        let length = rest.len() as u64;
        if run == rest.len() {
            return Some(Self::Padding { byte, length });
        }
        let enough = match (byte, layout) {
            (0xFF, _) => 8,
            (_, Layout::Sha1) => 32,
            (_, Layout::CryptoAgile(_)) => 12,
        };
        if run < enough {
            return None;
        }
        let run = run as u64;
        Some(Self::Junk {
            byte: Some(byte),
            offset: reader.offset().saturating_add(run),
            length: length.saturating_sub(run),
        })
    }

    /// What follows the last record, where no record can be read: junk, or `None` when the log is cut off or damaged
    /// (rules 4 and 5 of the module).
    pub(super) fn instead_of_record<'l>(at: Reader<'l>, layout: Layout<'l>) -> Option<Self> {
        if can_begin_record(at.peek()) || holds_record(at, layout) {
            return None;
        }
        Some(Self::Junk { byte: None, offset: at.offset(), length: at.remaining() as u64 })
    }
}

/// Bytes, perhaps fewer than a record's fixed fields, that may be the beginning of one:
///
/// - an index of a PCR, and any type but 0. `EV_PREBOOT_CERT` (0) is reserved (PFP, section 10.4.1, table "Events"),
///   and what follows zeros is the content of an unused area. Other unknown types may be a vendor's.
/// - the index -1, which some firmware gives to what extends nothing, and `EV_NO_ACTION`.
///
/// Digests don't count: a record with a wrong number of them is a damaged record.
fn can_begin_record(bytes: &[u8]) -> bool {
    let (index, behind) = bytes.split_at_checked(4).unwrap_or((bytes, &[]));
    let event_type = behind.get(..4).unwrap_or(behind);
    if !index.is_empty() && index.iter().all(|byte| *byte == 0xFF) {
        return EventType::NO_ACTION.0.to_le_bytes().starts_with(event_type);
    }
    let (low, high) = index.split_first().unwrap_or((&0, &[]));
    let is_register = *low < PcrIndex::COUNT && high.iter().all(|byte| *byte == 0);
    is_register && event_type != EventType::PREBOOT_CERT.0.to_le_bytes()
}

/// A whole record of a known type in a PCR stands somewhere in these bytes.
fn holds_record<'l>(mut reader: Reader<'l>, layout: Layout<'l>) -> bool {
    while !reader.is_empty() {
        if is_known_record(reader, layout) {
            return true;
        }
        // One byte is there.
        let _ = reader.u8("event log");
    }
    false
}

fn is_known_record<'l>(mut reader: Reader<'l>, layout: Layout<'l>) -> bool {
    // Cheap first: this is asked at every byte of what may be megabytes.
    let [low, 0, 0, 0, ..] = reader.peek() else { return false };
    *low < PcrIndex::COUNT
        && Event::read(&mut reader, layout, 0).is_ok_and(|event| {
            event.event_type != EventType::PREBOOT_CERT && event.event_type.name().is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_the_beginning_of_a_record_is_told_from_what_can_not() {
        let may: [&[u8]; 8] = [
            &[1],
            &[7, 0, 0],
            &[23, 0, 0, 0],
            &[0, 0, 0, 0, 8],
            &[4, 0, 0, 0, 3, 0, 0, 0x80, 4],
            &[0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x7F],
            &[0xFF, 0xFF, 0xFF, 0xFF, 3, 0],
            &[0xFF, 0xFF, 0xFF, 0xFF, 3, 0, 0, 0, 1],
        ];
        let can_not: [&[u8]; 6] = [
            &[24],
            &[1, 2],
            b"SSDT",
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'a'],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, b'a', b'b'],
            &[0xFF, 0xFF, 0xFF, 0xFF, 4, 0, 0, 0],
        ];
        may.iter().for_each(|bytes| assert!(can_begin_record(bytes), "{bytes:?}"));
        can_not.iter().for_each(|bytes| assert!(!can_begin_record(bytes), "{bytes:?}"));
    }
}
