//! `UEFI_VARIABLE_DATA` (PFP, section 10.2.6): a variable as firmware measures it.

use std::ops::Range;

use super::guid::{self, Guid};
use super::text;
use crate::bytes::{ParseError, Reader};

/// How wide `UINTN` is in the firmware that wrote a log (`TCG_EfiSpecIDEvent.uintnSize`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uintn {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    #[default]
    Bits64,
}

impl Uintn {
    /// Reads one such number.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn read(self, reader: &mut Reader<'_>, what: &'static str) -> Result<u64, ParseError> {
        match self {
            Self::Bits32 => reader.u32(what).map(u64::from),
            Self::Bits64 => reader.u64(what),
        }
    }
}

/// The structure as firmware of today hashes it: lengths of 64 bits, the name without a NUL.
#[must_use]
pub fn variable_data(vendor: Guid, name: &str, data: &[u8]) -> Vec<u8> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let mut bytes = vendor.to_bytes().to_vec();
    bytes.extend((units.len() as u64).to_le_bytes());
    bytes.extend((data.len() as u64).to_le_bytes());
    bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
    bytes.extend(data);
    bytes
}

/// A measured variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableData<'a> {
    /// `VariableName`: the vendor GUID.
    pub guid: Guid,
    /// `UnicodeName`, not terminated in the structure.
    pub name: String,
    /// Where the name stands in the structure, in bytes.
    pub name_range: Range<usize>,
    /// `VariableData`.
    pub data: &'a [u8],
    /// Where the data stands in the structure, in bytes.
    pub data_range: Range<usize>,
    /// Offset of the data in the file.
    pub data_offset: u64,
    /// Bytes behind the structure; shim up to 15.2 leaves some.
    pub trailing: &'a [u8],
}

impl<'a> VariableData<'a> {
    /// Reads the structure; bytes behind it are kept as [`trailing`](Self::trailing).
    ///
    /// `UnicodeNameLength` and `VariableDataLength` are `UINT64` since PFP 1.03 and `UINTN` before.
    ///
    /// # Errors
    /// When a length reaches behind the end.
    pub fn read(mut reader: Reader<'a>, width: Uintn) -> Result<Self, ParseError> {
        let start = reader.offset();
        let at = |offset: u64| usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
        let guid = guid::read(&mut reader, "UEFI_VARIABLE_DATA.VariableName")?;
        let characters = width.read(&mut reader, "UEFI_VARIABLE_DATA.UnicodeNameLength")?;
        let length = width.read(&mut reader, "UEFI_VARIABLE_DATA.VariableDataLength")?;
        let name_start = at(reader.offset());
        let name = reader.take(characters.saturating_mul(2), "UEFI_VARIABLE_DATA.UnicodeName")?;
        let name_range = name_start..at(reader.offset());
        let data_offset = reader.offset();
        let data = reader.take(length, "UEFI_VARIABLE_DATA.VariableData")?;
        let data_range = at(data_offset)..at(reader.offset());
        let name = text::utf16(name);
        Ok(Self { guid, name, name_range, data, data_range, data_offset, trailing: reader.rest() })
    }
}
