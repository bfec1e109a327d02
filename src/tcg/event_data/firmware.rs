//! Firmware's own pieces: `UEFI_PLATFORM_FIRMWARE_BLOB` and `UEFI_HANDOFF_TABLE_POINTERS`, both versions.

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::EventType;
use crate::uefi::guid::{self, Guid};
use crate::uefi::text;
use crate::uefi::variable::Uintn;

use super::field::{Field, Value};

/// A piece of firmware in memory. The digest is over the piece itself: none of this is covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareBlob {
    /// `BlobDescription`, in the second version.
    pub description: Option<String>,
    /// `BlobBase`: physical address.
    pub base: u64,
    /// `BlobLength`, in bytes.
    pub length: u64,
    /// Where base and length start in the data.
    at: usize,
}

/// Configuration tables in memory. The digest is over the tables themselves: none of this is covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoffTables {
    /// `TableDescription`, in the second version.
    pub description: Option<String>,
    /// `TableEntry`: `VendorGuid` and `VendorTable`.
    pub tables: Vec<(Guid, u64)>,
    /// Bytes of the data.
    length: usize,
}

impl FirmwareBlob {
    pub(super) fn read(event_type: EventType, mut reader: Reader<'_>) -> Result<Self, ParseError> {
        let start = reader.offset();
        let description = match event_type {
            EventType::EFI_PLATFORM_FIRMWARE_BLOB2 => Some(read_description(
                &mut reader,
                "UEFI_PLATFORM_FIRMWARE_BLOB2.BlobDescriptionSize",
                "UEFI_PLATFORM_FIRMWARE_BLOB2.BlobDescription",
            )?),
            _ => None,
        };
        let at = usize::try_from(reader.offset().saturating_sub(start)).unwrap_or(usize::MAX);
        let base = reader.u64("UEFI_PLATFORM_FIRMWARE_BLOB.BlobBase")?;
        let length = reader.u64("UEFI_PLATFORM_FIRMWARE_BLOB.BlobLength")?;
        Ok(Self { description, base, length, at })
    }

    pub(super) fn summary(&self) -> String {
        let place = format!("{} bytes at {:#x}", self.length, self.base);
        match &self.description {
            Some(description) => format!("{description}, {place}"),
            None => place,
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        if let Some(description) = &self.description {
            fields.push(Field::new("BlobDescription", Value::text(&**description), 1..self.at));
        }
        let middle = self.at.saturating_add(8);
        fields.push(Field::new("BlobBase", Value::Hex(self.base), self.at..middle));
        fields.push(Field::new("BlobLength", Value::Number(self.length), middle..middle.saturating_add(8)));
        fields
    }
}

impl HandoffTables {
    pub(super) fn read(
        event_type: EventType,
        mut reader: Reader<'_>,
        width: Uintn,
    ) -> Result<Self, ParseError> {
        const COUNT: &str = "UEFI_HANDOFF_TABLE_POINTERS.NumberOfTables";
        let length = reader.remaining();
        let (description, width) = match event_type {
            EventType::EFI_HANDOFF_TABLES2 => {
                let description = read_description(
                    &mut reader,
                    "UEFI_HANDOFF_TABLE_POINTERS2.TableDescriptionSize",
                    "UEFI_HANDOFF_TABLE_POINTERS2.TableDescription",
                )?;
                (Some(description), Uintn::Bits64)
            }
            _ => (None, width),
        };
        let at_count = reader;
        let count = width.read(&mut reader, COUNT)?;
        let size = if width == Uintn::Bits64 { 24 } else { 20 };
        let fit = (reader.remaining() as u64).checked_div(size).unwrap_or(0);
        if count > fit {
            let kind = ParseErrorKind::TooLarge { found: count, limit: fit };
            return Err(at_count.error(COUNT, kind));
        }
        let mut tables = Vec::new();
        for _ in 0..count {
            let guid = guid::read(&mut reader, "EFI_CONFIGURATION_TABLE.VendorGuid")?;
            tables.push((guid, width.read(&mut reader, "EFI_CONFIGURATION_TABLE.VendorTable")?));
        }
        Ok(Self { description, tables, length })
    }

    pub(super) fn summary(&self) -> String {
        let names: Vec<String> = self.tables.iter().map(|(guid, _)| guid::describe(*guid)).collect();
        match &self.description {
            Some(description) => format!("{description}: {}", names.join(", ")),
            None => names.join(", "),
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        if let Some(description) = &self.description {
            fields.push(Field::part("TableDescription", Value::text(&**description)).at(0..self.length));
        }
        for (guid, pointer) in &self.tables {
            let entry = vec![
                Field::part("VendorGuid", Value::guid(*guid)),
                Field::part("VendorTable", Value::Hex(*pointer)),
            ];
            fields.push(Field::part("TableEntry", Value::Fields(entry)).at(0..self.length));
        }
        fields
    }
}

fn read_description(
    reader: &mut Reader<'_>,
    size: &'static str,
    what: &'static str,
) -> Result<String, ParseError> {
    let length = reader.u8(size)?;
    reader.take(length.into(), what).map(text::ascii_to_nul)
}
