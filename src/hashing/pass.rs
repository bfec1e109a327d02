//! One pass over one source: windows are read once, and all states that want them take them in parallel.
//!
//! A state (one stream in one bank) must see its bytes in order, but states don't depend on each other, and
//! their speeds differ by a factor of five. So there are no rounds: each worker takes the state that is furthest
//! behind among those that can go on, or reads the next window when the ring has room.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::lane::{Lane, union};
use super::plan::{HashError, Segment};
use super::queue::{Queue, Task};
use crate::source::ReadAt;

/// Bytes of one window: small enough to stay in a core's cache between reading and hashing.
const WINDOW: u64 = 256 << 10;
/// Workers beyond this don't help: states are few.
const MAX_WORKERS: usize = 8;

/// Runs all lanes over their common source.
pub(super) fn run_pass(lanes: &mut Vec<Lane>, progress: &(dyn Fn(u64) + Sync)) -> Result<(), HashError> {
    for lane in lanes.iter_mut() {
        lane.absorb_memory();
    }
    let source = lanes.iter().flat_map(|lane| lane.segments.iter()).find_map(|segment| match segment {
        Segment::Range(blob) => Some((blob.source_id(), Arc::clone(blob.source()))),
        _ => None,
    });
    let Some((source_id, source)) = source else { return Ok(()) };
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
        queue: Mutex::new(Queue::new(source_id, windows.collect(), std::mem::take(lanes))),
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
    *lanes = queue.finish()?;
    Ok(())
}

fn workers(shared: &Shared<'_>) -> usize {
    let lanes = shared.lock().lane_count();
    thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS).min(lanes.max(1))
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
        let mut queue = self.lock();
        while !queue.is_done() {
            match queue.next_task() {
                Some(Task::Hash(index, mut lane, window)) => {
                    drop(queue);
                    lane.absorb(&window);
                    queue = self.lock();
                    drop(window);
                    queue.hashed(index, lane);
                }
                Some(Task::Read(offset, length)) => {
                    let mut bytes = queue.buffer();
                    drop(queue);
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
