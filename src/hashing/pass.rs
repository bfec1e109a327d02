//! One pass over one source: windows are read once, and all states that want them take them in parallel.
//!
//! A state (one stream in one bank) must see its bytes in order, but states don't depend on each other, and
//! their speeds differ by a factor of five. So there are no rounds: each worker takes the state that is furthest
//! behind among those that can go on, or reads the next window when the ring has room.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::plan::{HashError, Segment};
use crate::source::ReadAt;
use crate::tcg::Hasher;

/// Bytes of one window: small enough to stay in a core's cache between reading and hashing.
const WINDOW: u64 = 256 << 10;
/// Windows that may be in memory at once: with their size this bounds the memory of a pass at 8 MiB.
const RING: usize = 32;
/// Workers beyond this don't help: states are few.
const MAX_WORKERS: usize = 8;

/// One stream in one bank: what it still wants, and its state.
pub(super) struct Lane {
    key: (usize, usize),
    segments: Arc<[Segment]>,
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
    fn absorb_memory(&mut self) {
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
    fn absorb(&mut self, window: &Window) {
        let end = window.offset + window.bytes.len() as u64;
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

    fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Range(blob) => Some((blob.offset(), blob.offset() + blob.len())),
            _ => None,
        })
    }

    /// First byte that it still wants of the source; `None` when it wants none.
    fn wants(&self) -> Option<u64> {
        match self.segments.get(self.next)? {
            Segment::Range(blob) => Some(blob.offset() + self.done),
            _ => None,
        }
    }
}

struct Window {
    offset: u64,
    bytes: Vec<u8>,
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

/// Runs all lanes over their common source.
pub(super) fn run_pass(lanes: &mut Vec<Lane>, progress: &(dyn Fn(u64) + Sync)) -> Result<(), HashError> {
    for lane in lanes.iter_mut() {
        lane.absorb_memory();
    }
    let source = lanes.iter().flat_map(|lane| lane.segments.iter()).find_map(|segment| match segment {
        Segment::Range(blob) => Some(Arc::clone(blob.source())),
        _ => None,
    });
    let Some(source) = source else { return Ok(()) };
    let ranges = union(lanes.iter().flat_map(Lane::ranges).collect());
    let bytes: u64 = ranges.iter().map(|(start, end)| end - start).sum();
    let windows = ranges.iter().flat_map(|(start, end)| {
        (0..(end - start).div_ceil(WINDOW)).map(move |n| {
            let offset = start + n * WINDOW;
            (offset, WINDOW.min(end - offset))
        })
    });
    let shared = Shared {
        source,
        progress,
        queue: Mutex::new(Queue {
            unread: windows.collect(),
            reading: false,
            ring: VecDeque::new(),
            first: 0,
            lanes: lanes.drain(..).map(|lane| Slot { lane: Some(Box::new(lane)), window: 0 }).collect(),
            error: None,
        }),
        changed: Condvar::new(),
    };
    let workers = if bytes <= WINDOW { 1 } else { workers(&shared) };
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|| shared.work());
        }
        shared.work();
    });
    let queue = shared.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    lanes.extend(queue.lanes.into_iter().filter_map(|slot| slot.lane.map(|lane| *lane)));
    match queue.error {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn workers(shared: &Shared<'_>) -> usize {
    let lanes = shared.lock().lanes.len();
    thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS).min(lanes.max(1))
}

struct Slot {
    /// Absent while a worker has it.
    lane: Option<Box<Lane>>,
    /// Number of the next window that it has to see.
    window: usize,
}

struct Queue {
    /// Offset and length of the windows that are not read yet.
    unread: VecDeque<(u64, u64)>,
    reading: bool,
    /// Windows in memory; the first has number `first`.
    ring: VecDeque<Arc<Window>>,
    first: usize,
    lanes: Vec<Slot>,
    error: Option<HashError>,
}

enum Task {
    Hash(usize, Box<Lane>, Arc<Window>),
    Read(u64, u64),
}

struct Shared<'a> {
    source: Arc<dyn ReadAt>,
    progress: &'a (dyn Fn(u64) + Sync),
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut buffers: Vec<Vec<u8>> = Vec::new();
        let mut queue = self.lock();
        while !queue.is_done() {
            match queue.next_task() {
                Some(Task::Hash(index, mut lane, window)) => {
                    drop(queue);
                    lane.absorb(&window);
                    queue = self.lock();
                    drop(window);
                    buffers.extend(queue.hashed(index, lane));
                }
                Some(Task::Read(offset, length)) => {
                    drop(queue);
                    let mut bytes = buffers.pop().unwrap_or_default();
                    bytes.resize(length as usize, 0);
                    let result = self.source.read_exact_at(offset, &mut bytes);
                    (self.progress)(length);
                    queue = self.lock();
                    queue.read(offset, bytes, result);
                }
                None => {
                    queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            }
            self.changed.notify_all();
        }
        self.changed.notify_all();
    }
}

impl Queue {
    fn is_done(&self) -> bool {
        let idle = self.lanes.iter().all(|slot| slot.lane.is_some()) && !self.reading;
        let all_read = self.unread.is_empty() && self.ring.is_empty();
        idle && (all_read || self.error.is_some())
    }

    fn next_task(&mut self) -> Option<Task> {
        if self.error.is_some() {
            return None;
        }
        // Reading comes first while little is in memory: it is short, and everything waits for it.
        let may_read = !self.reading && self.ring.len() < RING && !self.unread.is_empty();
        if may_read && self.ring.len() < 4 {
            return self.take_read();
        }
        let last = self.first + self.ring.len();
        let behind =
            self.lanes.iter().enumerate().filter(|(_, slot)| slot.lane.is_some() && slot.window < last);
        if let Some((index, _)) = behind.min_by_key(|(_, slot)| slot.window) {
            let slot = self.lanes.get_mut(index)?;
            let window = Arc::clone(self.ring.get(slot.window - self.first)?);
            return Some(Task::Hash(index, slot.lane.take()?, window));
        }
        if may_read { self.take_read() } else { None }
    }

    fn take_read(&mut self) -> Option<Task> {
        let (offset, length) = self.unread.pop_front()?;
        self.reading = true;
        Some(Task::Read(offset, length))
    }

    /// A lane has seen its window. Returns buffers of windows that nobody needs any more.
    fn hashed(&mut self, index: usize, lane: Box<Lane>) -> Option<Vec<u8>> {
        if let Some(slot) = self.lanes.get_mut(index) {
            slot.window += 1;
            slot.lane = Some(lane);
            self.skip_unwanted(index);
        }
        self.retire()
    }

    /// Windows that a lane wants nothing of need no task.
    fn skip_unwanted(&mut self, index: usize) {
        let Some(slot) = self.lanes.get_mut(index) else { return };
        let Some(lane) = &slot.lane else { return };
        let wants = lane.wants();
        while let Some(window) = slot.window.checked_sub(self.first).and_then(|n| self.ring.get(n)) {
            let end = window.offset + window.bytes.len() as u64;
            if wants.is_some_and(|offset| offset < end) {
                return;
            }
            slot.window += 1;
        }
    }

    fn read(&mut self, offset: u64, bytes: Vec<u8>, result: std::io::Result<()>) {
        self.reading = false;
        match result {
            Ok(()) => {
                self.ring.push_back(Arc::new(Window { offset, bytes }));
                for index in 0..self.lanes.len() {
                    self.skip_unwanted(index);
                }
                self.retire();
            }
            Err(error) => self.error = self.error.take().or(Some(HashError::Read { offset, error })),
        }
    }

    /// Drops windows that every lane has seen; gives back one buffer for the next read.
    fn retire(&mut self) -> Option<Vec<u8>> {
        let seen = self.lanes.iter().map(|slot| slot.window).min().unwrap_or(usize::MAX);
        let mut buffer = None;
        while self.first < seen
            && let Some(window) = self.ring.pop_front()
        {
            self.first += 1;
            buffer = Arc::into_inner(window).map(|window| window.bytes).or(buffer);
        }
        buffer
    }
}
