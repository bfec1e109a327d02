//! The events of both sides side by side: equal, changed, missing, added.
//!
//! Only the order *within* a register is certain, so each PCR is aligned by itself: first by digest (a longest common
//! subsequence), then what lies between equal events by what it is about.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hash::Hash;
use std::ops::Range;
use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

use super::model::Event;
use super::topic::Topic;
use crate::boot::Stage;
use crate::tcg::{HashAlgorithm, PcrIndex};

/// After this long an alignment is finished roughly. Real logs take a millisecond.
const PATIENCE: Duration = Duration::from_millis(500);

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventStatus {
    /// On both sides.
    Equal,
    /// On both sides, with another digest.
    Changed,
    /// Expected, but not there.
    Missing,
    /// There, but not expected.
    Added,
    /// There, and where something unknown is expected.
    NotPredicted,
    /// There, after all that was expected, and known to come later.
    Later,
}

/// A row of the alignment: indices into the events of both sides, one of them at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlignedEvent {
    /// The register.
    pub pcr: PcrIndex,
    /// What became of it.
    pub status: EventStatus,
    /// The expected event.
    pub expected: Option<usize>,
    /// The observed event.
    pub observed: Option<usize>,
}

impl AlignedEvent {
    /// The two sides differ here.
    #[must_use]
    pub fn is_different(&self) -> bool {
        matches!(self.status, EventStatus::Changed | EventStatus::Missing | EventStatus::Added)
    }
}

/// Aligns the events of both sides by their digests of one bank, in the order of the boot. Expected events after `stage`
/// need not be there. `covers` says of which registers anything is expected.
#[must_use]
pub fn align(
    expected: &[Event],
    observed: &[Event],
    bank: HashAlgorithm,
    stage: Stage,
    covers: &dyn Fn(PcrIndex) -> bool,
) -> Vec<AlignedEvent> {
    let deadline = Instant::now().checked_add(PATIENCE);
    let (expected_by_pcr, observed_by_pcr) = (by_pcr(expected), by_pcr(observed));
    let mut rows = Vec::with_capacity(expected.len().max(observed.len()));
    for pcr in PcrIndex::all() {
        let of = |map: &BTreeMap<PcrIndex, Vec<usize>>| map.get(&pcr).cloned().unwrap_or_default();
        let register = Register {
            pcr,
            sides: (expected, observed),
            indices: (of(&expected_by_pcr), of(&observed_by_pcr)),
            bank,
            stage,
            covered: covers(pcr),
        };
        register.align(deadline, &mut rows);
    }
    in_boot_order(&mut rows, observed.len());
    rows
}

fn by_pcr(events: &[Event]) -> BTreeMap<PcrIndex, Vec<usize>> {
    let mut map: BTreeMap<PcrIndex, Vec<usize>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        map.entry(event.pcr).or_default().push(index);
    }
    map
}

/// One register under way.
struct Register<'e> {
    pcr: PcrIndex,
    sides: (&'e [Event], &'e [Event]),
    /// Its events on both sides.
    indices: (Vec<usize>, Vec<usize>),
    bank: HashAlgorithm,
    stage: Stage,
    covered: bool,
}

impl Register<'_> {
    fn align(&self, deadline: Option<Instant>, rows: &mut Vec<AlignedEvent>) {
        let (ours, theirs) = &self.indices;
        let mut ids = Ids::default();
        let digest = |events: &[Event], index: &usize| {
            events.get(*index).and_then(|event| event.digests.get(self.bank))
        };
        let left: Vec<u32> = ours.iter().map(|index| ids.of(digest(self.sides.0, index))).collect();
        let right: Vec<u32> = theirs.iter().map(|index| ids.of(digest(self.sides.1, index))).collect();
        for block in blocks(&diff(&left, &right, deadline), left.len(), right.len()) {
            match block {
                Block::Equal(ours, theirs) => {
                    for (one, other) in ours.zip(theirs) {
                        self.row(EventStatus::Equal, Some(one), Some(other), rows);
                    }
                }
                Block::Different(ours, theirs) => self.pair(ours, theirs, deadline, rows),
            }
        }
    }

    /// What lies between equal events: first what is about the same thing, then what is of the same kind.
    fn pair(
        &self,
        ours: Range<usize>,
        theirs: Range<usize>,
        deadline: Option<Instant>,
        rows: &mut Vec<AlignedEvent>,
    ) {
        let mut ids = Ids::default();
        let left: Vec<u32> = ours.clone().map(|at| ids.of(self.topic(true, at))).collect();
        let right: Vec<u32> = theirs.clone().map(|at| ids.of(self.topic(false, at))).collect();
        for block in blocks(&diff(&left, &right, deadline), left.len(), right.len()) {
            match block {
                Block::Equal(one, other) => {
                    let pairs = one.zip(other);
                    for (one, other) in pairs {
                        let at = |start: &Range<usize>, index: usize| start.start.saturating_add(index);
                        self.paired(at(&ours, one), at(&theirs, other), rows);
                    }
                }
                Block::Different(one, other) => {
                    let shift = |by: &Range<usize>, range: Range<usize>| {
                        by.start.saturating_add(range.start)..by.start.saturating_add(range.end)
                    };
                    self.leftovers(shift(&ours, one), shift(&theirs, other), rows);
                }
            }
        }
    }

    fn paired(&self, one: usize, other: usize, rows: &mut Vec<AlignedEvent>) {
        let is_gap = self.event(true, one).is_some_and(Event::is_gap);
        let status = if is_gap { EventStatus::NotPredicted } else { EventStatus::Changed };
        self.row(status, Some(one), Some(other), rows);
    }

    /// Events that are about different things: of the same kind they are paired in order, the rest is missing or added.
    fn leftovers(&self, ours: Range<usize>, theirs: Range<usize>, rows: &mut Vec<AlignedEvent>) {
        let is_open = ours.clone().any(|at| self.event(true, at).is_some_and(Event::is_open));
        let mut theirs = theirs.peekable();
        for one in ours {
            let Some(event) = self.event(true, one) else { continue };
            if event.is_open() {
                self.row(EventStatus::NotPredicted, Some(one), None, rows);
                continue;
            }
            let fits = |other: &usize| {
                self.event(false, *other).is_some_and(|other| event.topic.may_stand_for(&other.topic))
            };
            if let Some(other) = theirs.next_if(fits) {
                self.paired(one, other, rows);
            } else if event.is_gap() {
                self.row(EventStatus::NotPredicted, Some(one), None, rows);
            } else if event.stage.is_none_or(|stage| stage <= self.stage) {
                self.row(EventStatus::Missing, Some(one), None, rows);
            }
        }
        for other in theirs {
            let status = match self.event(false, other) {
                _ if is_open || !self.covered => EventStatus::NotPredicted,
                Some(event) if event.topic.comes_later() => EventStatus::Later,
                _ => EventStatus::Added,
            };
            self.row(status, None, Some(other), rows);
        }
    }

    fn event(&self, expected: bool, at: usize) -> Option<&Event> {
        let (events, indices) = match expected {
            true => (self.sides.0, &self.indices.0),
            false => (self.sides.1, &self.indices.1),
        };
        events.get(*indices.get(at)?)
    }

    fn topic(&self, expected: bool, at: usize) -> Option<&Topic> {
        // A gap without a type may be anything: it has no topic to be found by.
        self.event(expected, at).filter(|event| !event.is_open()).map(|event| &event.topic)
    }

    fn row(
        &self,
        status: EventStatus,
        one: Option<usize>,
        other: Option<usize>,
        rows: &mut Vec<AlignedEvent>,
    ) {
        rows.push(AlignedEvent {
            pcr: self.pcr,
            status,
            expected: one.and_then(|at| self.indices.0.get(at)).copied(),
            observed: other.and_then(|at| self.indices.1.get(at)).copied(),
        });
    }
}

/// Numbers for values: equal ones get the same, unknown ones each their own.
struct Ids<T> {
    known: BTreeMap<T, u32>,
    next: u32,
}

impl<T> Default for Ids<T> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), next: 0 }
    }
}

impl<T: Ord> Ids<T> {
    fn of(&mut self, value: Option<T>) -> u32 {
        let fresh = self.next;
        let id = match value {
            Some(value) => *self.known.entry(value).or_insert(fresh),
            None => fresh,
        };
        if id == fresh {
            self.next = self.next.saturating_add(1);
        }
        id
    }
}

fn diff<T: Eq + Hash + Ord + Clone>(left: &[T], right: &[T], deadline: Option<Instant>) -> Vec<DiffOp> {
    capture_diff_slices_deadline(Algorithm::Myers, left, right, deadline)
}

/// A stretch of two sequences.
enum Block {
    Equal(Range<usize>, Range<usize>),
    Different(Range<usize>, Range<usize>),
}

/// Equal stretches, and all that lies between them as one each.
fn blocks(ops: &[DiffOp], left: usize, right: usize) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut one, mut other) = (0, 0);
    let equal = ops.iter().filter_map(|op| match op {
        DiffOp::Equal { old_index, new_index, len } => Some((*old_index, *new_index, *len)),
        _ => None,
    });
    for (old, new, length) in equal.chain([(left, right, 0)]) {
        if old > one || new > other {
            blocks.push(Block::Different(one..old, other..new));
        }
        one = old.saturating_add(length);
        other = new.saturating_add(length);
        if length > 0 {
            blocks.push(Block::Equal(old..one, new..other));
        }
    }
    blocks
}

/// Puts the rows of all registers into the order of the boot: that of the expected side; an event that is only on the
/// other side comes behind the last one before it that has a place.
fn in_boot_order(rows: &mut [AlignedEvent], observed: usize) {
    let mut place: Vec<Option<usize>> = vec![None; observed];
    for row in rows.iter() {
        if let Some(slot) = row.observed.and_then(|index| place.get_mut(index)) {
            *slot = row.expected;
        }
    }
    let mut last = None;
    for slot in &mut place {
        last = last.max(*slot);
        *slot = last;
    }
    rows.sort_by_key(|row| match (row.expected, row.observed) {
        (Some(expected), _) => (Some(expected), false, 0),
        (None, Some(observed)) => (place.get(observed).copied().flatten(), true, observed),
        (None, None) => (None, true, 0),
    });
}
