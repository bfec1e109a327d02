//! qcow2 (QEMU docs/interop/qcow2): two levels of tables, clusters plain, packed or zero.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::mapped::{BlockMap, Mapped, Packing, Place};
use super::{ContainerError, unsupported};
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::source::Blob;

const FORMAT: &str = "qcow2";
/// Most bytes of the first table; QEMU's own limit (`QCOW_MAX_L1_SIZE`).
const MAX_L1_SIZE: u64 = 32 << 20;
/// Second tables that are kept.
const KEPT_TABLES: usize = 16;
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
const COMPRESSED: u64 = 1 << 62;
const ALL_ZERO: u64 = 1;

/// Opens a qcow2 image that stands alone.
pub(super) fn open(file: &Blob) -> Result<Blob, ContainerError> {
    let header = file.read_prefix(112).map_err(|error| ContainerError::Io { format: FORMAT, error })?;
    let header = Header::parse(&header).map_err(|error| ContainerError::Field { format: FORMAT, error })?;
    header.refuse()?;
    let l1_size = u64::from(header.l1_count).saturating_mul(8);
    let l1 = file.slice(header.l1_offset, l1_size).ok_or_else(|| {
        unsupported(FORMAT, "its first table lies beyond the end of the file: the image is cut off")
    })?;
    let l1 = l1.read(MAX_L1_SIZE).map_err(|error| ContainerError::Io { format: FORMAT, error })?;
    let (entries, _) = l1.as_chunks::<8>();
    let map = Map {
        file: file.clone(),
        l1: entries.iter().map(|entry| u64::from_be_bytes(*entry) & OFFSET).collect(),
        tables: Mutex::new(BTreeMap::new()),
        cluster_bits: header.cluster_bits,
        packing: if header.zstd { Packing::Zstd } else { Packing::Deflate },
        knows_zero: header.version >= 3,
    };
    let block_size = 1_u64.checked_shl(header.cluster_bits).unwrap_or(0);
    let mapped =
        Mapped { file: file.clone(), map, block_size, length: header.size, unpacked: Mutex::new(None) };
    Ok(Blob::new(Arc::new(mapped)))
}

struct Header {
    version: u32,
    backing_file_offset: u64,
    cluster_bits: u32,
    size: u64,
    crypt_method: u32,
    l1_count: u32,
    l1_offset: u64,
    incompatible: u64,
    zstd: bool,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        reader.take(4, "magic")?;
        let version = reader.u32_be("version")?;
        let backing_file_offset = reader.u64_be("backing_file_offset")?;
        reader.u32_be("backing_file_size")?;
        let place = reader;
        let cluster_bits = reader.u32_be("cluster_bits")?;
        if !(9..=21).contains(&cluster_bits) {
            let kind = ParseErrorKind::Unexpected { found: cluster_bits.into(), expected: "9 to 21" };
            return Err(place.error("cluster_bits", kind));
        }
        let size = reader.u64_be("size")?;
        let crypt_method = reader.u32_be("crypt_method")?;
        let place = reader;
        let l1_count = reader.u32_be("l1_size")?;
        let l1_size = u64::from(l1_count).saturating_mul(8);
        if l1_size > MAX_L1_SIZE {
            return Err(
                place.error("l1_size", ParseErrorKind::TooLarge { found: l1_size, limit: MAX_L1_SIZE })
            );
        }
        let l1_offset = reader.u64_be("l1_table_offset")?;
        reader.take(24, "refcount_table_offset")?;
        let incompatible = if version >= 3 { reader.u64_be("incompatible_features")? } else { 0 };
        let zstd = incompatible & 8 != 0 && bytes.get(104) == Some(&1);
        Ok(Self {
            version,
            backing_file_offset,
            cluster_bits,
            size,
            crypt_method,
            l1_count,
            l1_offset,
            incompatible,
            zstd,
        })
    }

    /// What would need another file, a key, or a newer reader.
    fn refuse(&self) -> Result<(), ContainerError> {
        let why = if !(2..=3).contains(&self.version) {
            format!("its version is {}, expected 2 or 3", self.version)
        } else if self.backing_file_offset != 0 {
            "it needs a backing file, and files that an image names are never opened".to_owned()
        } else if self.crypt_method != 0 {
            "it is encrypted".to_owned()
        } else if self.incompatible & 4 != 0 {
            "its data is in another file, and files that an image names are never opened".to_owned()
        } else if self.incompatible & 2 != 0 {
            "it is marked as corrupt".to_owned()
        } else if self.incompatible & !0xF != 0 {
            format!("it has incompatible features {:#x}, which are not known", self.incompatible)
        } else {
            return Ok(());
        };
        Err(unsupported(FORMAT, why))
    }
}

struct Map {
    file: Blob,
    l1: Vec<u64>,
    tables: Mutex<BTreeMap<u64, Arc<Vec<u64>>>>,
    cluster_bits: u32,
    packing: Packing,
    knows_zero: bool,
}

impl BlockMap for Map {
    fn place(&self, index: u64) -> io::Result<Place> {
        let l2_bits = self.cluster_bits.saturating_sub(3);
        let first = usize::try_from(index.checked_shr(l2_bits).unwrap_or(0)).unwrap_or(usize::MAX);
        let table_offset = self.l1.get(first).copied().unwrap_or(0);
        if table_offset == 0 {
            return Ok(Place::Zero);
        }
        let table = self.table(table_offset)?;
        let second = index & 1_u64.checked_shl(l2_bits).unwrap_or(1).saturating_sub(1);
        let entry = table.get(usize::try_from(second).unwrap_or(usize::MAX)).copied().unwrap_or(0);
        if entry & COMPRESSED != 0 {
            // Bits up to x are the offset, those up to 61 the number of further sectors (x = 62 - (cluster_bits - 8)).
            let bits = 62_u32.saturating_sub(self.cluster_bits.saturating_sub(8));
            let offset = entry & 1_u64.checked_shl(bits).unwrap_or(0).saturating_sub(1);
            let sectors = (entry & COMPRESSED.saturating_sub(1)).checked_shr(bits).unwrap_or(0);
            let length = sectors.saturating_add(1).saturating_mul(512).saturating_sub(offset & 511);
            return Ok(Place::Packed { offset, length, how: self.packing });
        }
        match entry & OFFSET {
            0 => Ok(Place::Zero),
            _ if self.knows_zero && entry & ALL_ZERO != 0 => Ok(Place::Zero),
            offset => Ok(Place::At(offset)),
        }
    }
}

impl Map {
    fn table(&self, offset: u64) -> io::Result<Arc<Vec<u64>>> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get(&offset) {
            return Ok(Arc::clone(table));
        }
        let size = 1_u64.checked_shl(self.cluster_bits).unwrap_or(0);
        let bytes = self.file.slice(offset, size).ok_or(io::ErrorKind::UnexpectedEof)?.read(size)?;
        let (entries, _) = bytes.as_chunks::<8>();
        let table: Arc<Vec<u64>> = Arc::new(entries.iter().map(|entry| u64::from_be_bytes(*entry)).collect());
        if tables.len() >= KEPT_TABLES {
            tables.pop_first();
        }
        tables.insert(offset, Arc::clone(&table));
        Ok(table)
    }
}
