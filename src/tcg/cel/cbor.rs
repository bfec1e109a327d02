//! CEL-CBOR (CEL 1.1, section 5.2): maps `{0: recnum, 1: pcr or 2: nv_index, 3: digests, 9: content_type,
//! 10: content}`, in an array or one after the other (RFC 8742).
//!
//! Strings of indefinite length are refused: nobody writes them, and they can't be borrowed.

use std::borrow::Cow;

use minicbor::Decoder;
use minicbor::data::Type;

use crate::bytes::{ParseError, ParseErrorKind};
use crate::tcg::eventlog::{Register, RegisterKind};
use crate::tcg::{AlgorithmId, EventType};

use super::record::{Content, Management, Record, RecordDigests};
use super::tlv::content_name;
use super::{MAX_RECORDS, Records};

/// Reads the records of an array, or of a sequence.
#[must_use]
pub fn read_cbor(bytes: &[u8]) -> Records<'_> {
    let mut cursor = Cursor(Decoder::new(bytes));
    let mut records = Vec::new();
    let error = read_all(&mut cursor, bytes.len(), &mut records).err();
    Records { records, error: error.map(Into::into) }
}

/// The bytes begin with an array of maps, or with a map, whose first key is 0.
pub(crate) fn looks_like_cbor(bytes: &[u8]) -> bool {
    let mut decoder = Decoder::new(bytes);
    let array = matches!(decoder.datatype(), Ok(Type::Array | Type::ArrayIndef));
    if array && decoder.array().is_err() {
        return false;
    }
    decoder.map().is_ok() && decoder.u64().is_ok_and(|key| key == 0)
}

fn read_all<'a>(
    cursor: &mut Cursor<'a>,
    end: usize,
    records: &mut Vec<Record<'a>>,
) -> Result<(), ParseError> {
    let count = match cursor.0.datatype() {
        Ok(Type::Array) => cursor.read("CEL log", |d| d.array())?,
        Ok(Type::ArrayIndef) => {
            cursor.read("CEL log", |d| d.array())?;
            return read_until_break(cursor, records);
        }
        _ => None,
    };
    loop {
        let more = match count {
            Some(count) => (records.len() as u64) < count,
            None => cursor.0.position() < end,
        };
        if !more {
            break;
        }
        push(cursor, records)?;
    }
    if cursor.0.position() < end {
        let left = (end.saturating_sub(cursor.0.position())) as u64;
        return Err(cursor.error("CEL log", ParseErrorKind::Trailing { left }));
    }
    Ok(())
}

fn read_until_break<'a>(cursor: &mut Cursor<'a>, records: &mut Vec<Record<'a>>) -> Result<(), ParseError> {
    while cursor.read("CEL log", |d| d.datatype())? != Type::Break {
        push(cursor, records)?;
    }
    Ok(())
}

fn push<'a>(cursor: &mut Cursor<'a>, records: &mut Vec<Record<'a>>) -> Result<(), ParseError> {
    if records.len() >= MAX_RECORDS {
        let kind = ParseErrorKind::TooLarge { found: MAX_RECORDS as u64, limit: MAX_RECORDS as u64 };
        return Err(cursor.error("CEL record", kind));
    }
    records.push(read_record(cursor)?);
    Ok(())
}

fn read_record<'a>(cursor: &mut Cursor<'a>) -> Result<Record<'a>, ParseError> {
    let offset = cursor.0.position() as u64;
    let start = cursor.here();
    let count = cursor.map("CEL record", 8)?;
    let (mut recnum, mut register, mut digests, mut kind, mut content) = (None, None, None, None, None);
    for _ in 0..count {
        let key = cursor.read("CEL record", |d| d.u64())?;
        let twice = match key {
            0 => recnum.is_some(),
            1 | 2 | 108 => register.is_some(),
            3 => digests.is_some(),
            9 => kind.is_some(),
            _ => content.is_some(),
        };
        if twice {
            let why = "has a key, its register or its content a second time";
            return Err(cursor.error("CEL record", ParseErrorKind::Invalid(why)));
        }
        match key {
            0 => recnum = Some(cursor.read("recnum", |d| d.u64())?),
            1 => register = Some(Register::of(RegisterKind::Pcr, cursor.read("pcr", |d| d.u32())?)),
            2 => register = Some(Register::Nv(cursor.read("nv_index", |d| d.u32())?)),
            108 => register = Some(Register::of(RegisterKind::Mr, cursor.read("ccmr", |d| d.u32())?)),
            3 => digests = Some(read_digests(cursor)?),
            9 => kind = Some(cursor.read("content_type", |d| d.u64())?),
            10 => content = Some(read_content(cursor, kind)?),
            // CEL 1.0's form: the content under the number of its type.
            4 | 5 | 7 | 8 => content = Some(read_content(cursor, Some(key))?),
            other => {
                let expected = "a key of a CEL record";
                return Err(cursor.error("CEL record", ParseErrorKind::Unexpected { found: other, expected }));
            }
        }
    }
    match (register, digests, content) {
        (Some(register), Some(digests), Some(content)) => {
            Ok(Record { recnum, register, digests, content, offset })
        }
        _ => Err(ParseError {
            kind: ParseErrorKind::Invalid("lacks its register, digests or content"),
            ..start
        }),
    }
}

fn read_digests<'a>(cursor: &mut Cursor<'a>) -> Result<RecordDigests<'a>, ParseError> {
    let count = cursor.array("digests", RecordDigests::MAX as u64)?;
    let mut digests = RecordDigests::default();
    for _ in 0..count {
        let start = cursor.here();
        let (mut algorithm, mut digest) = (None, None);
        for _ in 0..cursor.map("digest", 2)? {
            let key = cursor.read("digest", |d| d.u64())?;
            cursor.refuse_twice(
                "digest",
                (key == 0 && algorithm.is_some()) || (key == 1 && digest.is_some()),
            )?;
            match key {
                0 => algorithm = Some(AlgorithmId(cursor.read("hashAlg", |d| d.u16())?)),
                1 => digest = Some(cursor.read("digest", |d| d.bytes())?),
                other => {
                    let kind = ParseErrorKind::Unexpected { found: other, expected: "0 or 1" };
                    return Err(cursor.error("digest", kind));
                }
            }
        }
        let invalid = |why| ParseError { what: "digest", kind: ParseErrorKind::Invalid(why), ..start };
        let (Some(algorithm), Some(digest)) = (algorithm, digest) else {
            return Err(invalid("lacks its algorithm or value"));
        };
        digests
            .push(algorithm, digest)
            .map_err(|_| invalid("is there twice, or its length is not the algorithm's"))?;
    }
    Ok(digests)
}

fn read_content<'a>(cursor: &mut Cursor<'a>, kind: Option<u64>) -> Result<Content<'a>, ParseError> {
    match kind {
        Some(4) => read_management(cursor).map(Content::Management),
        Some(5) => {
            let (event_type, data) =
                pair(cursor, "pcclient_std", event_type, |c| c.read("event_data", |d| d.bytes()))?;
            Ok(Content::PcClient { event_type, data: Cow::Borrowed(data) })
        }
        Some(7) => {
            let (name, data) = pair(
                cursor,
                "ima_template",
                |c| c.read("template_name", |d| d.str()),
                |c| c.read("template_data", |d| d.bytes()),
            )?;
            Ok(Content::ImaTemplate { name: Cow::Borrowed(name), data: Cow::Borrowed(data) })
        }
        Some(other) => {
            let start = cursor.0.position();
            cursor.read("content", |d| d.skip())?;
            let bytes = cursor.0.input().get(start..cursor.0.position()).unwrap_or_default();
            let name = u8::try_from(other).map_or_else(|_| other.to_string(), content_name);
            Ok(Content::Other(name, Cow::Borrowed(bytes)))
        }
        None => Err(cursor.error("content", ParseErrorKind::Invalid("stands before its content_type"))),
    }
}

/// `event_type` is a number, or the name in the specification.
fn event_type(cursor: &mut Cursor<'_>) -> Result<EventType, ParseError> {
    if cursor.read("event_type", |d| d.datatype())? != Type::String {
        return cursor.read("event_type", |d| d.u32()).map(EventType);
    }
    let here = cursor.here();
    let name = cursor.read("event_type", |d| d.str())?;
    let unknown =
        ParseError { what: "event_type", kind: ParseErrorKind::Invalid("is no event type's name"), ..here };
    EventType::from_name(name).ok_or(unknown)
}

/// A map of two members, 0 and 1, in any order.
fn pair<'a, A, B>(
    cursor: &mut Cursor<'a>,
    what: &'static str,
    first: impl Fn(&mut Cursor<'a>) -> Result<A, ParseError>,
    second: impl Fn(&mut Cursor<'a>) -> Result<B, ParseError>,
) -> Result<(A, B), ParseError> {
    let start = cursor.here();
    let (mut a, mut b) = (None, None);
    for _ in 0..cursor.map(what, 2)? {
        let key = cursor.read(what, |d| d.u64())?;
        cursor.refuse_twice(what, (key == 0 && a.is_some()) || (key == 1 && b.is_some()))?;
        match key {
            0 => a = Some(first(cursor)?),
            1 => b = Some(second(cursor)?),
            other => {
                let kind = ParseErrorKind::Unexpected { found: other, expected: "0 or 1" };
                return Err(cursor.error(what, kind));
            }
        }
    }
    match (a, b) {
        (Some(a), Some(b)) => Ok((a, b)),
        _ => Err(ParseError { what, kind: ParseErrorKind::Invalid("lacks a member"), ..start }),
    }
}

fn read_management(cursor: &mut Cursor<'_>) -> Result<Management, ParseError> {
    const WHAT: &str = "CEL management";
    let start = cursor.here();
    let count = cursor.map(WHAT, 2)?;
    let key = cursor.read(WHAT, |d| d.u64())?;
    let kind = cursor.read(WHAT, |d| d.u64())?;
    if key != 0 || (count == 2 && cursor.read(WHAT, |d| d.u64())? != 1) {
        return Err(ParseError { kind: ParseErrorKind::Invalid("is no map of type and data"), ..start });
    }
    match (kind, count) {
        (1, 2) => {
            let number = |c: &mut Cursor<'_>| c.read("cel_version", |d| d.u16());
            let (major, minor) = pair(cursor, "cel_version", number, number)?;
            Ok(Management::Version { major, minor })
        }
        (2, 1) => Ok(Management::FirmwareEnd),
        (3 | 0x80, 2) => cursor.read("cel_timestamp", |d| d.u64()).map(Management::Timestamp),
        (4 | 0x81, 2) => cursor.read("state_trans", |d| d.u64()).map(Management::StateTransition),
        (found, _) => {
            let expected = "cel_version, firmware_end, cel_timestamp or state_trans";
            Err(ParseError { kind: ParseErrorKind::Unexpected { found, expected }, ..start })
        }
    }
}

/// A decoder whose errors say where they are.
struct Cursor<'a>(Decoder<'a>);

impl<'a> Cursor<'a> {
    fn read<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Decoder<'a>) -> Result<T, minicbor::decode::Error>,
    ) -> Result<T, ParseError> {
        let offset = self.0.position() as u64;
        read(&mut self.0).map_err(|error| {
            let kind = if error.is_end_of_input() {
                ParseErrorKind::Invalid("the bytes end inside of it")
            } else if error.is_type_mismatch() {
                ParseErrorKind::Invalid("has another CBOR type")
            } else {
                ParseErrorKind::Invalid("is no valid CBOR")
            };
            ParseError { offset, what, kind }
        })
    }

    /// Members of a map of definite length.
    fn map(&mut self, what: &'static str, limit: u64) -> Result<u64, ParseError> {
        let count = self.read(what, |d| d.map())?;
        self.bounded(count, what, limit)
    }

    /// Elements of an array of definite length.
    fn array(&mut self, what: &'static str, limit: u64) -> Result<u64, ParseError> {
        let count = self.read(what, |d| d.array())?;
        self.bounded(count, what, limit)
    }

    fn bounded(&self, count: Option<u64>, what: &'static str, limit: u64) -> Result<u64, ParseError> {
        match count {
            Some(count) if count <= limit => Ok(count),
            Some(found) => Err(self.error(what, ParseErrorKind::TooLarge { found, limit })),
            None => Err(self.error(what, ParseErrorKind::Invalid("is of indefinite length"))),
        }
    }

    /// A map whose readers might each take another of two equal keys is no record (RFC 8949, section 5.6).
    fn refuse_twice(&self, what: &'static str, is_twice: bool) -> Result<(), ParseError> {
        let kind = ParseErrorKind::Invalid("has a key a second time");
        if is_twice { Err(self.error(what, kind)) } else { Ok(()) }
    }

    fn here(&self) -> ParseError {
        self.error("CEL record", ParseErrorKind::Invalid(""))
    }

    fn error(&self, what: &'static str, kind: ParseErrorKind) -> ParseError {
        ParseError { offset: self.0.position() as u64, what, kind }
    }
}
