//! A lane: one stream in one bank, taking what it wants from windows that come in ascending order.

use std::sync::Arc;

use super::plan::Segment;
use crate::tcg::Hasher;

/// One stream in one bank: what it still wants, and its state.
pub(super) struct Lane {
    key: (usize, usize),
    pub(super) segments: Arc<[Segment]>,
    /// Next segment.
    next: usize,
    /// Bytes of that segment which are absorbed.
    done: u64,
    state: Hasher,
}

impl Lane {
    pub(super) fn new(key: (usize, usize), segments: Arc<[Segment]>, state: Hasher) -> Self {
        Self { key, segments, next: 0, done: 0, state }
    }

    pub(super) fn into_state(self) -> ((usize, usize), Hasher) {
        (self.key, self.state)
    }

    /// Absorbs what lies in memory, up to the next range.
    pub(super) fn absorb_memory(&mut self) {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        while let Some(segment) = self.segments.get(self.next) {
            match segment {
                Segment::Range(_) => return,
                Segment::Bytes(bytes) => self.state.update(bytes),
                Segment::Zeros(count) => {
                    let mut left = *count;
                    while left > 0 {
                        let step = left.min(ZEROS.len() as u64);
                        self.state.update(ZEROS.get(..step as usize).unwrap_or_default());
                        left -= step;
                    }
                }
            }
            self.next += 1;
        }
    }

    /// Absorbs everything that it wants of a window. Windows come in ascending order.
    pub(super) fn absorb(&mut self, window: &Window) {
        let end = window.end();
        self.absorb_memory();
        while let Some(Segment::Range(blob)) = self.segments.get(self.next) {
            let start = blob.offset() + self.done;
            if start >= end {
                return;
            }
            let stop = end.min(blob.offset() + blob.len());
            let range = (start - window.offset) as usize..(stop - window.offset) as usize;
            self.state.update(window.bytes.get(range).unwrap_or_default());
            self.done += stop - start;
            if self.done < blob.len() {
                return;
            }
            self.next += 1;
            self.done = 0;
            self.absorb_memory();
        }
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Range(blob) => Some((blob.offset(), blob.offset() + blob.len())),
            _ => None,
        })
    }

    /// First byte that it still wants of the source; `None` when it wants none.
    pub(super) fn wants(&self) -> Option<u64> {
        match self.segments.get(self.next)? {
            Segment::Range(blob) => Some(blob.offset() + self.done),
            _ => None,
        }
    }
}

/// Consecutive bytes of the source.
pub(super) struct Window {
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

impl Window {
    /// Offset behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// Ranges, sorted, overlapping and adjoining ones merged.
pub(super) fn union(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            _ => merged.push((start, end)),
        }
    }
    merged
}
