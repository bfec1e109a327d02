//! The superblock that stands before a hash tree.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use uguid::Guid;

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::source::Blob;
use crate::tcg::HashAlgorithm;

/// Bytes of the superblock.
const SIZE: u64 = 512;
/// Block sizes that the kernel supports.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 512..=65536;
/// Most bytes of salt.
const MAX_SALT: u16 = 256;

/// What a hash device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// `uuid`, in the order of its text form.
    pub uuid: [u8; 16],
    /// `algorithm`.
    pub algorithm: HashAlgorithm,
    /// `data_block_size`, in bytes.
    pub data_block_size: u32,
    /// `hash_block_size`, in bytes.
    pub hash_block_size: u32,
    /// `data_blocks`.
    pub data_blocks: u64,
    /// `salt`.
    pub salt: Vec<u8>,
}

/// A hash device that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperblockError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A field is wrong.
    #[error("no usable verity superblock: {0}")]
    Field(#[from] ParseError),
    /// A hash that is not known here.
    #[error("the verity superblock names the hash '{0}', which is none of sha1, sha256, sha384, sha512")]
    Algorithm(String),
}

impl Superblock {
    /// Reads the superblock at the start of `device`.
    ///
    /// # Errors
    /// [`SuperblockError`].
    pub fn parse(device: &Blob) -> Result<Self, SuperblockError> {
        Self::parse_bytes(&device.read_prefix(SIZE)?)
    }

    /// The same from its bytes.
    ///
    /// # Errors
    /// [`SuperblockError::Field`] and [`SuperblockError::Algorithm`].
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, SuperblockError> {
        let mut reader = Reader::new(bytes);
        let place = reader;
        if reader.take(8, "signature")? != b"verity\0\0" {
            return Err(place.error("signature", ParseErrorKind::Invalid("is not \"verity\"")).into());
        }
        expect(reader, "version", reader.u32("version")?, "1")?;
        expect(reader, "hash_type", reader.u32("hash_type")?, "1; type 0 is Chrome OS's")?;
        let uuid = reader.array("uuid")?;
        let name = reader.take(32, "algorithm")?.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let data_block_size = block_size(&mut reader, "data_block_size")?;
        let hash_block_size = block_size(&mut reader, "hash_block_size")?;
        let data_blocks = reader.u64("data_blocks")?;
        let place = reader;
        let salt_size = reader.u16("salt_size")?;
        if salt_size > MAX_SALT {
            let kind = ParseErrorKind::TooLarge { found: salt_size.into(), limit: MAX_SALT.into() };
            return Err(place.error("salt_size", kind).into());
        }
        reader.take(6, "pad1")?;
        let salt = reader.take(salt_size.into(), "salt")?.to_vec();
        let algorithm = name.replace('-', "").parse().map_err(|_| SuperblockError::Algorithm(name))?;
        Ok(Self { uuid, algorithm, data_block_size, hash_block_size, data_blocks, salt })
    }

    /// The UUID as text.
    #[must_use]
    pub fn uuid_text(&self) -> String {
        uuid_text(&self.uuid)
    }
}

/// A UUID's text from its bytes in that order, as in a root hash (DPS).
pub(crate) fn uuid_text(bytes: &[u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *bytes;
    // The first three fields of an EFI GUID are little-endian, so they are turned round.
    let [i, j, k, l, m, n, o, p] = rest;
    Guid::from_bytes([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]).to_string()
}

/// `reader` stands before the field whose value is `found`.
fn expect(
    reader: Reader<'_>,
    what: &'static str,
    found: u32,
    expected: &'static str,
) -> Result<(), ParseError> {
    if found == 1 {
        return Ok(());
    }
    Err(reader.error(what, ParseErrorKind::Unexpected { found: found.into(), expected }))
}

fn block_size(reader: &mut Reader<'_>, what: &'static str) -> Result<u32, ParseError> {
    let place = *reader;
    let size = reader.u32(what)?;
    if size.is_power_of_two() && BLOCK_SIZES.contains(&size) {
        return Ok(size);
    }
    let expected = "a power of 2 from 512 to 65536";
    Err(place.error(what, ParseErrorKind::Unexpected { found: size.into(), expected }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock() -> Vec<u8> {
        let mut bytes = b"verity\0\0".to_vec();
        bytes.extend([1, 0, 0, 0, 1, 0, 0, 0]);
        bytes.extend([0xAB; 16]);
        bytes.extend(b"sha256");
        bytes.extend([0; 26]);
        bytes.extend([0, 16, 0, 0, 0, 16, 0, 0]);
        bytes.extend(300_u64.to_le_bytes());
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0, 7, 8]);
        bytes.resize(512, 0);
        bytes
    }

    #[test]
    fn the_fields_stand_where_cryptsetup_puts_them() {
        let parsed = Superblock::parse_bytes(&superblock()).expect("sound");
        assert_eq!((parsed.algorithm, parsed.data_blocks), (HashAlgorithm::Sha256, 300));
        assert_eq!((parsed.data_block_size, parsed.hash_block_size, parsed.salt), (4096, 4096, vec![7, 8]));
    }

    #[test]
    fn a_cut_or_odd_superblock_is_an_error() {
        for length in 0..90 {
            let bytes = superblock();
            assert!(Superblock::parse_bytes(bytes.get(..length).expect("a prefix")).is_err(), "{length}");
        }
        for (at, value) in [(0, 0), (8, 2), (12, 0), (32, b'x'), (64, 1), (69, 0x21), (81, 9)] {
            let mut bytes = superblock();
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
            assert!(Superblock::parse_bytes(&bytes).is_err(), "{at}");
        }
    }
}
