//! Who does what next: which lane takes which window, and when the next window is read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::lane::{Lane, Window};
use super::plan::HashError;
use crate::source::SourceId;

/// Windows that may be in memory at once: with their size this bounds the memory of a pass at 8 MiB.
const RING: usize = 32;
/// While fewer windows than this are in memory, reading comes before hashing: it is short, and all wait for it.
const LOW: usize = 4;

/// The state of a pass, behind a lock. Every lane is in one place: ready for a window that is in memory, busy with
/// one, waiting for an offset that is not read yet, or finished.
pub(super) struct Queue {
    source_id: SourceId,
    /// Offset and length of the windows that are not read yet.
    unread: VecDeque<(u64, u64)>,
    reading: bool,
    /// Windows in memory; the first has number `first`.
    ring: VecDeque<Arc<Window>>,
    first: usize,
    /// All lanes; absent while a worker has one.
    lanes: Vec<Option<Box<Lane>>>,
    /// Window number and lane, so that the lane which is furthest behind comes first.
    ready: BTreeSet<(usize, usize)>,
    /// Offset wanted, and lane.
    waiting: BTreeSet<(u64, usize)>,
    /// Lane, and the window that it has.
    busy: BTreeMap<usize, usize>,
    error: Option<HashError>,
    /// Buffers of windows that are done with, for the next reads.
    spare: Vec<Vec<u8>>,
}

/// Something for a worker to do.
pub(super) enum Task {
    /// A lane absorbs a window.
    Hash(usize, Box<Lane>, Arc<Window>),
    /// Read so many bytes at an offset.
    Read(u64, u64),
}

impl Queue {
    pub(super) fn new(source_id: SourceId, unread: VecDeque<(u64, u64)>, lanes: Vec<Lane>) -> Self {
        let waiting =
            lanes.iter().enumerate().filter_map(|(index, lane)| Some((lane.wants()?, index))).collect();
        Self {
            source_id,
            unread,
            reading: false,
            ring: VecDeque::new(),
            first: 0,
            lanes: lanes.into_iter().map(|lane| Some(Box::new(lane))).collect(),
            ready: BTreeSet::new(),
            waiting,
            busy: BTreeMap::new(),
            error: None,
            spare: Vec::new(),
        }
    }

    pub(super) fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    /// The lanes again, in their order, or what went wrong.
    pub(super) fn finish(self) -> Result<Vec<Lane>, HashError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.lanes.into_iter().flatten().map(|lane| *lane).collect()),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        let idle = self.busy.is_empty() && !self.reading;
        idle && (self.error.is_some() || (self.unread.is_empty() && self.ready.is_empty()))
    }

    pub(super) fn next_task(&mut self) -> Option<Task> {
        if self.error.is_some() {
            return None;
        }
        let may_read = !self.reading && self.ring.len() < RING && !self.unread.is_empty();
        if may_read && self.ring.len() < LOW {
            return self.take_read();
        }
        match self.ready.pop_first() {
            Some((number, index)) => {
                let window = Arc::clone(self.ring.get(number.checked_sub(self.first)?)?);
                let lane = self.lanes.get_mut(index)?.take()?;
                self.busy.insert(index, number);
                Some(Task::Hash(index, lane, window))
            }
            None if may_read => self.take_read(),
            None => None,
        }
    }

    fn take_read(&mut self) -> Option<Task> {
        let (offset, length) = self.unread.pop_front()?;
        self.reading = true;
        Some(Task::Read(offset, length))
    }

    /// A buffer for a read; used before, if there is one.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// A lane has absorbed its window.
    pub(super) fn hashed(&mut self, index: usize, lane: Box<Lane>) {
        let number = self.busy.remove(&index).unwrap_or(self.first);
        if let Some(wants) = lane.wants() {
            // Windows ascend, so the one that it wants next is a later one, in memory or not.
            let later = (number + 1).saturating_sub(self.first);
            let next = self.ring.iter().enumerate().skip(later).find(|(_, window)| wants < window.end());
            match next {
                Some((place, _)) => self.ready.insert((self.first + place, index)),
                None => self.waiting.insert((wants, index)),
            };
        }
        if let Some(slot) = self.lanes.get_mut(index) {
            *slot = Some(lane);
        }
        self.retire();
    }

    /// A window was read, or could not be.
    pub(super) fn read(&mut self, offset: u64, bytes: Vec<u8>, result: std::io::Result<()>) {
        self.reading = false;
        if let Err(error) = result {
            let source_id = self.source_id;
            self.error.get_or_insert(HashError::Read { source_id, offset, error });
            return;
        }
        let window = Window { offset, bytes };
        let number = self.first + self.ring.len();
        while let Some((wants, index)) =
            self.waiting.first().copied().filter(|(wants, _)| *wants < window.end())
        {
            self.waiting.remove(&(wants, index));
            self.ready.insert((number, index));
        }
        self.ring.push_back(Arc::new(window));
        self.retire();
    }

    /// Drops windows that no lane needs any more.
    fn retire(&mut self) {
        let needed = self
            .ready
            .first()
            .map(|(number, _)| *number)
            .into_iter()
            .chain(self.busy.values().copied())
            .min();
        let needed = needed.unwrap_or(usize::MAX);
        while self.first < needed
            && let Some(window) = self.ring.pop_front()
        {
            self.first += 1;
            if self.spare.len() < LOW {
                self.spare.extend(Arc::into_inner(window).map(|window| window.bytes));
            }
        }
    }
}
