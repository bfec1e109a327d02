//! The GUID Partition Table (UEFI section 5.3): header, entries, and the bytes of both that firmware measures.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;
use std::io;

use uguid::Guid;

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::source::Blob;

/// Bytes of the header that have a meaning; firmware measures exactly these, whatever `HeaderSize` says (EDK2
/// `Tcg2MeasureGptTable`, `EFI_PARTITION_TABLE_HEADER`).
const HEADER_SIZE: u64 = 92;

/// Most bytes of all entries: a table of 128 entries has 16 KiB, and firmware reads it into memory.
const MAX_ENTRIES_SIZE: u64 = 4 << 20;

/// Block sizes that disks have, in the order in which they are tried.
const BLOCK_SIZES: [u32; 2] = [512, 4096];

/// Partition types that matter for a boot (UEFI section 5.3.3; DPS).
pub mod partition_type {
    use uguid::{Guid, guid};

    /// EFI System Partition.
    pub const ESP: Guid = guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    /// Extended Boot Loader Partition.
    pub const XBOOTLDR: Guid = guid!("bc13c2ff-59e6-4262-a352-b275fd6f7172");

    /// Data and verity partition types of one architecture.
    #[derive(Debug, Clone, Copy)]
    pub struct VerityTypes {
        /// What the words below are about: `x86-64 root`.
        pub name: &'static str,
        /// It is `/usr` (`usrhash=`), not the root (`roothash=`).
        pub is_usr: bool,
        /// The data.
        pub data: Guid,
        /// The hash tree.
        pub verity: Guid,
        /// The signature of the root hash.
        pub signature: Guid,
    }

    macro_rules! verity_types {
        ($($name:literal, $usr:literal, $data:literal, $verity:literal, $signature:literal;)*) => {
            /// The types of the Discoverable Partitions Specification.
            pub const VERITY: &[VerityTypes] = &[$(VerityTypes {
                name: $name, is_usr: $usr, data: guid!($data), verity: guid!($verity), signature: guid!($signature),
            },)*];
        };
    }

    verity_types! {
        "x86-64 root", false, "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
            "41092b05-9fc8-4523-994f-2def0408b176";
        "x86-64 usr", true, "8484680c-9521-48c6-9c11-b0720656f69e", "77ff5f63-e7b6-4633-acf4-1565b864c0e6",
            "e7bb33fb-06cf-4e81-8273-e543b413e2e2";
        "arm64 root", false, "b921b045-1df0-41c3-af44-4c6f280d3fae", "df3300ce-d69f-4c92-978c-9bfb0f38d820",
            "6db69de6-29f4-4758-a7a5-962190f00ce3";
        "arm64 usr", true, "b0e01050-ee5f-4390-949a-9101b17104e9", "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e",
            "c23ce4ff-44bd-4b00-b2d4-b41b3419e02a";
        "riscv64 root", false, "72ec70a6-cf74-40e6-bd49-4bda08e8f224", "b6ed5582-440b-4209-b8da-5ff7c419ea3d",
            "efe0f087-ea8d-4469-821a-4c2a96a8386a";
        "riscv64 usr", true, "beaec34b-8442-439b-a40b-984381ed097d", "8f1056be-9b05-47c4-81d6-be53128e5b54",
            "d2f9000a-7a18-453f-b5cd-4d32f77a7b32";
        "x86 root", false, "44479540-f297-41b2-9af7-d131d5f0458a", "d13c5d3b-b5d1-422a-b29f-9454fdc89d76",
            "5996fc05-109c-48de-808b-23fa0830b676";
        "x86 usr", true, "75250d76-8cc6-458e-bd66-bd47cc81a812", "8f461b0d-14ee-4e81-9aa9-049b6fb97abd",
            "974a71c0-de41-43c3-be5d-5c5ccd1ad2c0";
    }
}

/// Which of the two copies of the table was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableCopy {
    /// The one behind the first block.
    Primary,
    /// The one in the last blocks: the primary is damaged.
    Backup,
}

/// A partition table.
#[derive(Debug, Clone)]
pub struct Gpt {
    /// Bytes of a logical block.
    pub block_size: u32,
    /// Which copy was used.
    pub copy: TableCopy,
    /// What is wrong with the primary table, when the backup had to be used.
    pub primary_error: Option<String>,
    /// What is wrong with the backup table, or how it differs, when the primary is used.
    pub backup_error: Option<String>,
    /// The first block has a protective partition record, without which firmware takes the disk for one without this table.
    pub has_protective_mbr: bool,
    /// `DiskGUID`.
    pub disk_guid: Guid,
    /// `AlternateLBA`.
    pub alternate_lba: u64,
    /// `FirstUsableLBA`.
    pub first_usable_lba: u64,
    /// `LastUsableLBA`.
    pub last_usable_lba: u64,
    /// `NumberOfPartitionEntries`.
    pub entry_count: u32,
    /// The partitions, in table order.
    pub partitions: Vec<Partition>,
    /// The first 92 bytes of the header.
    header: Vec<u8>,
    /// Entries in use, whole, in table order.
    used_entries: Vec<u8>,
    disk: Blob,
}

/// An entry that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, counted from 1.
    pub number: u32,
    /// `PartitionTypeGUID`.
    pub type_guid: Guid,
    /// `UniquePartitionGUID`.
    pub unique_guid: Guid,
    /// `StartingLBA`.
    pub first_lba: u64,
    /// `EndingLBA`, the last block that belongs to it.
    pub last_lba: u64,
    /// `Attributes`.
    pub attributes: u64,
    /// `PartitionName`.
    pub name: String,
}

/// A disk without a usable partition table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GptError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Neither copy carries the signature.
    #[error(
        "no GUID partition table: \"EFI PART\" stands neither at offset 512 nor at 4096, nor in the last block"
    )]
    Missing,
    /// There is one, but neither copy is sound.
    #[error("damaged GUID partition table: primary: {primary}; backup: {backup}")]
    Damaged {
        /// What is wrong with the primary table.
        primary: String,
        /// What is wrong with the backup.
        backup: String,
    },
}

impl Gpt {
    /// Reads the table of `disk`; the backup when the primary is lost.
    ///
    /// # Errors
    /// [`GptError`].
    pub fn parse(disk: &Blob) -> Result<Self, GptError> {
        let mut problem = None;
        for block_size in BLOCK_SIZES {
            match Self::parse_copy(disk, block_size, 1, TableCopy::Primary)? {
                Ok(mut table) => {
                    table.backup_error = table.problem_of_backup()?;
                    return Ok(table);
                }
                Err(error) if is_signature(&error) => {}
                Err(error) => problem = problem.or(Some((block_size, error.to_string()))),
            }
        }
        let primary = match &problem {
            Some((_, text)) => text.clone(),
            None => "Signature is not \"EFI PART\"".to_owned(),
        };
        let mut backup_error = None;
        let sizes = problem.map_or(BLOCK_SIZES.to_vec(), |(block_size, _)| vec![block_size]);
        for block_size in sizes {
            let Some(last) = disk.len().checked_div(block_size.into()).and_then(|count| count.checked_sub(1))
            else {
                continue;
            };
            match Self::parse_copy(disk, block_size, last, TableCopy::Backup)? {
                Ok(mut table) => {
                    table.primary_error = Some(primary);
                    return Ok(table);
                }
                Err(error) if is_signature(&error) => {}
                Err(error) => backup_error = Some(error.to_string()),
            }
        }
        match backup_error {
            None if primary.starts_with("Signature") => Err(GptError::Missing),
            backup => {
                let backup = backup.unwrap_or_else(|| "none in the last block".to_owned());
                Err(GptError::Damaged { primary, backup })
            }
        }
    }

    /// Compares the backup with this, the primary table.
    fn problem_of_backup(&self) -> Result<Option<String>, GptError> {
        let backup =
            match Self::parse_copy(&self.disk, self.block_size, self.alternate_lba, TableCopy::Backup)? {
                Ok(backup) => backup,
                Err(_) if self.alternate_lba.saturating_mul(self.block_size.into()) >= self.disk.len() => {
                    let text = format!(
                        "block {}, where it should be, lies beyond the end of the image",
                        self.alternate_lba
                    );
                    return Ok(Some(text));
                }
                Err(error) => return Ok(Some(error.to_string())),
            };
        let differs = if backup.disk_guid != self.disk_guid {
            "its DiskGUID"
        } else if backup.used_entries != self.used_entries {
            "its partitions"
        } else if (backup.first_usable_lba, backup.last_usable_lba)
            != (self.first_usable_lba, self.last_usable_lba)
        {
            "its usable range"
        } else {
            return Ok(None);
        };
        Ok(Some(format!("{differs} differs from the primary's")))
    }

    /// What firmware measures of it: header, number of entries in use, and those entries (`UEFI_GPT_DATA`; EDK2
    /// `Tcg2MeasureGptTable`). `None` when only the backup is there: firmware then repairs the primary, or does not.
    #[must_use]
    pub fn measured_bytes(&self) -> Option<Vec<u8>> {
        let count = (self.partitions.len() as u64).to_le_bytes();
        (self.copy == TableCopy::Primary).then(|| [&self.header[..], &count, &self.used_entries].concat())
    }

    /// The partition's bytes; `None` when it reaches beyond the end of the image.
    #[must_use]
    pub fn content(&self, partition: &Partition) -> Option<Blob> {
        let block = u64::from(self.block_size);
        let start = partition.first_lba.checked_mul(block)?;
        let blocks = partition.last_lba.checked_sub(partition.first_lba)?.checked_add(1)?;
        self.disk.slice(start, blocks.checked_mul(block)?)
    }

    /// Partitions of one type, in table order.
    pub fn of_type(&self, type_guid: Guid) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().filter(move |partition| partition.type_guid == type_guid)
    }

    /// Bytes of the image that lie behind the backup header: none, on a disk that was not grown.
    #[must_use]
    pub fn unclaimed_bytes(&self) -> u64 {
        let end = self.alternate_lba.saturating_add(1).saturating_mul(self.block_size.into());
        self.disk.len().saturating_sub(end)
    }

    /// Reads one copy. The outer error is the medium's, the inner one the table's.
    fn parse_copy(
        disk: &Blob,
        block_size: u32,
        lba: u64,
        copy: TableCopy,
    ) -> Result<Result<Self, ParseError>, GptError> {
        let block = u64::from(block_size);
        let offset = lba.saturating_mul(block);
        let Some(bytes) = disk.slice(offset, block) else {
            let kind = ParseErrorKind::Truncated { needed: block, left: disk.len().saturating_sub(offset) };
            return Ok(Err(ParseError { offset, what: "Signature", kind }));
        };
        let bytes = bytes.read(block)?;
        let header = match Header::parse(&bytes, offset, lba) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        let entries_offset = header.entries_lba.saturating_mul(block);
        let Some(entries) = disk.slice(entries_offset, header.entries_size()) else {
            let kind = ParseErrorKind::Invalid("the entries lie beyond the end of the disk");
            return Ok(Err(ParseError {
                offset: offset.saturating_add(72),
                what: "PartitionEntryLBA",
                kind,
            }));
        };
        let entries = entries.read(MAX_ENTRIES_SIZE)?;
        let first_block = disk.read_prefix(512)?;
        if crc32(&entries) != header.entries_crc {
            let kind = ParseErrorKind::Invalid("does not match the partition entries");
            return Ok(Err(ParseError {
                offset: offset.saturating_add(88),
                what: "PartitionEntryArrayCRC32",
                kind,
            }));
        }
        Ok(read_entries(&entries, entries_offset, &header).map(|(partitions, used_entries)| Self {
            block_size,
            copy,
            primary_error: None,
            backup_error: None,
            has_protective_mbr: has_protective_mbr(&first_block),
            disk_guid: header.disk_guid,
            alternate_lba: if copy == TableCopy::Primary { header.alternate_lba } else { header.my_lba },
            first_usable_lba: header.first_usable_lba,
            last_usable_lba: header.last_usable_lba,
            entry_count: header.entry_count,
            partitions,
            header: bytes.get(..HEADER_SIZE as usize).unwrap_or_default().to_vec(),
            used_entries,
            disk: disk.clone(),
        }))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {}", self.number)?;
        if !self.name.is_empty() {
            write!(f, " \"{}\"", self.name)?;
        }
        Ok(())
    }
}

/// `EFI_PARTITION_TABLE_HEADER`.
struct Header {
    my_lba: u64,
    alternate_lba: u64,
    first_usable_lba: u64,
    last_usable_lba: u64,
    disk_guid: Guid,
    entries_lba: u64,
    entry_count: u32,
    entry_size: u32,
    entries_crc: u32,
}

impl Header {
    fn parse(block: &[u8], offset: u64, lba: u64) -> Result<Self, ParseError> {
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

    fn entries_size(&self) -> u64 {
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

/// One of the four records at offset 446 is of type 0xEE, not marked as bootable, and starts at block 1 (UEFI section 5.2.3;
/// EDK2 `PartitionInstallGptChildHandles`, which looks at nothing else).
fn has_protective_mbr(block: &[u8]) -> bool {
    let (records, _) = block.get(446..510).unwrap_or_default().as_chunks::<16>();
    records.iter().any(|record| matches!(record, [0, _, _, _, 0xEE, _, _, _, 1, 0, 0, 0, ..]))
}

fn is_signature(error: &ParseError) -> bool {
    error.what == "Signature"
}

/// The entries in use, and their bytes one behind the other.
fn read_entries(
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

/// CRC-32 of ISO 3309, as `EFI_BOOT_SERVICES.CalculateCrc32`. Tables are small and read once, so no table is needed.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// A disk of 64 blocks with one ESP in blocks 40 to 47, both tables sound.
    fn disk(block_size: usize) -> Vec<u8> {
        let mut disk = vec![0; 64 * block_size];
        disk[446 + 4] = 0xEE;
        disk[446 + 8] = 1;
        let mut entry = [0_u8; 128];
        entry[..16].copy_from_slice(&partition_type::ESP.to_bytes());
        entry[16] = 7;
        entry[32] = 40;
        entry[40] = 47;
        entry[56..62].copy_from_slice(b"E\0S\0P\0");
        let mut entries = vec![0; 4 * 128];
        entries[128..256].copy_from_slice(&entry);
        for (lba, other, at) in [(1_u64, 63_u64, 2_u64), (63, 1, 62)] {
            let mut header = Vec::new();
            header.extend(b"EFI PART");
            header.extend([0, 0, 1, 0, 92, 0, 0, 0]);
            header.extend([0; 8]);
            for number in [lba, other, 34, 61] {
                header.extend(number.to_le_bytes());
            }
            header.extend([9; 16]);
            header.extend(at.to_le_bytes());
            header.extend([4, 0, 0, 0, 128, 0, 0, 0]);
            header.extend(crc32(&entries).to_le_bytes());
            let crc = crc32(&header);
            header[16..20].copy_from_slice(&crc.to_le_bytes());
            let start = lba as usize * block_size;
            disk[start..start + 92].copy_from_slice(&header);
            let start = at as usize * block_size;
            disk[start..start + entries.len()].copy_from_slice(&entries);
        }
        disk
    }

    /// Witness: the check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn both_block_sizes_are_found() {
        for block_size in [512, 4096] {
            let table = Gpt::parse(&Blob::from_bytes(disk(block_size))).expect("a sound table");
            assert_eq!((table.block_size as usize, table.copy), (block_size, TableCopy::Primary));
            let esp = table.of_type(partition_type::ESP).next().expect("an ESP");
            assert_eq!((esp.number, esp.first_lba, esp.last_lba, esp.name.as_str()), (2, 40, 47, "ESP"));
            let content = table.content(esp).expect("inside");
            assert_eq!((content.offset(), content.len()), (40 * block_size as u64, 8 * block_size as u64));
            assert_eq!(table.measured_bytes().map(|bytes| bytes.len()), Some(92 + 8 + 128));
            assert_eq!(table.unclaimed_bytes(), 0);
            assert_eq!(table.backup_error, None);
            assert!(table.has_protective_mbr);
        }
    }

    /// Witness: OVMF found no boot option on a disk whose first block was zero; with the record it booted.
    #[test]
    fn a_lost_protective_record_or_backup_is_seen() {
        let mut bytes = disk(512);
        bytes[..512].fill(0);
        assert!(!Gpt::parse(&Blob::from_bytes(bytes)).expect("a sound table").has_protective_mbr);

        let backup_error =
            |bytes: Vec<u8>| Gpt::parse(&Blob::from_bytes(bytes)).expect("a sound primary").backup_error;
        let mut cut = disk(512);
        cut.truncate(62 * 512);
        assert!(backup_error(cut).is_some_and(|text| text.contains("beyond the end of the image")));
        let mut wrong = disk(512);
        wrong[63 * 512 + 60] ^= 1;
        assert!(backup_error(wrong).is_some_and(|text| text.contains("HeaderCRC32")));
        let mut other = disk(512);
        other[63 * 512 + 56] ^= 1;
        let header = 63 * 512;
        other[header + 16..header + 20].fill(0);
        let crc = crc32(&other[header..header + 92]).to_le_bytes();
        other[header + 16..header + 20].copy_from_slice(&crc);
        assert!(backup_error(other).is_some_and(|text| text.contains("DiskGUID")));
    }

    #[test]
    fn the_backup_serves_when_the_primary_is_lost_or_wrong() {
        let mut lost = disk(512);
        lost[512..1024].fill(0);
        let mut wrong = disk(512);
        wrong[512 + 60] ^= 1;
        let mut entries = disk(512);
        entries[1024 + 130] ^= 1;
        for (bytes, what) in
            [(lost, "Signature"), (wrong, "HeaderCRC32"), (entries, "PartitionEntryArrayCRC32")]
        {
            let table = Gpt::parse(&Blob::from_bytes(bytes)).expect("the backup is sound");
            assert_eq!(table.copy, TableCopy::Backup);
            assert!(table.primary_error.as_ref().is_some_and(|text| text.starts_with(what)), "{what}");
            assert_eq!(table.measured_bytes(), None);
        }
    }

    #[test]
    fn what_is_no_disk_says_so() {
        assert!(matches!(Gpt::parse(&Blob::from_bytes([])), Err(GptError::Missing)));
        assert!(matches!(Gpt::parse(&Blob::from_bytes([0; 8192])), Err(GptError::Missing)));
        let mut both = disk(512);
        both[512 + 60] ^= 1;
        both[63 * 512 + 60] ^= 1;
        assert!(matches!(Gpt::parse(&Blob::from_bytes(both)), Err(GptError::Damaged { .. })));
        let mut cut = disk(512);
        cut.truncate(1100);
        assert!(matches!(Gpt::parse(&Blob::from_bytes(cut)), Err(GptError::Damaged { .. })));
    }
}
