//! VHD: a footer behind a raw disk (fixed), or a block allocation table (dynamic).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use super::mapped::{BlockMap, Mapped, Place};
use super::{ContainerError, unsupported};
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::source::Blob;

const FORMAT: &str = "VHD";
const FOOTER: u64 = 512;
/// Most bytes of the block allocation table: a disk of 2 TiB, the format's limit, has 4 MiB at the usual 2 MiB a block.
const MAX_TABLE: u64 = 64 << 20;
const UNUSED: u32 = u32::MAX;
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;

/// Opens a VHD; `None` when there is no footer in the last 512 bytes.
pub(super) fn open(file: &Blob) -> Result<Option<Blob>, ContainerError> {
    let io_error = |error| ContainerError::Io { format: FORMAT, error };
    let Some(footer) = file.len().checked_sub(FOOTER).and_then(|start| file.slice(start, FOOTER)) else {
        return Ok(None);
    };
    let footer = footer.read(FOOTER).map_err(io_error)?;
    if !footer.starts_with(b"conectix") {
        return Ok(None);
    }
    let field = |error| ContainerError::Field { format: FORMAT, error };
    let footer = parse_footer(&footer).map_err(field)?;
    match footer.kind {
        FIXED => {
            let whole = file.slice(0, footer.size);
            let cut = || unsupported(FORMAT, "the disk is longer than the file: the image is cut off");
            whole.map(Some).ok_or_else(cut)
        }
        DYNAMIC => {
            let header = file
                .slice(footer.data_offset, 1024)
                .ok_or_else(|| unsupported(FORMAT, "its dynamic header lies beyond the end of the file"))?;
            let header = header.read(1024).map_err(io_error)?;
            dynamic(file, &footer, &header).map(Some)
        }
        kind => Err(unsupported(
            FORMAT,
            format!(
                "its disk type is {kind}: a differencing disk needs its parent, and files that an image names are never opened"
            ),
        )),
    }
}

struct Footer {
    data_offset: u64,
    size: u64,
    kind: u32,
}

fn parse_footer(bytes: &[u8]) -> Result<Footer, ParseError> {
    let mut reader = Reader::new(bytes);
    reader.take(16, "Cookie")?;
    let data_offset = reader.u64_be("Data Offset")?;
    reader.take(24, "Original Size")?;
    let size = reader.u64_be("Current Size")?;
    reader.u32_be("Disk Geometry")?;
    Ok(Footer { data_offset, size, kind: reader.u32_be("Disk Type")? })
}

fn dynamic(file: &Blob, footer: &Footer, header: &[u8]) -> Result<Blob, ContainerError> {
    let field = |error| ContainerError::Field { format: FORMAT, error };
    let (table_offset, count, block_size) = parse_header(header).map_err(field)?;
    let table = file.slice(table_offset, u64::from(count).saturating_mul(4));
    let table = table.ok_or_else(|| unsupported(FORMAT, "its table lies beyond the end of the file"))?;
    let table = table.read(MAX_TABLE).map_err(|error| ContainerError::Io { format: FORMAT, error })?;
    let (entries, _) = table.as_chunks::<4>();
    let map = Map {
        file: file.clone(),
        table: entries.iter().map(|entry| u32::from_be_bytes(*entry)).collect(),
        bitmap_size: (u64::from(block_size) >> 12).next_multiple_of(512),
    };
    let (block_size, length) = (block_size.into(), footer.size);
    let mapped = Mapped { file: file.clone(), map, block_size, length, unpacked: Mutex::new(None) };
    Ok(Blob::new(Arc::new(mapped)))
}

fn parse_header(bytes: &[u8]) -> Result<(u64, u32, u32), ParseError> {
    let mut reader = Reader::new(bytes);
    let place = reader;
    if reader.take(8, "Cookie")? != b"cxsparse" {
        return Err(place.error("Cookie", ParseErrorKind::Invalid("is not \"cxsparse\"")));
    }
    reader.u64_be("Data Offset")?;
    let table_offset = reader.u64_be("Table Offset")?;
    reader.u32_be("Header Version")?;
    let count = reader.u32_be("Max Table Entries")?;
    let place = reader;
    let block_size = reader.u32_be("Block Size")?;
    if !block_size.is_power_of_two() || !(4096..=256 << 20).contains(&block_size) {
        let kind = ParseErrorKind::Unexpected {
            found: block_size.into(),
            expected: "a power of 2, usually 0x200000",
        };
        return Err(place.error("Block Size", kind));
    }
    Ok((table_offset, count, block_size))
}

struct Map {
    file: Blob,
    table: Vec<u32>,
    bitmap_size: u64,
}

impl Map {
    /// Where a block's bitmap stands.
    fn bitmap(&self, index: u64) -> Option<u64> {
        let entry = *self.table.get(usize::try_from(index).ok()?)?;
        (entry != UNUSED).then(|| u64::from(entry).saturating_mul(512))
    }
}

impl BlockMap for Map {
    fn place(&self, index: u64) -> io::Result<Place> {
        let bitmap = self.bitmap(index);
        Ok(bitmap.map_or(Place::Zero, |offset| Place::At(offset.saturating_add(self.bitmap_size))))
    }

    /// A sector whose bit is clear was never written: it is zero.
    fn mask(&self, index: u64, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let Some(bitmap) = self.bitmap(index) else { return Ok(()) };
        let bitmap = self.file.slice(bitmap, self.bitmap_size).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bitmap = bitmap.read(self.bitmap_size)?;
        if bitmap.iter().all(|byte| *byte == 0xFF) {
            return Ok(());
        }
        let mut position = offset;
        for byte in bytes {
            let sector = usize::try_from(position >> 9).unwrap_or(usize::MAX);
            let bits = bitmap.get(sector >> 3).copied().unwrap_or(0);
            if bits & (0x80_u8 >> (sector & 7)) == 0 {
                *byte = 0;
            }
            position = position.saturating_add(1);
        }
        Ok(())
    }
}
