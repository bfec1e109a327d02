//! A source made of pieces of another one: a fragmented file, without copying it.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::io;
use std::sync::Arc;

use crate::source::{Blob, ReadAt};

/// One piece: where it starts in the whole, and its bytes.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Offset of its first byte in the whole.
    start: u64,
    bytes: Blob,
}

/// Pieces one behind the other; see the module.
#[derive(Debug, Default)]
pub struct Extents {
    pieces: Vec<Extent>,
    length: u64,
}

impl Extents {
    /// Appends a piece. A piece that continues its predecessor is joined with it.
    pub fn push(&mut self, bytes: Blob) {
        if bytes.is_empty() {
            return;
        }
        let added = bytes.len();
        match self.pieces.last_mut().and_then(|last| Some((join(&last.bytes, &bytes)?, last))) {
            Some((joined, last)) => last.bytes = joined,
            None => self.pieces.push(Extent { start: self.length, bytes }),
        }
        self.length = self.length.saturating_add(added);
    }

    /// Number of pieces that do not continue each other.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pieces.len()
    }

    /// Length of the whole, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// There is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The whole as one blob: the piece itself when there is only one, so that its source stays known.
    #[must_use]
    pub fn into_blob(mut self) -> Blob {
        match (self.pieces.len(), self.pieces.pop()) {
            (1, Some(only)) => only.bytes,
            (_, None) => Blob::from_bytes([]),
            (_, Some(last)) => {
                self.pieces.push(last);
                Blob::new(Arc::new(self))
            }
        }
    }
}

/// Both as one range of their common source, if the second follows the first.
fn join(first: &Blob, second: &Blob) -> Option<Blob> {
    let follows = first.source_id() == second.source_id()
        && first.offset().checked_add(first.len()) == Some(second.offset());
    let length = first.len().checked_add(second.len())?;
    if follows { Blob::new(Arc::clone(first.source())).slice(first.offset(), length) } else { None }
}

impl ReadAt for Extents {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let first = self.pieces.partition_point(|piece| piece.start <= offset).saturating_sub(1);
        let mut position = offset;
        let mut left = buffer;
        for piece in self.pieces.iter().skip(first) {
            if left.is_empty() {
                return Ok(());
            }
            let inside = position.saturating_sub(piece.start);
            let there = piece.bytes.len().saturating_sub(inside);
            let count = usize::try_from(there).unwrap_or(usize::MAX).min(left.len());
            let (now, later) = std::mem::take(&mut left).split_at_mut(count);
            piece.bytes.read_exact_at(inside, now)?;
            position = position.saturating_add(count as u64);
            left = later;
        }
        if left.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_across_their_borders_and_joined_where_they_touch() {
        let disk = Blob::from_bytes((0..=99).collect::<Vec<u8>>());
        let part = |offset, length| disk.slice(offset, length).expect("inside");
        let mut extents = Extents::default();
        for (offset, length) in [(10, 5), (15, 5), (50, 10), (0, 3)] {
            extents.push(part(offset, length));
        }
        assert_eq!((extents.count(), extents.len()), (3, 23));
        let whole = extents.into_blob();
        let expected: Vec<u8> = (10..20).chain(50..60).chain(0..3).collect();
        assert_eq!(whole.read(100).expect("all"), expected);
        let mut middle = [0; 8];
        whole.read_exact_at(8, &mut middle).expect("across a border");
        assert_eq!(middle.as_slice(), expected.get(8..16).expect("inside"));
        assert!(whole.read_exact_at(20, &mut [0; 4]).is_err());
    }

    #[test]
    fn one_piece_stays_a_range_of_its_source() {
        let disk = Blob::from_bytes([0; 64]);
        let mut extents = Extents::default();
        extents.push(disk.slice(8, 8).expect("inside"));
        extents.push(disk.slice(16, 8).expect("inside"));
        let blob = extents.into_blob();
        assert_eq!((blob.source_id(), blob.offset(), blob.len()), (disk.source_id(), 8, 16));
    }
}
