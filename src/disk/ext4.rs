//! ext2, ext3 and ext4, read as GRUB reads them: without the journal, and only what every GRUB knows.
//!
//! Superblock fields are those of the Linux kernel's `Documentation/filesystems/ext4/super.rst`; GRUB's side is
//! `grub-core/fs/ext2.c`. The file system's structures are read by `ext4-view`; what it takes from an image is limited
//! here: sizes of folders and files, the number of links, and the size that the superblock claims.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::io;
use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, Ext4Read, Metadata};

use super::volume::components;
use super::{Entry, EntryKind, Volume, VolumeError};
use crate::bytes::{ParseError, Reader};
use crate::source::{Blob, ReadAt};

/// `s_magic`, at byte 56 of the superblock.
const MAGIC: u16 = 0xEF53;
const SUPERBLOCK: u64 = 1024;
/// Largest folder, in bytes: some 100,000 files.
const MAX_FOLDER: u64 = 16 << 20;
/// Largest file, in bytes: a hole costs no space in the image, and time here.
const MAX_FILE: u64 = 1 << 30;
/// Most links on the way to a file (GRUB `fshelp.c`).
const MAX_LINKS: usize = 8;
/// Longest path that is followed, in components, links included.
const MAX_COMPONENTS: usize = 256;
/// Most block groups: 2 TiB of blocks of 4096 bytes.
const MAX_GROUPS: u64 = 1 << 14;

/// `INCOMPAT_*` that every GRUB since 2.04 reads or may pass over (`EXT2_DRIVER_SUPPORTED_INCOMPAT`): FILETYPE, META_BG,
/// EXTENTS, 64BIT, MMP, FLEX_BG.
const KNOWN: u32 = 0x2 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200;
/// `INCOMPAT_RECOVER`: the journal holds what is not yet in its place.
const RECOVER: u32 = 0x4;
/// `INCOMPAT_CSUM_SEED`: GRUB passes over it since 2.12.
const CSUM_SEED: u32 = 0x2000;

/// A file system that is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtError {
    /// Something else, or the superblock is cut off.
    #[error("no ext4 file system: {0}")]
    Missing(#[from] ParseError),
    /// Another magic number.
    #[error("no ext4 file system: s_magic at byte 1080 is 0x{0:04x}, expected 0xef53")]
    Magic(u16),
    /// The journal was not replayed.
    #[error(
        "the ext4 file system was not unmounted cleanly: its journal holds changes that GRUB does not see; mount and unmount it, \
         or run e2fsck"
    )]
    Unclean,
    /// Features that GRUB may not know.
    #[error("s_feature_incompat at byte 1120 has 0x{0:x}, of which it is not known that GRUB reads it")]
    Features(u32),
    /// A size that can't be.
    #[error("superblock: {field} is {value}: {limit}")]
    Size {
        /// Field of the superblock.
        field: &'static str,
        /// What it says.
        value: u64,
        /// What it can be at most.
        limit: String,
    },
    /// A folder, file or path that is larger than is followed.
    #[error("{what} has {size} bytes, at most {limit} are read")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Links that lead in a circle, or a path that is too long.
    #[error("more than {MAX_LINKS} links, or {MAX_COMPONENTS} folders, are on the way")]
    TooManyLinks,
    /// The structures are damaged, or the medium failed.
    #[error("{0}")]
    Damaged(Ext4Error),
}

/// The superblock's facts that are needed before anything else is read.
#[derive(Debug, Clone, Copy)]
struct Superblock {
    incompatible: u32,
}

/// An ext4 file system; see the module.
#[derive(Debug)]
pub struct ExtVolume {
    content: Blob,
    label: String,
    uuid: String,
    name: String,
    superblock: Superblock,
}

impl ExtVolume {
    /// Reads the superblock of a partition, which `label` names in messages.
    ///
    /// # Errors
    /// [`ExtError`].
    pub fn parse(content: &Blob, label: impl Into<String>) -> Result<Self, ExtError> {
        let superblock = Superblock::read(content)?;
        let fs = load(content)?;
        let name = fs.label().to_str().unwrap_or_default().to_owned();
        Ok(Self {
            content: content.clone(),
            label: label.into(),
            uuid: fs.uuid().to_string(),
            name,
            superblock,
        })
    }

    /// `s_uuid`, in lower case with dashes.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// `s_volume_name`; empty when it is not UTF-8.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `s_feature_incompat` has the seed of checksums, which GRUB passes over since 2.12 and does not read before.
    #[must_use]
    pub fn has_checksum_seed(&self) -> bool {
        self.superblock.incompatible & CSUM_SEED != 0
    }

    /// Path without links, and what is there; `None` when there is nothing.
    ///
    /// Every folder on the way is looked at before it is searched, and links are followed here, so that no folder of any
    /// size is searched.
    fn find(&self, fs: &Ext4, path: &str) -> Result<Option<(String, Metadata)>, ExtError> {
        let mut left: Vec<String> = components(path).rev().map(str::to_owned).collect();
        let mut here = vec![];
        let mut metadata = self.checked(fs, "/")?;
        let (mut links, mut steps) = (0_usize, 0_usize);
        while let Some(part) = left.pop() {
            steps = steps.saturating_add(1);
            if steps > MAX_COMPONENTS {
                return Err(ExtError::TooManyLinks);
            }
            match part.as_str() {
                "." => continue,
                ".." => {
                    here.pop();
                    metadata = self.checked(fs, &absolute(&here))?;
                    continue;
                }
                _ => {}
            }
            if !metadata.is_some_and(|metadata| metadata.is_dir()) {
                return Ok(None);
            }
            here.push(part);
            let at = absolute(&here);
            metadata = self.checked(fs, &at)?;
            if metadata.as_ref().is_some_and(Metadata::is_symlink) {
                links = links.saturating_add(1);
                if links > MAX_LINKS {
                    return Err(ExtError::TooManyLinks);
                }
                let target = fs.read_link(at.as_str()).map_err(ExtError::Damaged)?;
                let target = String::from_utf8_lossy(target.as_ref()).into_owned();
                if target.starts_with('/') {
                    here.clear();
                } else {
                    here.pop();
                }
                left.extend(components(&target).rev().map(str::to_owned));
                metadata = self.checked(fs, &absolute(&here))?;
            }
        }
        Ok(metadata.map(|metadata| (absolute(&here), metadata)))
    }

    /// What is at a path whose folders were looked at already; links are not followed.
    fn checked(&self, fs: &Ext4, path: &str) -> Result<Option<Metadata>, ExtError> {
        let metadata = match fs.symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(Ext4Error::NotFound) => return Ok(None),
            Err(error) => return Err(ExtError::Damaged(error)),
        };
        if metadata.is_dir() && metadata.len() > MAX_FOLDER {
            return Err(ExtError::TooLarge { what: "a folder", size: metadata.len(), limit: MAX_FOLDER });
        }
        Ok(Some(metadata))
    }

    fn entries(&self, path: &str) -> Result<Option<Vec<Entry>>, ExtError> {
        let fs = load(&self.content)?;
        let Some((path, metadata)) = self.find(&fs, path)? else { return Ok(None) };
        if !metadata.is_dir() {
            return Ok(None);
        }
        let mut entries = Vec::new();
        for entry in fs.read_dir(path.as_str()).map_err(ExtError::Damaged)? {
            let entry = entry.map_err(ExtError::Damaged)?;
            // GRUB compares bytes; a name that is no text is none that a configuration has.
            let Ok(name) = entry.file_name().as_str().map(str::to_owned) else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let metadata = match entry.file_type().map_err(ExtError::Damaged)?.is_symlink() {
                true => self.find(&fs, &format!("{path}/{name}"))?.map(|(_, metadata)| metadata),
                false => Some(entry.metadata().map_err(ExtError::Damaged)?),
            };
            let kind = match metadata {
                Some(metadata) if metadata.is_dir() => EntryKind::Folder,
                Some(metadata) if metadata.file_type().is_regular_file() => EntryKind::File(metadata.len()),
                _ => continue,
            };
            entries.push(Entry { name, kind });
        }
        Ok(Some(entries))
    }

    fn file(&self, path: &str) -> Result<Option<Blob>, ExtError> {
        let fs = load(&self.content)?;
        let Some((path, metadata)) = self.find(&fs, path)? else { return Ok(None) };
        if !metadata.file_type().is_regular_file() {
            return Ok(None);
        }
        if metadata.len() > MAX_FILE {
            return Err(ExtError::TooLarge { what: "a file", size: metadata.len(), limit: MAX_FILE });
        }
        Ok(Some(Blob::new(Arc::new(ExtFile { content: self.content.clone(), path, length: metadata.len() }))))
    }

    fn failed(&self, path: &str, error: ExtError) -> VolumeError {
        VolumeError::Ext { path: format!("{}: {path}", self.label), error: Box::new(error) }
    }
}

fn absolute(parts: &[String]) -> String {
    format!("/{}", parts.join("/"))
}

impl Superblock {
    fn read(content: &Blob) -> Result<Self, ExtError> {
        let mut bytes = [0; 1024];
        let there = content.slice(SUPERBLOCK, 1024);
        let read = there.map(|block| block.read_exact_at(0, &mut bytes));
        if !matches!(read, Some(Ok(()))) {
            return Err(ExtError::Magic(0));
        }
        let at = |offset: u64| -> Result<Reader<'_>, ParseError> {
            let mut reader = Reader::new(&bytes);
            reader.take(offset, "superblock")?;
            Ok(reader)
        };
        let u32_at = |offset: u64, field: &'static str| at(offset)?.u32(field);
        let magic = at(0x38)?.u16("s_magic")?;
        if magic != MAGIC {
            return Err(ExtError::Magic(magic));
        }
        let incompatible = u32_at(0x60, "s_feature_incompat")?;
        if incompatible & RECOVER != 0 {
            return Err(ExtError::Unclean);
        }
        let unknown = incompatible & !(KNOWN | CSUM_SEED);
        if unknown != 0 {
            return Err(ExtError::Features(unknown));
        }
        let log_block = u64::from(u32_at(0x18, "s_log_block_size")?);
        if log_block > 6 {
            let limit = "at most 6, which is blocks of 64 KiB".to_owned();
            return Err(ExtError::Size { field: "s_log_block_size", value: log_block, limit });
        }
        let block = 1024_u64 << log_block;
        let high = if incompatible & 0x80 == 0 { 0 } else { u64::from(u32_at(0x150, "s_blocks_count_hi")?) };
        let blocks = high << 32 | u64::from(u32_at(4, "s_blocks_count_lo")?);
        let room = content.len().checked_div(block).unwrap_or_default();
        if blocks > room {
            let limit = format!("the partition has room for {room}");
            return Err(ExtError::Size { field: "s_blocks_count", value: blocks, limit });
        }
        let per_group = u64::from(u32_at(0x20, "s_blocks_per_group")?).max(1);
        let groups = blocks.div_ceil(per_group);
        if groups > MAX_GROUPS {
            let limit = format!("at most {MAX_GROUPS} groups are read");
            return Err(ExtError::Size { field: "number of block groups", value: groups, limit });
        }
        Ok(Self { incompatible })
    }
}

fn load(content: &Blob) -> Result<Ext4, ExtError> {
    Ext4::load(Box::new(Content(content.clone()))).map_err(ExtError::Damaged)
}

struct Content(Blob);

impl Ext4Read for Content {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.0.read_exact_at(start_byte, dst)?)
    }
}

/// A file, opened anew for each read: readers of ext4-view stay in one thread.
struct ExtFile {
    content: Blob,
    /// Without links.
    path: String,
    length: u64,
}

impl ReadAt for ExtFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let wanted = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        if offset.checked_add(wanted).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let fs = load(&self.content).map_err(io::Error::other)?;
        let mut file = fs.open(self.path.as_str()).map_err(io::Error::other)?;
        file.seek_to(offset).map_err(io::Error::other)?;
        let mut left = buffer;
        while !left.is_empty() {
            let count = file.read_bytes(left).map_err(io::Error::other)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left = std::mem::take(&mut left).get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }
}

impl Volume for ExtVolume {
    fn label(&self) -> &str {
        &self.label
    }

    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, VolumeError> {
        self.entries(path).map_err(|error| self.failed(path, error))
    }

    fn open(&self, path: &str) -> Result<Option<Blob>, VolumeError> {
        self.file(path).map_err(|error| self.failed(path, error))
    }

    fn knows_order(&self) -> bool {
        true
    }
}
