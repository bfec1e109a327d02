//! `TCG_EfiSpecIDEvent`: the data of the record that opens a crypto-agile log.

use std::borrow::Cow;

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::AlgorithmId;

/// One row of the header's table: how long the digests of an algorithm are (`TCG_EfiSpecIdEventAlgorithmSize`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestSize {
    /// `algorithmId`.
    pub algorithm: AlgorithmId,
    /// `digestSize`, in bytes.
    pub size: u16,
}

/// `TCG_EfiSpecIDEvent` (PFP, section 10.4.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecId<'a> {
    /// `platformClass`: 0 client, 1 server.
    pub platform_class: u32,
    /// `specVersionMinor`.
    pub version_minor: u8,
    /// `specVersionMajor`.
    pub version_major: u8,
    /// `specErrata`.
    pub errata: u8,
    /// `uintnSize`: 1 is 32 bits, 2 is 64 bits.
    pub uintn_size: u8,
    /// `digestSizes`: the banks that the firmware hashed for, in the order of the header.
    pub digest_sizes: Vec<DigestSize>,
    /// `vendorInfo`.
    pub vendor_info: Cow<'a, [u8]>,
    /// Bytes behind the last field, which the specification does not have: kept, and not interpreted.
    pub trailing: Cow<'a, [u8]>,
}

impl<'a> SpecId<'a> {
    /// The first 16 bytes of the header's data.
    pub const SIGNATURE: &'static [u8; 16] = b"Spec ID Event03\0";

    /// Banks that a header may declare. The Registry has eight hash algorithms; this leaves room.
    pub const MAX_ALGORITHMS: u32 = 16;

    /// Bytes of a digest that a header may declare, for algorithms that we do not know.
    pub const MAX_DIGEST_SIZE: u16 = 128;

    /// Reads the data of the header record.
    ///
    /// # Errors
    /// When the bytes end early, declare no or too many algorithms, one twice, or one with a size that is not its.
    pub fn read(mut reader: Reader<'a>) -> Result<Self, ParseError> {
        reader.array::<16>("TCG_EfiSpecIDEvent.signature")?;
        let platform_class = reader.u32("TCG_EfiSpecIDEvent.platformClass")?;
        let version_minor = reader.u8("TCG_EfiSpecIDEvent.specVersionMinor")?;
        let version_major = reader.u8("TCG_EfiSpecIDEvent.specVersionMajor")?;
        let errata = reader.u8("TCG_EfiSpecIDEvent.specErrata")?;
        let uintn_size = reader.u8("TCG_EfiSpecIDEvent.uintnSize")?;
        let digest_sizes = read_digest_sizes(&mut reader)?;
        let vendor_info_size = reader.u8("TCG_EfiSpecIDEvent.vendorInfoSize")?;
        let vendor_info = reader.take(vendor_info_size.into(), "TCG_EfiSpecIDEvent.vendorInfo")?;
        Ok(Self {
            platform_class,
            version_minor,
            version_major,
            errata,
            uintn_size,
            digest_sizes,
            vendor_info: Cow::Borrowed(vendor_info),
            trailing: Cow::Borrowed(reader.rest()),
        })
    }

    /// The same bytes that [`read`](Self::read) took.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Self::SIGNATURE.to_vec();
        bytes.extend_from_slice(&self.platform_class.to_le_bytes());
        bytes.extend_from_slice(&[self.version_minor, self.version_major, self.errata, self.uintn_size]);
        let count = u32::try_from(self.digest_sizes.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&count.to_le_bytes());
        for row in &self.digest_sizes {
            bytes.extend_from_slice(&row.algorithm.0.to_le_bytes());
            bytes.extend_from_slice(&row.size.to_le_bytes());
        }
        bytes.push(u8::try_from(self.vendor_info.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(&self.vendor_info);
        bytes.extend_from_slice(&self.trailing);
        bytes
    }

    pub(super) fn into_owned(self) -> SpecId<'static> {
        SpecId {
            vendor_info: Cow::Owned(self.vendor_info.into_owned()),
            trailing: Cow::Owned(self.trailing.into_owned()),
            ..self
        }
    }
}

fn read_digest_sizes(reader: &mut Reader<'_>) -> Result<Vec<DigestSize>, ParseError> {
    const COUNT: &str = "TCG_EfiSpecIDEvent.numberOfAlgorithms";
    let at_count = *reader;
    let count = reader.u32(COUNT)?;
    if count == 0 {
        let kind = ParseErrorKind::Unexpected { found: 0, expected: "at least one algorithm" };
        return Err(at_count.error(COUNT, kind));
    }
    if count > SpecId::MAX_ALGORITHMS {
        let kind = ParseErrorKind::TooLarge { found: count.into(), limit: SpecId::MAX_ALGORITHMS.into() };
        return Err(at_count.error(COUNT, kind));
    }
    let mut rows: Vec<DigestSize> = Vec::new();
    for _ in 0..count {
        let row = read_digest_size(reader, &rows)?;
        rows.push(row);
    }
    Ok(rows)
}

fn read_digest_size(reader: &mut Reader<'_>, before: &[DigestSize]) -> Result<DigestSize, ParseError> {
    let at_algorithm = *reader;
    let algorithm = AlgorithmId(reader.u16("TCG_EfiSpecIDEvent.algorithmId")?);
    if before.iter().any(|row| row.algorithm == algorithm) {
        let kind = ParseErrorKind::Invalid("the algorithm is declared twice");
        return Err(at_algorithm.error("TCG_EfiSpecIDEvent.algorithmId", kind));
    }
    let at_size = *reader;
    let size = reader.u16("TCG_EfiSpecIDEvent.digestSize")?;
    let found = u64::from(size);
    let wrong = match fixed_size(algorithm) {
        Some(expected) if expected != size => {
            Some(ParseErrorKind::Unexpected { found, expected: "the size of the algorithm's digests" })
        }
        None if size == 0 => Some(ParseErrorKind::Unexpected { found, expected: "at least one byte" }),
        None if size > SpecId::MAX_DIGEST_SIZE => {
            Some(ParseErrorKind::TooLarge { found, limit: SpecId::MAX_DIGEST_SIZE.into() })
        }
        _ => None,
    };
    match wrong {
        Some(kind) => Err(at_size.error("TCG_EfiSpecIDEvent.digestSize", kind)),
        None => Ok(DigestSize { algorithm, size }),
    }
}

fn fixed_size(algorithm: AlgorithmId) -> Option<u16> {
    FIXED_SIZES.iter().find(|row| row.algorithm == algorithm).map(|row| row.size)
}

/// Digest sizes that the Registry fixes (table 3), those of algorithms that we do not compute included.
pub(super) const FIXED_SIZES: [DigestSize; 8] = [
    DigestSize { algorithm: AlgorithmId::SHA1, size: 20 },
    DigestSize { algorithm: AlgorithmId::SHA256, size: 32 },
    DigestSize { algorithm: AlgorithmId::SHA384, size: 48 },
    DigestSize { algorithm: AlgorithmId::SHA512, size: 64 },
    DigestSize { algorithm: AlgorithmId::SM3_256, size: 32 },
    DigestSize { algorithm: AlgorithmId::SHA3_256, size: 32 },
    DigestSize { algorithm: AlgorithmId::SHA3_384, size: 48 },
    DigestSize { algorithm: AlgorithmId::SHA3_512, size: 64 },
];
