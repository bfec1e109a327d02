//! VMDK with everything in one file: `streamOptimized` and `monolithicSparse`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use super::mapped::{BlockMap, Mapped, Packing, Place};
use super::{ContainerError, unsupported};
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::source::Blob;

const FORMAT: &str = "VMDK";
const SECTOR: u64 = 512;
/// `gdOffset` of a file whose directory is only known at its end.
const AT_END: u64 = u64::MAX;
/// The footer: a copy of the header, before the marker that ends the stream.
const FOOTER: u64 = 1024;
/// Most bytes of all grain tables.
const MAX_TABLES: u64 = 256 << 20;
const COMPRESSED: u32 = 1 << 16;

/// Opens a VMDK that stands alone.
pub(super) fn open(file: &Blob) -> Result<Blob, ContainerError> {
    let mut header = read_header(file, 0)?;
    if header.directory == AT_END {
        let footer = file.len().saturating_sub(FOOTER);
        header = read_header(file, footer)?;
    }
    refuse(file, &header)?;
    let field = |error| ContainerError::Field { format: FORMAT, error };
    let tables = read_tables(file, &header).map_err(|error| ContainerError::Io { format: FORMAT, error })?;
    let block_size = header.grain.checked_mul(SECTOR).filter(|size| size.is_power_of_two());
    let block_size = block_size.filter(|size| *size <= 2 << 20).ok_or_else(|| {
        let kind = ParseErrorKind::Unexpected { found: header.grain, expected: "a power of 2, usually 128" };
        field(ParseError { offset: 20, what: "grainSize", kind })
    })?;
    let map = Map { file: file.clone(), tables, packed: header.flags & COMPRESSED != 0 };
    let length = header.capacity.saturating_mul(SECTOR);
    let mapped = Mapped { file: file.clone(), map, block_size, length, unpacked: Mutex::new(None) };
    Ok(Blob::new(Arc::new(mapped)))
}

struct Header {
    flags: u32,
    capacity: u64,
    grain: u64,
    descriptor: u64,
    descriptor_size: u64,
    entries: u32,
    directory: u64,
}

fn read_header(file: &Blob, offset: u64) -> Result<Header, ContainerError> {
    let cut = || unsupported(FORMAT, "the header is cut off");
    let bytes = file.slice(offset, SECTOR).ok_or_else(cut)?.read(SECTOR);
    let bytes = bytes.map_err(|error| ContainerError::Io { format: FORMAT, error })?;
    if bytes.starts_with(b"# Disk DescriptorFile") {
        let why = "it only describes a disk in other files, and files that an image names are never opened";
        return Err(unsupported(FORMAT, why));
    }
    parse_header(&bytes, offset).map_err(|error| ContainerError::Field { format: FORMAT, error })
}

fn parse_header(bytes: &[u8], offset: u64) -> Result<Header, ParseError> {
    let mut reader = Reader::at(bytes, offset);
    let place = reader;
    if reader.take(4, "magicNumber")? != b"KDMV" {
        return Err(place.error("magicNumber", ParseErrorKind::Invalid("is not \"KDMV\"")));
    }
    reader.u32("version")?;
    let flags = reader.u32("flags")?;
    let capacity = reader.u64("capacity")?;
    let grain = reader.u64("grainSize")?;
    let descriptor = reader.u64("descriptorOffset")?;
    let descriptor_size = reader.u64("descriptorSize")?;
    let entries = reader.u32("numGTEsPerGT")?;
    reader.u64("rgdOffset")?;
    let directory = reader.u64("gdOffset")?;
    Ok(Header { flags, capacity, grain, descriptor, descriptor_size, entries, directory })
}

/// A snapshot needs its parent.
fn refuse(file: &Blob, header: &Header) -> Result<(), ContainerError> {
    let length = header.descriptor_size.saturating_mul(SECTOR).min(1 << 20);
    let Some(descriptor) = file.slice(header.descriptor.saturating_mul(SECTOR), length) else {
        return Ok(());
    };
    let text = descriptor.read(1 << 20).map_err(|error| ContainerError::Io { format: FORMAT, error })?;
    let text = String::from_utf8_lossy(&text);
    let parent = text.lines().find_map(|line| line.trim().strip_prefix("parentCID="));
    if parent.is_some_and(|id| !id.trim().eq_ignore_ascii_case("ffffffff")) {
        let why = "it is a snapshot that needs its parent, and files that an image names are never opened";
        return Err(unsupported(FORMAT, why));
    }
    Ok(())
}

/// All grain tables, one behind the other: the sector of each grain, 0 where it is zero.
fn read_tables(file: &Blob, header: &Header) -> io::Result<Vec<u32>> {
    let per_table = u64::from(header.entries).max(1);
    let grains = header.capacity.div_ceil(header.grain.max(1));
    let count = grains.div_ceil(per_table);
    if count.saturating_mul(per_table).saturating_mul(4) > MAX_TABLES {
        return Err(io::Error::other("its grain tables are larger than those of any disk"));
    }
    let numbers = |offset: u64, count: u64| -> io::Result<Vec<u32>> {
        let bytes = file.slice(offset.saturating_mul(SECTOR), count.saturating_mul(4));
        let bytes = bytes.ok_or(io::ErrorKind::UnexpectedEof)?.read(MAX_TABLES)?;
        let (entries, _) = bytes.as_chunks::<4>();
        Ok(entries.iter().map(|entry| u32::from_le_bytes(*entry)).collect())
    };
    let mut tables = Vec::new();
    for table in numbers(header.directory, count)? {
        match table {
            0 => tables.extend((0..per_table).map(|_| 0)),
            sector => tables.extend(numbers(sector.into(), per_table)?),
        }
    }
    Ok(tables)
}

struct Map {
    file: Blob,
    tables: Vec<u32>,
    packed: bool,
}

impl BlockMap for Map {
    fn place(&self, index: u64) -> io::Result<Place> {
        let entry =
            usize::try_from(index).ok().and_then(|index| self.tables.get(index)).copied().unwrap_or(0);
        // 1 marks a grain that was zeroed.
        if entry <= 1 {
            return Ok(Place::Zero);
        }
        let offset = u64::from(entry).saturating_mul(SECTOR);
        if !self.packed {
            return Ok(Place::At(offset));
        }
        // Grain marker: u64 lba, u32 size, then the packed bytes.
        let mut size = [0; 4];
        self.file.read_exact_at(offset.saturating_add(8), &mut size)?;
        let length = u64::from(u32::from_le_bytes(size)).min(8 << 20);
        Ok(Place::Packed { offset: offset.saturating_add(12), length, how: Packing::Zlib })
    }
}
