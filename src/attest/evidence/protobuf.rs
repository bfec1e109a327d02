//! The little of protobuf's wire format that go-tpm-tools' attestation uses: varints, and length-delimited fields.

use crate::bytes::{ParseError, ParseErrorKind, Reader};

/// Most fields of one message.
const MAX_FIELDS: usize = 4096;

/// A field's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(Reader<'a>),
}

/// Reads a message and hands each field with its number to `take`.
pub(super) fn fields<'a>(
    mut reader: Reader<'a>,
    mut take: impl FnMut(u64, Field<'a>, &Reader<'a>) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let mut count = 0_usize;
    while !reader.is_empty() {
        count = count.saturating_add(1);
        if count > MAX_FIELDS {
            let kind = ParseErrorKind::TooLarge { found: count as u64, limit: MAX_FIELDS as u64 };
            return Err(reader.error("protobuf message", kind));
        }
        let at = reader;
        let key = varint(&mut reader)?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut reader)?),
            1 => {
                reader.take(8, "fixed64")?;
                continue;
            }
            2 => {
                let length = varint(&mut reader)?;
                Field::Bytes(reader.sub(length, "length-delimited field")?)
            }
            5 => {
                reader.take(4, "fixed32")?;
                continue;
            }
            found => {
                let kind = ParseErrorKind::Unexpected { found, expected: "wire type 0, 1, 2 or 5" };
                return Err(at.error("protobuf field", kind));
            }
        };
        take(key >> 3, field, &at)?;
    }
    Ok(())
}

/// At most ten bytes of seven bits, lowest first.
fn varint(reader: &mut Reader<'_>) -> Result<u64, ParseError> {
    let at = *reader;
    let mut value = 0_u64;
    for shift in (0_u32..64).step_by(7) {
        let byte = reader.u8("varint")?;
        value |= u64::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(at.error("varint", ParseErrorKind::Invalid("has more than ten bytes")))
}

/// Sets a field that may be there once: what a message means must not depend on which one a reader takes.
pub(super) fn once<T>(
    slot: &mut Option<T>,
    value: T,
    what: &'static str,
    at: &Reader<'_>,
) -> Result<(), ParseError> {
    if slot.replace(value).is_some() {
        return Err(at.error(what, ParseErrorKind::Invalid("is there twice")));
    }
    Ok(())
}
