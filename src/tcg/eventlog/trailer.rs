//! Where a log ends: at the end of the file, or where the padding of its memory area begins.

use crate::bytes::Reader;

use super::record::Layout;

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
    /// Padding, and behind it bytes that are none. They are never taken as measurements.
    Junk {
        /// The byte that the padding begins with.
        byte: u8,
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
            byte,
            offset: reader.offset().saturating_add(run),
            length: length.saturating_sub(run),
        })
    }
}
