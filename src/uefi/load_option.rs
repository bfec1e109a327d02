//! `EFI_LOAD_OPTION` (UEFI, section 3.1.3): the content of `Boot####` and its kin.

use super::device_path::DevicePath;
use super::text;
use crate::bytes::{ParseError, ParseErrorKind, Reader};

/// A boot option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOption<'a> {
    /// `Attributes`: 1 active, 8 hidden, 0x100 application.
    pub attributes: u32,
    /// `Description`.
    pub description: String,
    /// `FilePathList`.
    pub path: DevicePath<'a>,
    /// `OptionalData`.
    pub optional_data: &'a [u8],
}

impl<'a> LoadOption<'a> {
    /// Reads an option that fills `reader`.
    ///
    /// # Errors
    /// When the description has no end, or the path reaches behind the end.
    pub fn read(mut reader: Reader<'a>) -> Result<Self, ParseError> {
        let attributes = reader.u32("EFI_LOAD_OPTION.Attributes")?;
        let path_length = reader.u16("EFI_LOAD_OPTION.FilePathListLength")?;
        let (units, _) = reader.peek().as_chunks::<2>();
        let Some(length) = units.iter().position(|unit| *unit == [0, 0]) else {
            let kind = ParseErrorKind::Invalid("has no terminating NUL");
            return Err(reader.error("EFI_LOAD_OPTION.Description", kind));
        };
        let length = (length as u64).saturating_mul(2);
        let description = text::utf16(reader.take(length, "EFI_LOAD_OPTION.Description")?);
        reader.u16("EFI_LOAD_OPTION.Description")?;
        let path = DevicePath::read(reader.sub(path_length.into(), "EFI_LOAD_OPTION.FilePathList")?)?;
        Ok(Self { attributes, description, path, optional_data: reader.rest() })
    }
}
