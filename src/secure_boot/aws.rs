//! AWS's `uefi-data`: the variables of an EC2 instance or image, as `ec2 get-instance-uefi-data` and `register-image` have
//! them (format: AWS's `python-uefivars`).
//!
//! Base64 of: `AMZNUEFI`, a CRC-32C of the rest, a version, and a zlib stream of the variables. The stream presupposes a
//! dictionary that AWS publishes with its tools; it is no part of this program, and whoever has such a file has them.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::io::Read as _;

use base64::Engine as _;

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::crc::crc32c;
use crate::uefi::guid;
use crate::uefi::variable_store::Variable;

/// Most bytes of the text: EC2 takes 64 KiB.
pub const MAX_UEFI_DATA: u64 = 1 << 20;
/// Most bytes of the variables: a store has 64 to 528 KiB.
const MAX_INFLATED: u64 = 8 << 20;
/// Most variables that are read.
const MAX_VARIABLES: u64 = 4096;
/// Most bytes of a dictionary: zlib looks back no further.
pub const MAX_DICTIONARY: u64 = 32 << 10;
/// What the decoded file begins with, as base64 has it.
const START: &[u8] = b"QU1aTlVFRk";
const MAGIC: &[u8; 8] = b"AMZNUEFI";
/// `EFI_VARIABLE_TIME_BASED_AUTHENTICATED_WRITE_ACCESS`: a time and a digest follow.
const TIME_BASED: u32 = 0x20;

/// A text that is no such data, or can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwsDataError {
    /// Not base64.
    #[error("AWS uefi-data is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// A field.
    #[error("AWS uefi-data: {0}")]
    Field(#[from] ParseError),
    /// The checksum.
    #[error(
        "AWS uefi-data: CRC-32C is {found:08x}, the data's is {computed:08x}: it is not complete, or was changed"
    )]
    Checksum {
        /// As the header says.
        found: u32,
        /// Of the data.
        computed: u32,
    },
    /// Compressed with a dictionary that was not given.
    #[error("AWS uefi-data: compressed with a dictionary (Adler-32 {0:08x}), which was not given")]
    NoDictionary(u32),
    /// Compressed with another dictionary.
    #[error(
        "AWS uefi-data: compressed with the dictionary of Adler-32 {wanted:08x}, the one given has {given:08x}"
    )]
    Dictionary {
        /// As the stream says.
        wanted: u32,
        /// Of the file.
        given: u32,
    },
    /// The stream is damaged.
    #[error("AWS uefi-data: zlib stream: {0}")]
    Zlib(String),
}

/// The text looks like `uefi-data`.
#[must_use]
pub fn is_uefi_data(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(START)
}

/// Reads the variables. `dictionary` is what the stream was compressed with.
///
/// # Errors
/// [`AwsDataError`].
pub fn read_uefi_data(text: &[u8], dictionary: Option<&[u8]>) -> Result<Vec<Variable>, AwsDataError> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
    let mut reader = Reader::new(&bytes);
    let at_magic = reader;
    let magic = reader.u64("magic")?;
    if magic.to_le_bytes() != *MAGIC {
        let kind = ParseErrorKind::Unexpected { found: magic, expected: "AMZNUEFI" };
        return Err(at_magic.error("magic", kind).into());
    }
    let found = reader.u32("crc32")?;
    let computed = crc32c([reader.peek()]);
    if found != computed {
        return Err(AwsDataError::Checksum { found, computed });
    }
    let at_version = reader;
    let version = reader.u32("version")?;
    if version != 0 {
        let kind = ParseErrorKind::Unexpected { found: version.into(), expected: "0" };
        return Err(at_version.error("version", kind).into());
    }
    let variables = inflate(reader.rest(), dictionary)?;
    Ok(read_variables(&variables)?)
}

fn read_variables(bytes: &[u8]) -> Result<Vec<Variable>, ParseError> {
    let mut reader = Reader::new(bytes);
    let at_count = reader;
    let count = reader.u64("number of variables")?;
    if count > MAX_VARIABLES {
        let kind = ParseErrorKind::TooLarge { found: count, limit: MAX_VARIABLES };
        return Err(at_count.error("number of variables", kind));
    }
    let mut variables = Vec::new();
    for _ in 0..count {
        let name = sized(&mut reader, "name")?;
        let data = sized(&mut reader, "data")?.to_vec();
        let vendor = guid::read(&mut reader, "guid")?;
        let attributes = reader.u32("attr")?;
        if attributes & TIME_BASED != 0 {
            reader.take(16, "timestamp")?;
            sized(&mut reader, "digest")?;
        }
        let name = String::from_utf8_lossy(name).into_owned();
        variables.push(Variable { vendor, name, attributes, data });
    }
    Ok(variables)
}

/// A length of 64 bits, and as many bytes.
fn sized<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], ParseError> {
    let length = reader.u64(what)?;
    reader.take(length, what)
}

/// RFC 1950. The dictionary goes in front of the stream as blocks that are not compressed: RFC 1951 lets what follows refer to
/// them, and no decoder has to know of dictionaries.
fn inflate(stream: &[u8], dictionary: Option<&[u8]>) -> Result<Vec<u8>, AwsDataError> {
    let broken = |text: &str| AwsDataError::Zlib(text.to_owned());
    let Some(([method, flags], rest)) = stream.split_first_chunk::<2>() else {
        return Err(broken("ends before its header"));
    };
    if method & 0x0f != 8 || u16::from_be_bytes([*method, *flags]) % 31 != 0 {
        return Err(broken("its header is not that of zlib"));
    }
    let (known, body) = if flags & 0x20 == 0 { (&[][..], rest) } else { checked(rest, dictionary)? };
    let stored: Vec<u8> = known.chunks(0xffff).flat_map(stored_block).collect();
    let joined = [&stored, body].concat();
    let mut decoder = flate2::bufread::DeflateDecoder::new(joined.as_slice());
    let limit = MAX_INFLATED.saturating_add(known.len() as u64);
    let mut output = Vec::new();
    let read = (&mut decoder).take(limit.saturating_add(1)).read_to_end(&mut output);
    read.map_err(|error| AwsDataError::Zlib(error.to_string()))?;
    if output.len() as u64 > limit {
        return Err(broken("holds more than 8 MiB"));
    }
    let used = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
    let variables = output.split_off(known.len().min(output.len()));
    let checksum = joined.get(used..).and_then(|rest| rest.first_chunk::<4>());
    if checksum.map(|bytes| u32::from_be_bytes(*bytes)) != Some(adler32(&variables)) {
        return Err(broken("its Adler-32 is not that of the variables"));
    }
    Ok(variables)
}

/// The dictionary, once it is the one that the stream names, and what follows that name.
fn checked<'a>(rest: &'a [u8], dictionary: Option<&'a [u8]>) -> Result<(&'a [u8], &'a [u8]), AwsDataError> {
    let Some((wanted, body)) = rest.split_first_chunk::<4>() else {
        return Err(AwsDataError::Zlib("ends before its DICTID".to_owned()));
    };
    let wanted = u32::from_be_bytes(*wanted);
    let dictionary = dictionary.ok_or(AwsDataError::NoDictionary(wanted))?;
    match adler32(dictionary) {
        given if given == wanted => Ok((dictionary, body)),
        given => Err(AwsDataError::Dictionary { wanted, given }),
    }
}

/// A block of type 0 that is not the last one.
fn stored_block(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&[0], &length.to_le_bytes()[..], &(!length).to_le_bytes(), bytes].concat()
}

/// RFC 1950, section 8.2.
fn adler32(bytes: &[u8]) -> u32 {
    let (one, two) = bytes.iter().fold((1_u32, 0_u32), |(one, two), byte| {
        let one = one.wrapping_add(u32::from(*byte)) % 65521;
        (one, two.wrapping_add(one) % 65521)
    });
    two << 16 | one
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// Witness: zlib 1.2.13.
    #[test]
    fn the_checksum_of_a_stream_is_zlibs() {
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    /// Made with Python 3.11's zlib 1.2.13, `compressobj(9, zdict=b"the dictionary")`: a stream that refers to the dictionary.
    const COMPRESSED: &str = "78f9288005982b41e1e928a0f201af120b7b";

    #[test]
    fn a_dictionary_is_demanded_and_checked() {
        let stream = hex::decode(COMPRESSED).expect("hexadecimal");
        let text = inflate(&stream, Some(b"the dictionary")).expect("sound");
        assert_eq!(text, b"the dictionary, the dictionary");
        assert!(matches!(inflate(&stream, None), Err(AwsDataError::NoDictionary(_))));
        assert!(matches!(inflate(&stream, Some(b"other")), Err(AwsDataError::Dictionary { .. })));
        for cut in 0..stream.len() {
            assert!(inflate(&stream[..cut], Some(b"the dictionary")).is_err(), "{cut}");
        }
    }

    /// 9 MiB of zeros, which compress to 9 KiB, are more than any machine's variables.
    #[test]
    fn a_bomb_is_refused() {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &vec![0; 9 << 20]).expect("in memory");
        let stream = encoder.finish().expect("in memory");
        let error = inflate(&stream, None).expect_err("too much").to_string();
        assert!(error.contains("more than 8 MiB"), "{error}");
    }

    #[test]
    fn fields_that_lie_are_named() {
        let text = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let file = |body: &[u8]| [&MAGIC[..], &crc32c([body]).to_le_bytes(), body].concat();
        let problem =
            |bytes: &[u8]| read_uefi_data(text(bytes).as_bytes(), None).expect_err("not sound").to_string();
        assert!(problem(b"AMZNUEFJ").contains("magic"));
        assert!(problem(&[&MAGIC[..], &[0; 8]].concat()).contains("CRC-32C"));
        assert!(problem(&file(&[1, 0, 0, 0])).contains("version"));
        assert!(problem(&file(&[0; 4])).contains("before its header"));
        assert!(read_variables(&u64::MAX.to_le_bytes()).is_err(), "count");
        assert!(read_variables(&[1_u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat()).is_err(), "name");
    }
}
