//! The file allocation table: which cluster follows which.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::{FatError, FatKind};
use crate::source::Blob;

/// Bytes of the table that are read at once.
const PAGE: u64 = 64 << 10;

/// The table.
#[derive(Debug, Clone)]
pub(super) struct FatTable {
    kind: FatKind,
    bytes: Blob,
    last_cluster: u32,
}

impl FatTable {
    pub(super) fn new(kind: FatKind, bytes: Blob, last_cluster: u32) -> Self {
        Self { kind, bytes, last_cluster }
    }

    /// The clusters from `first` on.
    pub(super) fn chain(&self, first: u32) -> Chain<'_> {
        Chain { next: Some(first), ..Chain::empty(self) }
    }
}

/// A chain under way.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    table: &'a FatTable,
    next: Option<u32>,
    previous: u32,
    page: Vec<u8>,
    page_offset: u64,
    /// Brent's search for a circle: a cluster that was passed, and steps until it is replaced.
    landmark: u32,
    steps: u64,
    power: u64,
}

impl<'a> Chain<'a> {
    /// A chain without clusters.
    pub(super) fn empty(table: &'a FatTable) -> Self {
        Self {
            table,
            next: None,
            previous: 0,
            page: Vec::new(),
            page_offset: 0,
            landmark: 0,
            steps: 0,
            power: 1,
        }
    }

    /// The next cluster; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<u32>, FatError> {
        let Some(cluster) = self.next else { return Ok(None) };
        let last = self.table.last_cluster;
        if !(2..=last).contains(&cluster) {
            return Err(FatError::BadCluster { cluster: self.previous, next: cluster, last });
        }
        if cluster == self.landmark {
            return Err(FatError::Cycle(cluster));
        }
        self.steps = self.steps.saturating_add(1);
        if self.steps == self.power {
            self.landmark = cluster;
            self.power = self.power.saturating_mul(2);
            self.steps = 0;
        }
        self.previous = cluster;
        self.next = self.successor(cluster)?;
        Ok(Some(cluster))
    }

    fn successor(&mut self, cluster: u32) -> Result<Option<u32>, FatError> {
        let index = u64::from(cluster);
        let (value, end) = match self.table.kind {
            FatKind::Fat12 => {
                let pair = u32::from(u16::from_le_bytes(self.bytes(index.saturating_add(index >> 1))?));
                (if cluster & 1 == 0 { pair & 0xFFF } else { pair >> 4 }, 0xFF8)
            }
            FatKind::Fat16 => (u32::from(u16::from_le_bytes(self.bytes(index.saturating_mul(2))?)), 0xFFF8),
            FatKind::Fat32 => {
                (u32::from_le_bytes(self.bytes(index.saturating_mul(4))?) & 0x0FFF_FFFF, 0x0FFF_FFF8)
            }
        };
        Ok((value < end).then_some(value))
    }

    /// Bytes of the table, through a page that is read once.
    fn bytes<const N: usize>(&mut self, offset: u64) -> Result<[u8; N], FatError> {
        let in_page = |chain: &Self| {
            let start = usize::try_from(offset.checked_sub(chain.page_offset)?).ok()?;
            chain.page.get(start..)?.first_chunk::<N>().copied()
        };
        if let Some(bytes) = in_page(self) {
            return Ok(bytes);
        }
        let length = self.table.bytes.len().saturating_sub(offset).min(PAGE);
        let page = self.table.bytes.slice(offset, length).map(|part| part.read(PAGE)).transpose()?;
        self.page = page.unwrap_or_default();
        self.page_offset = offset;
        in_page(self).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
    }
}
