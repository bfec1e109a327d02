//! The GUID Partition Table (UEFI section 5.3): header, entries, and the bytes of both that firmware measures.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod header;
pub mod partition_type;

use std::fmt;
use std::io;

use uguid::Guid;

use crate::bytes::{ParseError, ParseErrorKind};
use crate::crc::crc32;
use crate::source::Blob;
use header::{Header, read_entries};

/// Bytes of the header that have a meaning; firmware measures exactly these, whatever `HeaderSize` says (EDK2
/// `Tcg2MeasureGptTable`, `EFI_PARTITION_TABLE_HEADER`).
const HEADER_SIZE: u64 = 92;

/// Most bytes of all entries: a table of 128 entries has 16 KiB, and firmware reads it into memory.
const MAX_ENTRIES_SIZE: u64 = 4 << 20;

/// Block sizes that disks have, in the order in which they are tried.
const BLOCK_SIZES: [u32; 2] = [512, 4096];

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

/// One of the four records at offset 446 is of type 0xEE, not marked as bootable, and starts at block 1 (UEFI section 5.2.3;
/// EDK2 `PartitionInstallGptChildHandles`, which looks at nothing else).
fn has_protective_mbr(block: &[u8]) -> bool {
    let (records, _) = block.get(446..510).unwrap_or_default().as_chunks::<16>();
    records.iter().any(|record| matches!(record, [0, _, _, _, 0xEE, _, _, _, 1, 0, 0, 0, ..]))
}

fn is_signature(error: &ParseError) -> bool {
    error.what == "Signature"
}

#[cfg(test)]
mod tests;
