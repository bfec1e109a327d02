//! The header and the entries of one copy of the table, each with its checksum.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use uguid::Guid;

use super::{HEADER_SIZE, MAX_ENTRIES_SIZE, Partition};
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::crc::crc32;

/// `EFI_PARTITION_TABLE_HEADER`.
pub(super) struct Header {
    pub(super) my_lba: u64,
    pub(super) alternate_lba: u64,
    pub(super) first_usable_lba: u64,
    pub(super) last_usable_lba: u64,
    pub(super) disk_guid: Guid,
    pub(super) entries_lba: u64,
    pub(super) entry_count: u32,
    pub(super) entry_size: u32,
    pub(super) entries_crc: u32,
}

impl Header {
    pub(super) fn parse(block: &[u8], offset: u64, lba: u64) -> Result<Self, ParseError> {
        let mut reader = Reader::at(block, offset);
        let start = reader;
        if reader.take(8, "Signature")? != b"EFI PART" {
            return Err(start.error("Signature", ParseErrorKind::Invalid("is not \"EFI PART\"")));
        }
        let place = reader;
        expect(place, "Revision", reader.u32("Revision")?.into(), 0x0001_0000, "0x10000 (1.0)")?;
        let place = reader;
        let size = reader.u32("HeaderSize")?;
        if u64::from(size) < HEADER_SIZE || size as usize > block.len() {
            let kind = ParseErrorKind::Unexpected { found: size.into(), expected: "92 up to a block" };
            return Err(place.error("HeaderSize", kind));
        }
        let place = reader;
        if reader.u32("HeaderCRC32")? != header_crc(block, size) {
            return Err(place.error("HeaderCRC32", ParseErrorKind::Invalid("does not match the header")));
        }
        reader.u32("Reserved")?;
        let place = reader;
        let my_lba = reader.u64("MyLBA")?;
        expect(place, "MyLBA", my_lba, lba, "the block that the header stands in")?;
        let alternate_lba = reader.u64("AlternateLBA")?;
        let first_usable_lba = reader.u64("FirstUsableLBA")?;
        let last_usable_lba = reader.u64("LastUsableLBA")?;
        let disk_guid = Guid::from_bytes(reader.array("DiskGUID")?);
        let entries_lba = reader.u64("PartitionEntryLBA")?;
        let place = reader;
        let entry_count = reader.u32("NumberOfPartitionEntries")?;
        let entry_size = reader.u32("SizeOfPartitionEntry")?;
        let entries_crc = reader.u32("PartitionEntryArrayCRC32")?;
        if entry_size < 128 || !entry_size.is_power_of_two() {
            let kind =
                ParseErrorKind::Unexpected { found: entry_size.into(), expected: "128 times a power of 2" };
            return Err(place.error("SizeOfPartitionEntry", kind));
        }
        let total = u64::from(entry_count).saturating_mul(entry_size.into());
        if entry_count == 0 || total > MAX_ENTRIES_SIZE {
            let kind = ParseErrorKind::TooLarge { found: total, limit: MAX_ENTRIES_SIZE };
            return Err(place.error("NumberOfPartitionEntries", kind));
        }
        Ok(Self {
            my_lba,
            alternate_lba,
            first_usable_lba,
            last_usable_lba,
            disk_guid,
            entries_lba,
            entry_count,
            entry_size,
            entries_crc,
        })
    }

    pub(super) fn entries_size(&self) -> u64 {
        u64::from(self.entry_count).saturating_mul(self.entry_size.into())
    }
}

fn expect(
    place: Reader<'_>,
    what: &'static str,
    found: u64,
    wanted: u64,
    expected: &'static str,
) -> Result<(), ParseError> {
    if found == wanted {
        return Ok(());
    }
    Err(place.error(what, ParseErrorKind::Unexpected { found, expected }))
}

/// The entries in use, and their bytes one behind the other.
pub(super) fn read_entries(
    entries: &[u8],
    offset: u64,
    header: &Header,
) -> Result<(Vec<Partition>, Vec<u8>), ParseError> {
    let mut reader = Reader::at(entries, offset);
    let mut partitions = Vec::new();
    let mut used = Vec::new();
    for number in 1..=header.entry_count {
        let mut entry = reader.sub(header.entry_size.into(), "EFI_PARTITION_ENTRY")?;
        let bytes = entry.peek();
        let type_guid = Guid::from_bytes(entry.array("PartitionTypeGUID")?);
        if type_guid.is_zero() {
            continue;
        }
        used.extend_from_slice(bytes);
        let unique_guid = Guid::from_bytes(entry.array("UniquePartitionGUID")?);
        let first_lba = entry.u64("StartingLBA")?;
        let last_lba = entry.u64("EndingLBA")?;
        let attributes = entry.u64("Attributes")?;
        let (units, _) = entry.take(72, "PartitionName")?.as_chunks::<2>();
        let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
        let name = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        partitions.push(Partition { number, type_guid, unique_guid, first_lba, last_lba, attributes, name });
    }
    Ok((partitions, used))
}

/// `HeaderCRC32`: over `HeaderSize` bytes with the field itself zero.
fn header_crc(block: &[u8], size: u32) -> u32 {
    let mut header = block.get(..size as usize).unwrap_or(block).to_vec();
    if let Some(field) = header.get_mut(16..20) {
        field.fill(0);
    }
    crc32(&header)
}
