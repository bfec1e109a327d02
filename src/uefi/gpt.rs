//! GUID Partition Table (UEFI, chapter 5): header and entries as `UEFI_GPT_DATA` holds them.

use super::guid::{self, Guid};
use super::text;
use crate::bytes::{ParseError, ParseErrorKind, Reader};

/// `EFI_PARTITION_TABLE_HEADER`: the 92 bytes that are measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptHeader {
    /// `Header.Revision`: 0x00010000.
    pub revision: u32,
    /// `MyLBA`.
    pub my_lba: u64,
    /// `AlternateLBA`: where the backup header is; changes when the disk grows.
    pub alternate_lba: u64,
    /// `FirstUsableLBA`.
    pub first_usable_lba: u64,
    /// `LastUsableLBA`.
    pub last_usable_lba: u64,
    /// `DiskGUID`.
    pub disk_guid: Guid,
    /// `PartitionEntryLBA`.
    pub partition_entry_lba: u64,
    /// `NumberOfPartitionEntries` of the table on disk.
    pub number_of_partition_entries: u32,
    /// `SizeOfPartitionEntry`, in bytes.
    pub size_of_partition_entry: u32,
}

/// `EFI_PARTITION_ENTRY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptEntry {
    /// `PartitionTypeGUID`.
    pub partition_type: Guid,
    /// `UniquePartitionGUID`.
    pub unique_guid: Guid,
    /// `StartingLBA`.
    pub starting_lba: u64,
    /// `EndingLBA`, inclusive.
    pub ending_lba: u64,
    /// `Attributes`.
    pub attributes: u64,
    /// `PartitionName`.
    pub name: String,
}

/// `UEFI_GPT_DATA` (PFP, section 10.2.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptData<'a> {
    /// `UEFIPartitionHeader`.
    pub header: GptHeader,
    /// `Partitions`: those whose type is not zero.
    pub entries: Vec<GptEntry>,
    /// Bytes behind the entries.
    pub trailing: &'a [u8],
}

impl GptHeader {
    /// Reads the 92 bytes.
    ///
    /// # Errors
    /// When they end early or do not begin with `EFI PART`.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let at_signature = *reader;
        if reader.array(SIGNATURE)? != *b"EFI PART" {
            return Err(at_signature.error(SIGNATURE, ParseErrorKind::Invalid("is not 'EFI PART'")));
        }
        let revision = reader.u32("EFI_PARTITION_TABLE_HEADER.Header.Revision")?;
        reader.take(12, "EFI_PARTITION_TABLE_HEADER.Header")?; // HeaderSize, CRC32, Reserved
        Ok(Self {
            revision,
            my_lba: reader.u64("EFI_PARTITION_TABLE_HEADER.MyLBA")?,
            alternate_lba: reader.u64("EFI_PARTITION_TABLE_HEADER.AlternateLBA")?,
            first_usable_lba: reader.u64("EFI_PARTITION_TABLE_HEADER.FirstUsableLBA")?,
            last_usable_lba: reader.u64("EFI_PARTITION_TABLE_HEADER.LastUsableLBA")?,
            disk_guid: guid::read(reader, "EFI_PARTITION_TABLE_HEADER.DiskGUID")?,
            partition_entry_lba: reader.u64("EFI_PARTITION_TABLE_HEADER.PartitionEntryLBA")?,
            number_of_partition_entries: reader.u32("EFI_PARTITION_TABLE_HEADER.NumberOfPartitionEntries")?,
            size_of_partition_entry: {
                let size = reader.u32("EFI_PARTITION_TABLE_HEADER.SizeOfPartitionEntry")?;
                reader.u32("EFI_PARTITION_TABLE_HEADER.PartitionEntryArrayCRC32")?;
                size
            },
        })
    }
}

impl GptEntry {
    /// Reads one entry that fills `reader`: 128 bytes or more.
    ///
    /// # Errors
    /// When it is shorter.
    pub fn read(mut reader: Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            partition_type: guid::read(&mut reader, "EFI_PARTITION_ENTRY.PartitionTypeGUID")?,
            unique_guid: guid::read(&mut reader, "EFI_PARTITION_ENTRY.UniquePartitionGUID")?,
            starting_lba: reader.u64("EFI_PARTITION_ENTRY.StartingLBA")?,
            ending_lba: reader.u64("EFI_PARTITION_ENTRY.EndingLBA")?,
            attributes: reader.u64("EFI_PARTITION_ENTRY.Attributes")?,
            name: text::utf16_to_nul(reader.take(72, "EFI_PARTITION_ENTRY.PartitionName")?),
        })
    }
}

impl<'a> GptData<'a> {
    /// Reads the structure.
    ///
    /// # Errors
    /// When the entries that it claims to have do not fit, or have no sensible size.
    pub fn read(mut reader: Reader<'a>) -> Result<Self, ParseError> {
        let start = reader;
        let header = GptHeader::read(&mut reader)?;
        let size = header.size_of_partition_entry;
        if size < 128 {
            let kind = ParseErrorKind::Unexpected { found: size.into(), expected: "128 bytes at least" };
            let mut at_size = start;
            at_size.take(84, "EFI_PARTITION_TABLE_HEADER")?;
            return Err(at_size.error("EFI_PARTITION_TABLE_HEADER.SizeOfPartitionEntry", kind));
        }
        let at_count = reader;
        let count = reader.u64("UEFI_GPT_DATA.NumberOfPartitions")?;
        let fit = (reader.remaining() as u64).checked_div(size.into()).unwrap_or(0);
        if count > fit {
            let kind = ParseErrorKind::TooLarge { found: count, limit: fit };
            return Err(at_count.error("UEFI_GPT_DATA.NumberOfPartitions", kind));
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(GptEntry::read(reader.sub(size.into(), "UEFI_GPT_DATA.Partitions")?)?);
        }
        Ok(Self { header, entries, trailing: reader.rest() })
    }
}

const SIGNATURE: &str = "EFI_PARTITION_TABLE_HEADER.Header.Signature";
