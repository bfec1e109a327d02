//! CEL-TLV (CEL 1.0, section 5.1): `u8 type, u32 length (big-endian), value`, nested.

use std::borrow::Cow;

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::eventlog::{Register, RegisterKind};
use crate::tcg::{AlgorithmId, EventType};

use super::record::{Content, Management, Record, RecordDigests};
use super::{MAX_RECORDS, Records};

/// Types of the top level. 108 is go-eventlog's: the register of a confidential guest.
const RECNUM: u8 = 0;
const PCR: u8 = 1;
const NV_INDEX: u8 = 2;
const DIGESTS: u8 = 3;
const CC_REGISTER: u8 = 108;

/// Reads records until nothing is left.
#[must_use]
pub fn read_tlv(bytes: &[u8]) -> Records<'_> {
    let mut reader = Reader::new(bytes);
    let mut records = Vec::new();
    while !reader.is_empty() {
        if records.len() >= MAX_RECORDS {
            let kind = ParseErrorKind::TooLarge { found: MAX_RECORDS as u64, limit: MAX_RECORDS as u64 };
            return Records { records, error: Some(reader.error("CEL record", kind).into()) };
        }
        match read_record(&mut reader) {
            Ok(record) => records.push(record),
            Err(error) => return Records { records, error: Some(error.into()) },
        }
    }
    Records { records, error: None }
}

/// The bytes begin as a record does: a number of at most 8 bytes, then a register or digests.
pub(crate) fn looks_like_tlv(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    let Ok((RECNUM, number)) = read_field(&mut reader, "CEL record") else { return false };
    let second = read_field(&mut reader, "CEL record");
    number.remaining() <= 8 && second.is_ok_and(|(kind, _)| matches!(kind, PCR | NV_INDEX | CC_REGISTER))
}

fn read_field<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<(u8, Reader<'a>), ParseError> {
    let kind = reader.u8(what)?;
    let length = reader.u32_be(what)?;
    Ok((kind, reader.sub(length.into(), what)?))
}

fn read_record<'a>(reader: &mut Reader<'a>) -> Result<Record<'a>, ParseError> {
    let offset = reader.offset();
    let recnum = expect(reader, RECNUM, "RECNUM")?;
    let recnum = number(recnum, 8, "RECNUM")?;
    let register = read_register(reader)?;
    let digests = read_digests(expect(reader, DIGESTS, "DIGESTS")?)?;
    let (kind, content) = read_field(reader, "CONTENT")?;
    let content = read_content(kind, content)?;
    Ok(Record { recnum: Some(recnum), register, digests, content, offset })
}

fn expect<'a>(reader: &mut Reader<'a>, kind: u8, what: &'static str) -> Result<Reader<'a>, ParseError> {
    let start = *reader;
    let (found, value) = read_field(reader, what)?;
    if found != kind {
        let kind = ParseErrorKind::Unexpected { found: found.into(), expected: "the type of this field" };
        return Err(start.error(what, kind));
    }
    Ok(value)
}

/// A big-endian number of any length up to `limit` bytes: encoders differ in the width.
fn number(reader: Reader<'_>, limit: usize, what: &'static str) -> Result<u64, ParseError> {
    let bytes = reader.peek();
    if bytes.is_empty() || bytes.len() > limit {
        let kind = ParseErrorKind::TooLarge { found: bytes.len() as u64, limit: limit as u64 };
        return Err(reader.error(what, kind));
    }
    Ok(bytes.iter().fold(0_u64, |number, byte| number.wrapping_shl(8) | u64::from(*byte)))
}

fn read_register(reader: &mut Reader<'_>) -> Result<Register, ParseError> {
    let start = *reader;
    let (kind, value) = read_field(reader, "PCR")?;
    let index = u32::try_from(number(value, 4, "PCR")?).unwrap_or(u32::MAX);
    Ok(match kind {
        PCR => Register::of(RegisterKind::Pcr, index),
        NV_INDEX => Register::Nv(index),
        CC_REGISTER => Register::of(RegisterKind::Mr, index),
        other => {
            let expected = "PCR (1), NV_INDEX (2) or a register of a confidential guest (108)";
            let kind = ParseErrorKind::Unexpected { found: other.into(), expected };
            return Err(start.error("PCR", kind));
        }
    })
}

fn read_digests<'a>(mut reader: Reader<'a>) -> Result<RecordDigests<'a>, ParseError> {
    let mut digests = RecordDigests::default();
    while !reader.is_empty() {
        let start = reader;
        let (algorithm, value) = read_field(&mut reader, "DIGESTS")?;
        digests.push(AlgorithmId(algorithm.into()), value.peek()).map_err(|_| {
            let why = "a digest is there twice, or its length is not the algorithm's";
            start.error("DIGESTS", ParseErrorKind::Invalid(why))
        })?;
    }
    Ok(digests)
}

fn read_content<'a>(kind: u8, mut reader: Reader<'a>) -> Result<Content<'a>, ParseError> {
    match kind {
        4 => read_management(reader).map(Content::Management),
        5 => {
            let event_type = expect(&mut reader, 0, "EVENT_TYPE")?;
            let event_type = u32::try_from(number(event_type, 4, "EVENT_TYPE")?).unwrap_or(u32::MAX);
            let data = expect(&mut reader, 1, "EVENT_DATA")?;
            reader.expect_end("CONTENT")?;
            Ok(Content::PcClient { event_type: EventType(event_type), data: Cow::Borrowed(data.peek()) })
        }
        7 => {
            let name = expect(&mut reader, 0, "TEMPLATE_NAME")?;
            let data = expect(&mut reader, 1, "TEMPLATE_DATA")?;
            reader.expect_end("CONTENT")?;
            let name = String::from_utf8_lossy(name.peek());
            Ok(Content::ImaTemplate { name, data: Cow::Borrowed(data.peek()) })
        }
        other => Ok(Content::Other(content_name(other), Cow::Borrowed(reader.peek()))),
    }
}

/// Names of content types that we do not look into.
pub(super) fn content_name(kind: u8) -> String {
    match kind {
        8 => "ima_tlv".to_owned(),
        9 => "systemd".to_owned(),
        80 => "cos".to_owned(),
        other => other.to_string(),
    }
}

fn read_management(mut reader: Reader<'_>) -> Result<Management, ParseError> {
    let start = reader;
    let (kind, mut value) = read_field(&mut reader, "CEL management")?;
    reader.expect_end("CEL management")?;
    match kind {
        1 => {
            let major = number(expect(&mut value, 0, "major")?, 2, "major")?;
            let minor = number(expect(&mut value, 1, "minor")?, 2, "minor")?;
            let narrow = |number| u16::try_from(number).unwrap_or(u16::MAX);
            Ok(Management::Version { major: narrow(major), minor: narrow(minor) })
        }
        2 => Ok(Management::FirmwareEnd),
        // CEL 1.0 numbers these two from 128 on, CEL 1.1 from 3 on.
        3 | 0x80 => number(value, 8, "cel_timestamp").map(Management::Timestamp),
        4 | 0x81 => number(value, 8, "state_trans").map(Management::StateTransition),
        other => {
            let expected = "cel_version, firmware_end, cel_timestamp or state_trans";
            let kind = ParseErrorKind::Unexpected { found: other.into(), expected };
            Err(start.error("CEL management", kind))
        }
    }
}
