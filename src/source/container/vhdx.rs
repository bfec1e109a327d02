//! VHDX: regions, metadata and a block allocation table ([MS-VHDX]).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use super::mapped::{BlockMap, Mapped, Place};
use super::{ContainerError, unsupported};
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::crc::crc32c;
use crate::source::Blob;
use crate::uefi::guid::{self, Guid, guid};

const FORMAT: &str = "VHDX";
/// The two copies of the header, and of the region table ([MS-VHDX] section 2.2).
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const HEADER: u64 = 4 << 10;
const REGION_TABLE: u64 = 64 << 10;
const METADATA_TABLE: u64 = 64 << 10;
/// Most bytes of the block allocation table: 64 TiB, the format's limit, in blocks of 1 MiB have 512 MiB; at the usual 32 MiB
/// a block it is 16 MiB.
const MAX_TABLE: u64 = 512 << 20;

const BAT: Guid = guid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const METADATA: Guid = guid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");
const FILE_PARAMETERS: Guid = guid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const VIRTUAL_DISK_SIZE: Guid = guid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const LOGICAL_SECTOR_SIZE: Guid = guid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");

/// Opens a VHDX.
pub(super) fn open(file: &Blob) -> Result<Blob, ContainerError> {
    check_log(file)?;
    let regions = regions(file)?;
    let region = |wanted: Guid, what: &str| {
        let found = regions.iter().find(|(id, ..)| *id == wanted);
        let found = found.and_then(|(_, offset, length)| file.slice(*offset, *length));
        found.ok_or_else(|| {
            unsupported(FORMAT, format!("there is no {what} inside the file: it is cut off or damaged"))
        })
    };
    let facts = metadata(&region(METADATA, "metadata region")?)?;
    let table = region(BAT, "block allocation table")?;
    let chunk = (1_u64 << 23).saturating_mul(facts.sector_size).checked_div(facts.block_size).unwrap_or(0);
    let blocks = facts.size.div_ceil(facts.block_size);
    let entries = blocks.saturating_add(blocks.saturating_sub(1).checked_div(chunk).unwrap_or(0));
    let length = entries.saturating_mul(8);
    if length > MAX_TABLE || length > table.len() {
        return Err(unsupported(FORMAT, format!("its block allocation table would have {entries} entries")));
    }
    let map = Map { table, chunk };
    let (block_size, length) = (facts.block_size, facts.size);
    let mapped = Mapped { file: file.clone(), map, block_size, length, unpacked: Mutex::new(None) };
    Ok(Blob::new(Arc::new(mapped)))
}

fn field(error: ParseError) -> ContainerError {
    ContainerError::Field { format: FORMAT, error }
}

fn part(file: &Blob, offset: u64, length: u64) -> Result<Vec<u8>, ContainerError> {
    let part = file.slice(offset, length);
    let part =
        part.ok_or_else(|| unsupported(FORMAT, "the file ends before its own headers: it is cut off"))?;
    part.read(length).map_err(|error| ContainerError::Io { format: FORMAT, error })
}

/// A structure whose checksum is that of its bytes, the checksum's own taken as zero.
fn is_sound(bytes: &[u8], signature: &[u8; 4]) -> bool {
    let stored = bytes.get(4..8).and_then(|at| at.first_chunk()).map(|at| u32::from_le_bytes(*at));
    let (before, after) = (bytes.get(..4).unwrap_or_default(), bytes.get(8..).unwrap_or_default());
    bytes.starts_with(signature) && stored == Some(crc32c([before, &[0; 4], after]))
}

/// The newest header says whether writes are in the log that are not in place yet ([MS-VHDX] section 2.3.3).
fn check_log(file: &Blob) -> Result<(), ContainerError> {
    let mut newest: Option<(u64, Guid, u16)> = None;
    for offset in HEADERS {
        let bytes = part(file, offset, HEADER)?;
        if !is_sound(&bytes, b"head") {
            continue;
        }
        let mut reader = Reader::new(&bytes);
        let read = |reader: &mut Reader<'_>| -> Result<(u64, Guid, u16), ParseError> {
            reader.take(8, "Checksum")?;
            let sequence = reader.u64("SequenceNumber")?;
            reader.take(32, "DataWriteGuid")?;
            let log = guid::read(reader, "LogGuid")?;
            reader.u16("LogVersion")?;
            Ok((sequence, log, reader.u16("Version")?))
        };
        let header = read(&mut reader).map_err(field)?;
        if newest.is_none_or(|(sequence, ..)| header.0 > sequence) {
            newest = Some(header);
        }
    }
    match newest {
        None => Err(unsupported(FORMAT, "neither of its headers is sound")),
        Some((_, _, version)) if version != 1 => {
            Err(unsupported(FORMAT, format!("its version is {version}, not 1")))
        }
        Some((_, log, _)) if log != Guid::ZERO => Err(unsupported(
            FORMAT,
            "it was not closed: writes are in its log that are not in place yet (opening it once for writing, as with \
             qemu-img check -r all, puts them there)",
        )),
        Some(_) => Ok(()),
    }
}

type Region = (Guid, u64, u64);

fn regions(file: &Blob) -> Result<Vec<Region>, ContainerError> {
    for offset in REGION_TABLES {
        let bytes = part(file, offset, REGION_TABLE)?;
        if is_sound(&bytes, b"regi") {
            return read_regions(&bytes).map_err(field);
        }
    }
    Err(unsupported(FORMAT, "neither of its region tables is sound"))
}

fn read_regions(bytes: &[u8]) -> Result<Vec<Region>, ParseError> {
    const MAX_ENTRIES: u32 = 2047;
    let mut reader = Reader::new(bytes);
    reader.take(8, "Checksum")?;
    let place = reader;
    let count = reader.u32("EntryCount")?;
    if count > MAX_ENTRIES {
        let kind = ParseErrorKind::TooLarge { found: count.into(), limit: MAX_ENTRIES.into() };
        return Err(place.error("EntryCount", kind));
    }
    reader.u32("Reserved")?;
    let mut regions = Vec::new();
    for _ in 0..count {
        let id = guid::read(&mut reader, "Guid")?;
        let (offset, length) = (reader.u64("FileOffset")?, reader.u32("Length")?);
        let place = reader;
        let required = reader.u32("Required")?;
        if required & 1 != 0 && ![BAT, METADATA].contains(&id) {
            return Err(place.error("Required", ParseErrorKind::Invalid("marks a region that is not known")));
        }
        regions.push((id, offset, length.into()));
    }
    Ok(regions)
}

struct Facts {
    block_size: u64,
    size: u64,
    sector_size: u64,
}

fn metadata(region: &Blob) -> Result<Facts, ContainerError> {
    let table = part(region, 0, METADATA_TABLE)?;
    let items = read_items(&table).map_err(field)?;
    let item = |wanted: Guid, length: u64| -> Result<Vec<u8>, ContainerError> {
        let found = items.iter().find(|(id, ..)| *id == wanted);
        let missing = || unsupported(FORMAT, format!("it has no metadata item {wanted}"));
        let (_, offset) = found.ok_or_else(missing)?;
        part(region, *offset, length)
    };
    let parameters = item(FILE_PARAMETERS, 8)?;
    let size = item(VIRTUAL_DISK_SIZE, 8)?;
    let sector = item(LOGICAL_SECTOR_SIZE, 4)?;
    read_facts(&parameters, &size, &sector)
}

fn read_items(bytes: &[u8]) -> Result<Vec<(Guid, u64)>, ParseError> {
    const MAX_ENTRIES: u16 = 2047;
    let mut reader = Reader::new(bytes);
    let place = reader;
    if reader.take(8, "Signature")? != b"metadata" {
        return Err(place.error("Signature", ParseErrorKind::Invalid("is not \"metadata\"")));
    }
    reader.u16("Reserved")?;
    let place = reader;
    let count = reader.u16("EntryCount")?;
    if count > MAX_ENTRIES {
        let kind = ParseErrorKind::TooLarge { found: count.into(), limit: MAX_ENTRIES.into() };
        return Err(place.error("EntryCount", kind));
    }
    reader.take(20, "Reserved2")?;
    let mut items = Vec::new();
    for _ in 0..count {
        let id = guid::read(&mut reader, "ItemId")?;
        items.push((id, reader.u32("Offset")?.into()));
        reader.take(12, "Length")?;
    }
    Ok(items)
}

fn read_facts(parameters: &[u8], size: &[u8], sector: &[u8]) -> Result<Facts, ContainerError> {
    const MAX_SIZE: u64 = 64 << 40;
    let mut reader = Reader::new(parameters);
    let place = reader;
    let block_size = reader.u32("BlockSize").map_err(field)?;
    if !block_size.is_power_of_two() || !(1 << 20..=256 << 20).contains(&block_size) {
        let kind = ParseErrorKind::Unexpected {
            found: block_size.into(),
            expected: "a power of 2 from 1 MiB to 256 MiB",
        };
        return Err(field(place.error("BlockSize", kind)));
    }
    if reader.u32("HasParent").map_err(field)? & 2 != 0 {
        let why = "a differencing disk needs its parent, and files that an image names are never opened";
        return Err(unsupported(FORMAT, why));
    }
    let mut reader = Reader::new(size);
    let place = reader;
    let size = reader.u64("VirtualDiskSize").map_err(field)?;
    if size > MAX_SIZE {
        return Err(field(
            place.error("VirtualDiskSize", ParseErrorKind::TooLarge { found: size, limit: MAX_SIZE }),
        ));
    }
    let mut reader = Reader::new(sector);
    let place = reader;
    let sector_size = reader.u32("LogicalSectorSize").map_err(field)?;
    if ![512, 4096].contains(&sector_size) {
        let kind = ParseErrorKind::Unexpected { found: sector_size.into(), expected: "512 or 4096" };
        return Err(field(place.error("LogicalSectorSize", kind)));
    }
    Ok(Facts { block_size: block_size.into(), size, sector_size: sector_size.into() })
}

/// The table stays in the file: an entry is read when its block is.
struct Map {
    table: Blob,
    /// Blocks between two entries for sector bitmaps.
    chunk: u64,
}

impl BlockMap for Map {
    fn place(&self, index: u64) -> io::Result<Place> {
        const FULLY_PRESENT: u64 = 6;
        const PARTIALLY_PRESENT: u64 = 7;
        let at = index.saturating_add(index.checked_div(self.chunk).unwrap_or(0));
        let mut entry = [0; 8];
        self.table.read_exact_at(at.saturating_mul(8), &mut entry)?;
        let entry = u64::from_le_bytes(entry);
        match entry & 7 {
            FULLY_PRESENT => Ok(Place::At((entry >> 20) << 20)),
            PARTIALLY_PRESENT => {
                Err(io::Error::other("a block is in part in a parent, which there is none of"))
            }
            // Not present, undefined, zero, unmapped: all read as zero here.
            _ => Ok(Place::Zero),
        }
    }
}
