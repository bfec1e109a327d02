//! FAT12, FAT16 and FAT32, read-only and in place.
//!
//! A file becomes a range of the volume, or [`super::Extents`] when it is fragmented. Which of the three formats it is,
//! and what counts as the name, is decided as firmware does (EDK2 `FatOpenDevice`, `FatLoadNextDirEnt`).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod chain;
mod directory;

use std::io;

use self::chain::{Chain, FatTable};
use self::directory::{Record, parse_directory};
use super::extents::Extents;
use super::volume::{Entry, EntryKind, Volume, VolumeError, components, is_same_name};
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::source::Blob;

/// Most bytes of a folder: 65536 entries of 32 bytes (FAT section 6, "maximum directory size").
const MAX_FOLDER: u64 = 2 << 20;
/// Most pieces of a file. Far more than a real file has; it bounds the memory that a hostile chain costs.
const MAX_PIECES: usize = 1 << 18;

/// Which of the formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FatKind {
    /// 12 bits for a cluster.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 32 bits, of which 28 count.
    Fat32,
}

/// A damaged file system, or none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FatError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The boot sector is not that of a FAT file system.
    #[error("no FAT file system: {0}")]
    BootSector(#[from] ParseError),
    /// A chain of clusters leads where there are none.
    #[error("damaged: cluster {cluster} is followed by {next:#x}, the volume has clusters 2 to {last}")]
    BadCluster {
        /// The cluster before.
        cluster: u32,
        /// What the table says.
        next: u32,
        /// The last cluster that there is.
        last: u32,
    },
    /// A chain of clusters leads back to itself.
    #[error("damaged: the clusters of this file form a circle, back to cluster {0}")]
    Cycle(u32),
    /// A chain ends before the file does.
    #[error("damaged: the file has {size} bytes, its clusters hold {held}")]
    Short {
        /// Size in the folder's entry.
        size: u64,
        /// Bytes of its clusters.
        held: u64,
    },
    /// A folder with more entries than the format allows, or a file in too many pieces.
    #[error("{what}, the limit is {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much would do.
        limit: u64,
    },
}

/// A FAT volume.
#[derive(Debug, Clone)]
pub struct FatVolume {
    label: String,
    volume: Blob,
    kind: FatKind,
    table: FatTable,
    cluster_size: u32,
    /// Offset of cluster 2.
    data_offset: u64,
    root: Root,
}

/// Where the root folder is.
#[derive(Debug, Clone, Copy)]
enum Root {
    /// FAT12 and FAT16: so many bytes at an offset.
    Fixed { offset: u64, length: u64 },
    /// FAT32: a chain of clusters.
    Cluster(u32),
}

impl FatVolume {
    /// Reads the boot sector of `volume`, which `label` names in messages.
    ///
    /// # Errors
    /// [`FatError`] when this is no FAT file system.
    pub fn parse(volume: &Blob, label: impl Into<String>) -> Result<Self, FatError> {
        let sector = volume.read_prefix(512)?;
        let layout = Layout::parse(&sector, volume)?;
        Ok(Self {
            label: label.into(),
            volume: volume.clone(),
            kind: layout.kind,
            table: FatTable::new(layout.kind, layout.table, layout.last_cluster),
            cluster_size: layout.cluster_size,
            data_offset: layout.data_offset,
            root: layout.root,
        })
    }

    /// Which of the formats it is.
    #[must_use]
    pub fn kind(&self) -> FatKind {
        self.kind
    }

    /// `BS_VolID` as `1234-ABCD`; `None` where the boot sector has none.
    #[must_use]
    pub fn serial_number(&self) -> Option<String> {
        let at = if self.kind == FatKind::Fat32 { 67 } else { 39 };
        let mut bytes = [0; 4];
        self.volume.read_exact_at(at, &mut bytes).ok()?;
        let number = u32::from_le_bytes(bytes);
        Some(format!("{:04X}-{:04X}", number >> 16, number & 0xFFFF))
    }

    /// The label: the name of the root folder's entry of that kind (`ATTR_VOLUME_ID`), not the boot sector's.
    #[must_use]
    pub fn volume_label(&self) -> Option<String> {
        let bytes = match self.root {
            Root::Cluster(cluster) => self.folder_bytes(cluster).ok()?,
            Root::Fixed { offset, length } => self.volume.slice(offset, length)?.read(MAX_FOLDER).ok()?,
        };
        let mut entries = bytes.chunks_exact(32).take_while(|entry| entry.first() != Some(&0));
        let label = entries.find(|entry| entry.first() != Some(&0xE5) && entry.get(11) == Some(&0x08))?;
        let name = String::from_utf8_lossy(label.get(..11)?).into_owned();
        Some(name.trim_end_matches(' ').to_owned())
    }

    /// Finds what `path` names; `None` is the root folder.
    fn find(&self, path: &str) -> Result<Option<Option<Record>>, FatError> {
        let mut places: Vec<Record> = Vec::new();
        for part in components(path) {
            if matches!(part, "." | "..") {
                if places.last().is_some_and(|place| !place.is_folder) {
                    return Ok(None);
                }
                if part == ".." {
                    places.pop();
                }
                continue;
            }
            let Some(records) = self.records(places.last())? else { return Ok(None) };
            let found = records.into_iter().find(|record| {
                is_same_name(&record.name, part) || record.short_name.eq_ignore_ascii_case(part)
            });
            let Some(found) = found else { return Ok(None) };
            places.push(found);
        }
        Ok(Some(places.pop()))
    }

    /// The records of a folder, `None` being the root; `None` when it is a file.
    fn records(&self, folder: Option<&Record>) -> Result<Option<Vec<Record>>, FatError> {
        let bytes = match (folder, self.root) {
            (Some(record), _) if !record.is_folder => return Ok(None),
            // A folder whose parent is the root may name it as cluster 0.
            (Some(record), _) if record.cluster != 0 => self.folder_bytes(record.cluster)?,
            (_, Root::Cluster(cluster)) => self.folder_bytes(cluster)?,
            (_, Root::Fixed { offset, length }) => {
                let bytes = self.volume.slice(offset, length).ok_or(io::ErrorKind::UnexpectedEof);
                bytes.map_err(io::Error::from)?.read(MAX_FOLDER)?
            }
        };
        Ok(Some(parse_directory(&bytes)))
    }

    fn folder_bytes(&self, cluster: u32) -> Result<Vec<u8>, FatError> {
        let mut extents = Extents::default();
        let mut chain = self.table.chain(cluster);
        while let Some(cluster) = chain.next()? {
            extents.push(self.cluster(cluster)?);
            if extents.len() > MAX_FOLDER {
                return Err(FatError::TooLarge {
                    what: "a folder of more than 65536 entries",
                    limit: MAX_FOLDER >> 5,
                });
            }
        }
        Ok(extents.into_blob().read(MAX_FOLDER)?)
    }

    fn content(&self, record: &Record) -> Result<Blob, FatError> {
        let size = u64::from(record.size);
        let mut extents = Extents::default();
        let mut chain = if size == 0 { Chain::empty(&self.table) } else { self.table.chain(record.cluster) };
        while extents.len() < size {
            let Some(cluster) = chain.next()? else {
                return Err(FatError::Short { size, held: extents.len() });
            };
            extents.push(self.cluster(cluster)?);
            if extents.count() > MAX_PIECES {
                return Err(FatError::TooLarge {
                    what: "a file of too many pieces",
                    limit: MAX_PIECES as u64,
                });
            }
        }
        let whole = extents.into_blob();
        Ok(whole.slice(0, size).unwrap_or(whole))
    }

    fn cluster(&self, cluster: u32) -> Result<Blob, FatError> {
        let size = u64::from(self.cluster_size);
        let index = u64::from(cluster).saturating_sub(2);
        let offset = self.data_offset.saturating_add(index.saturating_mul(size));
        let bytes = self.volume.slice(offset, size).ok_or(io::ErrorKind::UnexpectedEof);
        Ok(bytes.map_err(io::Error::from)?)
    }
}

impl Volume for FatVolume {
    fn label(&self) -> &str {
        &self.label
    }

    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, VolumeError> {
        let failed = |error| VolumeError::Fat { path: format!("{}: {path}", self.label), error };
        let Some(folder) = self.find(path).map_err(failed)? else { return Ok(None) };
        let records = self.records(folder.as_ref()).map_err(failed)?;
        let entry = |record: Record| Entry {
            kind: if record.is_folder { EntryKind::Folder } else { EntryKind::File(record.size.into()) },
            name: record.name,
        };
        Ok(records.map(|records| records.into_iter().map(entry).collect()))
    }

    fn open(&self, path: &str) -> Result<Option<Blob>, VolumeError> {
        let failed = |error| VolumeError::Fat { path: format!("{}: {path}", self.label), error };
        match self.find(path).map_err(failed)? {
            Some(Some(record)) if !record.is_folder => self.content(&record).map(Some).map_err(failed),
            _ => Ok(None),
        }
    }

    fn knows_order(&self) -> bool {
        true
    }
}

/// The boot sector, worked out.
struct Layout {
    kind: FatKind,
    cluster_size: u32,
    table: Blob,
    root: Root,
    data_offset: u64,
    last_cluster: u32,
}

impl Layout {
    /// FAT section 3, "Boot Sector and BPB".
    fn parse(sector: &[u8], volume: &Blob) -> Result<Self, ParseError> {
        let mut reader = Reader::new(sector);
        reader.take(11, "BS_jmpBoot")?;
        let sector_size =
            power_of_two(reader, "BPB_BytsPerSec", reader.u16("BPB_BytsPerSec")?.into(), 512, 4096)?;
        let place = reader;
        let per_cluster = power_of_two(place, "BPB_SecPerClus", reader.u8("BPB_SecPerClus")?.into(), 1, 128)?;
        let reserved = u64::from(reader.u16("BPB_RsvdSecCnt")?);
        let place = reader;
        let copies = u64::from(reader.u8("BPB_NumFATs")?);
        if copies == 0 || reserved == 0 {
            return Err(
                place.error("BPB_NumFATs", ParseErrorKind::Invalid("no table, or no reserved sector"))
            );
        }
        let root_entries = u64::from(reader.u16("BPB_RootEntCnt")?);
        let small_total = u32::from(reader.u16("BPB_TotSec16")?);
        reader.u8("BPB_Media")?;
        let small_table = u32::from(reader.u16("BPB_FATSz16")?);
        reader.take(8, "BPB_SecPerTrk")?;
        let place = reader;
        let large_total = reader.u32("BPB_TotSec32")?;
        let is_fat32 = small_table == 0;
        let (table_sectors, active, root_cluster) = if is_fat32 {
            let table_sectors = reader.u32("BPB_FATSz32")?;
            let flags = u64::from(reader.u16("BPB_ExtFlags")?);
            reader.u16("BPB_FSVer")?;
            let active = if flags & 0x80 == 0 { 0 } else { flags & 0xF };
            (table_sectors, active, reader.u32("BPB_RootClus")?)
        } else {
            (small_table, 0, 0)
        };

        let size = u64::from(sector_size);
        let total = u64::from(if small_total == 0 { large_total } else { small_total });
        let table_size = u64::from(table_sectors).saturating_mul(size);
        let tables_end = reserved.saturating_mul(size).saturating_add(copies.saturating_mul(table_size));
        let root_length = root_entries.saturating_mul(32).next_multiple_of(size);
        let data_offset = tables_end.saturating_add(root_length);
        let cluster_size = sector_size.saturating_mul(per_cluster);
        let data = total.saturating_mul(size).min(volume.len()).saturating_sub(data_offset);
        let clusters = data.checked_div(cluster_size.into()).unwrap_or(0);
        if total == 0 || clusters == 0 {
            return Err(place.error("BPB_TotSec32", ParseErrorKind::Invalid("leaves no room for data")));
        }
        let kind = match (is_fat32, clusters) {
            (true, _) => FatKind::Fat32,
            (false, ..4085) => FatKind::Fat12,
            (false, _) => FatKind::Fat16,
        };
        let table_offset = reserved.saturating_mul(size).saturating_add(active.saturating_mul(table_size));
        let Some(table) = volume.slice(table_offset, table_size) else {
            return Err(
                place.error("BPB_FATSz", ParseErrorKind::Invalid("lies beyond the end of the volume"))
            );
        };
        let last_cluster = u32::try_from(clusters.saturating_add(1)).unwrap_or(u32::MAX);
        let root = if is_fat32 {
            Root::Cluster(root_cluster)
        } else {
            Root::Fixed { offset: tables_end, length: root_length }
        };
        Ok(Self { kind, cluster_size, table, root, data_offset, last_cluster })
    }
}

fn power_of_two(
    place: Reader<'_>,
    what: &'static str,
    found: u32,
    from: u32,
    to: u32,
) -> Result<u32, ParseError> {
    if found.is_power_of_two() && (from..=to).contains(&found) {
        return Ok(found);
    }
    Err(place
        .error(what, ParseErrorKind::Unexpected { found: found.into(), expected: "a power of 2 in range" }))
}
