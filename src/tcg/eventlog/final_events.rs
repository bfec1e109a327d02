//! The final events table: what firmware measured after the log was first handed out.

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::PcrIndex;
use crate::tcg::cel::{Record, Records, record_in};

use super::log::{EventLog, RegisterKind};
use super::record::{Event, Layout};
use super::replay::Register;
use super::spec_id::FIXED_SIZES;

const VERSION: &str = "EFI_TCG2_FINAL_EVENTS_TABLE.Version";
const COUNT: &str = "EFI_TCG2_FINAL_EVENTS_TABLE.NumberOfEvents";

/// The bytes begin with a final events table and a record in it.
///
/// A SHA-1 log that began so would have an `EV_PREBOOT_CERT` in PCR 1 as its first record.
pub(crate) fn looks_like_final_events(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    match read_count(&mut reader) {
        Ok(0) | Err(_) => false,
        Ok(_) => Event::read(&mut reader, Layout::CryptoAgile(&FIXED_SIZES), 0)
            .is_ok_and(|event| PcrIndex::try_from(event.register).is_ok()),
    }
}

/// Reads `EFI_TCG2_FINAL_EVENTS_TABLE` (TCG EFI Protocol Specification, section 7): version 1, the number of
/// events, events. It has no header, so digests can only be of algorithms whose size the Registry fixes, and its
/// indices are PCRs unless a log beside it says otherwise. What stands behind the last event is the rest of its
/// memory area.
#[must_use]
pub fn read_final_events(bytes: &[u8]) -> Records<'_> {
    let mut records = Vec::new();
    let error = read_all(bytes, &mut records).err();
    Records { records, error: error.map(Into::into) }
}

fn read_all<'a>(bytes: &'a [u8], records: &mut Vec<Record<'a>>) -> Result<(), ParseError> {
    let mut reader = Reader::new(bytes);
    for number in 0..read_count(&mut reader)? {
        let event = Event::read(&mut reader, Layout::CryptoAgile(&FIXED_SIZES), number)?;
        records.push(record_in(Register::of(RegisterKind::Pcr, event.register), &event));
    }
    Ok(())
}

fn read_count(reader: &mut Reader<'_>) -> Result<u32, ParseError> {
    let at_version = *reader;
    let version = reader.u64(VERSION)?;
    if version != 1 {
        let kind = ParseErrorKind::Unexpected { found: version, expected: "1" };
        return Err(at_version.error(VERSION, kind));
    }
    let at_count = *reader;
    let count = reader.u64(COUNT)?;
    let limit = EventLog::MAX_EVENTS;
    u32::try_from(count)
        .ok()
        .filter(|count| *count <= limit)
        .ok_or_else(|| at_count.error(COUNT, ParseErrorKind::TooLarge { found: count, limit: limit.into() }))
}
