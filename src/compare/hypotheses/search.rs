//! Which deviations lead to the observed values: alone, then two, then three together.

use std::collections::{BTreeMap, BTreeSet};

use super::deviation::{Deviation, Edit};
use crate::tcg::{Digest, PcrIndex, extend};

/// Most lists of digests that are tried for one register.
const MAX_TRIES: usize = 60_000;
/// Most extends that these may cost: long registers get fewer tries.
const MAX_EXTENDS: usize = 1_000_000;
/// Most solutions of one register that are kept, to find those that explain others too.
const MAX_SOLUTIONS: usize = 16;

/// One register whose value differs.
pub(super) struct Register {
    /// The expected events by their index in the whole boot, in order.
    indices: Vec<usize>,
    digests: Vec<Digest>,
    /// The value before each event, and behind the last.
    prefix: Vec<Digest>,
    /// What was observed.
    target: Digest,
    /// What may have come later.
    tails: Vec<Vec<Digest>>,
}

pub(super) struct Search<'s> {
    pub(super) registers: &'s BTreeMap<PcrIndex, Register>,
    pub(super) deviations: &'s [Deviation],
}

/// What all searches of one comparison may cost together. It counts work, not time: equal inputs give equal answers.
pub(super) struct Patience {
    extends: usize,
    /// Something was left untried.
    pub(super) exhausted: bool,
}

impl Patience {
    pub(super) fn new(extends: usize) -> Self {
        Self { extends, exhausted: false }
    }

    fn tries(&self, register: &Register) -> Tries {
        let each = register.cost();
        let affordable = MAX_EXTENDS.min(self.extends).checked_div(each).unwrap_or(MAX_TRIES);
        let left = MAX_TRIES.min(affordable);
        Tries { left, given: left, each }
    }

    fn charge(&mut self, tries: &Tries) {
        let used = tries.given.saturating_sub(tries.left);
        self.extends = self.extends.saturating_sub(used.saturating_mul(tries.each));
        self.exhausted |= tries.left == 0;
    }
}

/// Deviations that are used, and the registers that they explain.
#[derive(Default)]
pub(super) struct Solved {
    pub(super) used: BTreeMap<usize, Vec<PcrIndex>>,
    pub(super) pcrs: Vec<PcrIndex>,
}

/// Deviations that solve a register together.
type Solution = Vec<usize>;

impl Search<'_> {
    /// Solves every register, and takes of each the solution that needs least beyond what others need. A deviation that is
    /// taken has to be in the solution of every register that it moves: one that is not is dropped, and all is chosen anew.
    pub(super) fn run(&self, patience: &mut Patience) -> Solved {
        let mut solutions = self.solutions(patience);
        loop {
            solutions.retain(|(_, found)| !found.is_empty());
            let solved = self.choose(&mut solutions);
            let Some(contradiction) = self.contradiction(&solved) else { return solved };
            for (_, found) in &mut solutions {
                found.retain(|solution| !solution.contains(&contradiction));
            }
        }
    }

    fn choose(&self, solutions: &mut [(PcrIndex, Vec<Solution>)]) -> Solved {
        // A solution that occurs in several registers is the likely one.
        let mut uses: BTreeMap<usize, usize> = BTreeMap::new();
        for (_, found) in solutions.iter() {
            let distinct: BTreeSet<usize> = found.iter().flatten().copied().collect();
            for deviation in distinct {
                let count = uses.entry(deviation).or_default();
                *count = count.saturating_add(1);
            }
        }
        solutions.sort_by_key(|(_, found)| found.len());
        let mut solved = Solved::default();
        for (pcr, found) in solutions.iter() {
            let cost = |solution: &&Solution| {
                let new = solution.iter().filter(|deviation| !solved.used.contains_key(*deviation)).count();
                let shared = solution.iter().filter_map(|deviation| uses.get(deviation));
                let shared = shared.fold(0_usize, |sum, count| sum.saturating_add(*count));
                (new, self.rank(solution), usize::MAX.saturating_sub(shared))
            };
            if let Some(solution) = found.iter().min_by_key(cost) {
                for deviation in solution.clone() {
                    solved.used.entry(deviation).or_default().push(*pcr);
                }
                solved.pcrs.push(*pcr);
            }
        }
        solved
    }

    /// A deviation that is taken for one register, and moves another whose solution goes without it.
    fn contradiction(&self, solved: &Solved) -> Option<usize> {
        let breaks = |(index, pcrs): &(&usize, &Vec<PcrIndex>)| {
            let moved = self.deviations.get(**index).map(|deviation| deviation.edits.keys());
            moved.into_iter().flatten().any(|pcr| solved.pcrs.contains(pcr) && !pcrs.contains(pcr))
        };
        solved.used.iter().find(breaks).map(|(index, _)| *index)
    }

    fn rank(&self, solution: &[usize]) -> u32 {
        let ranks = solution.iter().filter_map(|index| self.deviations.get(*index));
        ranks.map(|deviation| u32::from(deviation.rank)).fold(0, u32::saturating_add)
    }

    /// The shortest solutions of each register: what takes one deviation is tried in all of them before anything else.
    fn solutions(&self, patience: &mut Patience) -> Vec<(PcrIndex, Vec<Solution>)> {
        let mut open: Vec<(PcrIndex, &Register, Touching)> = self
            .registers
            .iter()
            .map(|(pcr, register)| (*pcr, register, self.touching(*pcr, register)))
            .collect();
        open.sort_by_key(|(_, _, touching)| touching.few.len());
        let mut solutions = Vec::new();
        for depth in 1..=3_usize {
            open.retain(|(pcr, register, touching)| {
                let mut tries = patience.tries(register);
                let found = match depth {
                    1 => singles(register, touching, &mut tries),
                    2 => pairs(register, touching, &mut tries),
                    _ => triples(register, touching, &mut tries),
                };
                patience.charge(&tries);
                let is_open = found.is_empty();
                if !is_open {
                    solutions.push((*pcr, found));
                }
                is_open
            });
        }
        solutions
    }

    fn touching(&self, pcr: PcrIndex, register: &Register) -> Touching {
        let mut touching = Touching::default();
        for (index, deviation) in self.deviations.iter().enumerate() {
            let edits = deviation.edits.get(&pcr).and_then(|edits| register.prepare(edits));
            match edits {
                Some(edits) if deviation.alone => touching.alone.push((index, edits)),
                Some(edits) if deviation.many => touching.many.push((index, edits)),
                Some(edits) => touching.few.push((index, edits)),
                None => {}
            }
        }
        touching
    }
}

/// Deviations that move a register.
#[derive(Default)]
struct Touching {
    few: Vec<(usize, Prepared)>,
    many: Vec<(usize, Prepared)>,
    alone: Vec<(usize, Prepared)>,
}

/// Edits by position in the register.
struct Prepared {
    /// The first position that changes.
    first: usize,
    edits: Vec<Edit>,
}

/// Lists of digests that may still be tried for one register.
struct Tries {
    left: usize,
    given: usize,
    /// Extends that each costs at most.
    each: usize,
}

impl Tries {
    fn one(&mut self) -> bool {
        let enough = self.left > 0;
        self.left = self.left.saturating_sub(1);
        enough
    }
}

fn singles(register: &Register, touching: &Touching, tries: &mut Tries) -> Vec<Solution> {
    let mut found = Vec::new();
    for (index, edits) in touching.few.iter().chain(&touching.many).chain(&touching.alone) {
        if found.len() >= MAX_SOLUTIONS || !tries.one() {
            break;
        }
        if register.leads_to_target(&[edits], true) {
            found.push(vec![*index]);
        }
    }
    found
}

fn pairs(register: &Register, touching: &Touching, tries: &mut Tries) -> Vec<Solution> {
    let mut found = Vec::new();
    for (at, (one, edits)) in touching.few.iter().enumerate() {
        let behind = touching.few.get(at.saturating_add(1)..).unwrap_or_default();
        for (other, more) in behind.iter().chain(&touching.many) {
            if found.len() >= MAX_SOLUTIONS || !tries.one() {
                return found;
            }
            if register.leads_to_target(&[edits, more], false) {
                found.push(vec![*one, *other]);
            }
        }
    }
    found
}

fn triples(register: &Register, touching: &Touching, tries: &mut Tries) -> Vec<Solution> {
    let mut found = Vec::new();
    let few = &touching.few;
    for (at, (one, first)) in few.iter().enumerate() {
        let behind = few.get(at.saturating_add(1)..).unwrap_or_default();
        for (next, (other, second)) in behind.iter().enumerate() {
            for (last, third) in behind.get(next.saturating_add(1)..).unwrap_or_default() {
                if found.len() >= MAX_SOLUTIONS || !tries.one() {
                    return found;
                }
                if register.leads_to_target(&[first, second, third], false) {
                    found.push(vec![*one, *other, *last]);
                }
            }
        }
    }
    found
}

impl Register {
    /// The expected events, each with its index in the whole boot; what the register starts with; what was observed; what may
    /// have come later.
    pub(super) fn new(
        events: &[(usize, Digest)],
        start: Digest,
        target: Digest,
        tails: Vec<Vec<Digest>>,
    ) -> Self {
        let mut prefix = vec![start];
        let mut value = start;
        for (_, digest) in events {
            value = extend(value, *digest);
            prefix.push(value);
        }
        let (indices, digests) = events.iter().copied().unzip();
        Self { indices, digests, prefix, target, tails }
    }

    /// Extends that one list costs at most, with what may have come later.
    fn cost(&self) -> usize {
        let tails = self.tails.iter().map(Vec::len).fold(0, usize::saturating_add);
        self.digests.len().saturating_add(tails).saturating_add(1)
    }

    /// The same edits by position; `None` where one is about an event that is not in the list.
    fn prepare(&self, edits: &[Edit]) -> Option<Prepared> {
        let position = |index: &usize| self.indices.iter().position(|known| known == index);
        let mut first = self.digests.len();
        let mut prepared = Vec::with_capacity(edits.len());
        for edit in edits {
            let (edit, at) = match edit {
                Edit::Replace(index, digest) => (Edit::Replace(position(index)?, *digest), position(index)?),
                Edit::Remove(index) => (Edit::Remove(position(index)?), position(index)?),
                Edit::Before(index, digests) => {
                    (Edit::Before(position(index)?, digests.clone()), position(index)?)
                }
                Edit::Append(digests) => (Edit::Append(digests.clone()), self.digests.len()),
                Edit::Start(digest) => (Edit::Start(*digest), 0),
                Edit::Order(indices) if indices.len() == self.indices.len() => {
                    let order: Vec<usize> = indices.iter().map(position).collect::<Option<_>>()?;
                    let at = order.iter().enumerate().position(|(at, position)| at != *position)?;
                    (Edit::Order(order), at)
                }
                Edit::Order(_) => return None,
            };
            first = first.min(at);
            prepared.push(edit);
        }
        Some(Prepared { first, edits: prepared })
    }

    /// The events with these edits lead to what was observed. `thorough` tries all of what may have come later.
    fn leads_to_target(&self, sets: &[&Prepared], thorough: bool) -> bool {
        let Some(value) = self.value(sets) else { return false };
        if value == self.target {
            return true;
        }
        let tails = self.tails.iter().take(if thorough { usize::MAX } else { 6 });
        let after = |tail: &Vec<Digest>| tail.iter().fold(value, |value, digest| extend(value, *digest));
        tails.map(after).any(|value| value == self.target)
    }

    /// The value with these edits; `None` when two of them contradict each other.
    fn value(&self, sets: &[&Prepared]) -> Option<Digest> {
        let edits = || sets.iter().flat_map(|set| &set.edits);
        let mut orders = edits().filter_map(|edit| match edit {
            Edit::Order(order) => Some(order),
            _ => None,
        });
        let order = orders.next();
        if orders.next().is_some() {
            return None;
        }
        let first = sets.iter().map(|set| set.first).min()?;
        let start = edits().find_map(|edit| match edit {
            Edit::Start(start) => Some(*start),
            _ => None,
        });
        let mut value = start.or_else(|| self.prefix.get(first).copied())?;
        for at in first..self.digests.len() {
            let position = order.map_or(Some(at), |order| order.get(at).copied())?;
            let mut digest = self.digests.get(position).copied();
            let mut touched = false;
            for edit in edits() {
                match edit {
                    Edit::Before(index, digests) if *index == position => {
                        value = digests.iter().fold(value, |value, digest| extend(value, *digest));
                    }
                    Edit::Replace(index, _) | Edit::Remove(index) if *index == position && touched => {
                        return None;
                    }
                    Edit::Replace(index, other) if *index == position => {
                        digest = Some(*other);
                        touched = true;
                    }
                    Edit::Remove(index) if *index == position => {
                        digest = None;
                        touched = true;
                    }
                    _ => {}
                }
            }
            if let Some(digest) = digest {
                value = extend(value, digest);
            }
        }
        for edit in edits() {
            if let Edit::Append(digests) = edit {
                value = digests.iter().fold(value, |value, digest| extend(value, *digest));
            }
        }
        Some(value)
    }
}
