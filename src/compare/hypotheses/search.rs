//! Which deviations lead to the observed values: alone, then two, then three together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::deviation::{Deviation, Edit};
use crate::tcg::{Digest, PcrIndex, extend};

/// Most lists of digests that are tried for one register.
const MAX_TRIES: usize = 60_000;
/// Most solutions of one register that are kept, to find those that explain others too.
const MAX_SOLUTIONS: usize = 16;

/// One register whose value differs.
pub(super) struct Register {
    /// The expected events, each with its index in the whole boot.
    pub(super) events: Vec<(usize, Digest)>,
    /// What it starts with.
    pub(super) start: Digest,
    /// What was observed.
    pub(super) target: Digest,
    /// What may have come later.
    pub(super) tails: Vec<Vec<Digest>>,
}

pub(super) struct Search<'s> {
    pub(super) registers: &'s BTreeMap<PcrIndex, Register>,
    pub(super) deviations: &'s [Deviation],
    pub(super) deadline: Option<Instant>,
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
    /// Solves every register, and takes of each the solution that needs least beyond what others need.
    pub(super) fn run(&self) -> Solved {
        let mut solutions: Vec<(PcrIndex, Vec<Solution>)> =
            self.registers.iter().map(|(pcr, register)| (*pcr, self.solve(*pcr, register))).collect();
        solutions.retain(|(_, found)| !found.is_empty());
        // A solution that occurs in several registers is the likely one.
        let mut uses: BTreeMap<usize, usize> = BTreeMap::new();
        for (_, found) in &solutions {
            let distinct: BTreeSet<usize> = found.iter().flatten().copied().collect();
            for deviation in distinct {
                let count = uses.entry(deviation).or_default();
                *count = count.saturating_add(1);
            }
        }
        solutions.sort_by_key(|(_, found)| found.len());
        let mut solved = Solved::default();
        for (pcr, found) in solutions {
            let cost = |solution: &&Solution| {
                let new = solution.iter().filter(|deviation| !solved.used.contains_key(*deviation)).count();
                let shared: usize = solution
                    .iter()
                    .filter_map(|deviation| uses.get(deviation))
                    .fold(0, |a, b| a.saturating_add(*b));
                (new, self.rank(solution), usize::MAX.saturating_sub(shared))
            };
            if let Some(solution) = found.iter().min_by_key(cost) {
                let solution = solution.clone();
                for deviation in solution {
                    solved.used.entry(deviation).or_default().push(pcr);
                }
                solved.pcrs.push(pcr);
            }
        }
        solved
    }

    fn rank(&self, solution: &[usize]) -> u32 {
        let ranks = solution.iter().filter_map(|index| self.deviations.get(*index));
        ranks.map(|deviation| u32::from(deviation.rank)).fold(0, u32::saturating_add)
    }

    /// The shortest solutions of one register.
    fn solve(&self, pcr: PcrIndex, register: &Register) -> Vec<Solution> {
        let touching = |many: bool| -> Vec<(usize, &[Edit])> {
            let all = self.deviations.iter().enumerate().filter(|(_, deviation)| !deviation.many || many);
            all.filter_map(|(index, deviation)| Some((index, deviation.edits.get(&pcr)?.as_slice())))
                .collect()
        };
        let (all, few) = (touching(true), touching(false));
        let mut tries = Tries { left: MAX_TRIES, deadline: self.deadline };
        for depth in 1..=3_usize {
            let found = match depth {
                1 => singles(register, &all, &mut tries),
                2 => pairs(register, &few, &all, &mut tries),
                _ => triples(register, &few, &mut tries),
            };
            if !found.is_empty() || tries.is_over() {
                return found;
            }
        }
        Vec::new()
    }
}

/// What is left of the patience.
struct Tries {
    left: usize,
    deadline: Option<Instant>,
}

impl Tries {
    fn is_over(&self) -> bool {
        self.left == 0
    }

    fn one(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        if self.left.is_multiple_of(256) && self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            self.left = 0;
        }
        self.left > 0
    }
}

type Touching<'d> = (usize, &'d [Edit]);

fn singles(register: &Register, all: &[Touching<'_>], tries: &mut Tries) -> Vec<Solution> {
    let mut found = Vec::new();
    for (index, edits) in all {
        if found.len() >= MAX_SOLUTIONS || !tries.one() {
            break;
        }
        if register.leads_to_target(&[edits], true) {
            found.push(vec![*index]);
        }
    }
    found
}

fn pairs(
    register: &Register,
    few: &[Touching<'_>],
    all: &[Touching<'_>],
    tries: &mut Tries,
) -> Vec<Solution> {
    let mut found = Vec::new();
    for (one, edits) in few {
        for (other, more) in all.iter().filter(|(other, _)| {
            // Pairs of two of the few come once.
            other > one || !few.iter().any(|(index, _)| index == other)
        }) {
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

fn triples(register: &Register, few: &[Touching<'_>], tries: &mut Tries) -> Vec<Solution> {
    let mut found = Vec::new();
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
    /// The events with these edits lead to what was observed. `thorough` also tries what may have come later.
    fn leads_to_target(&self, edits: &[&[Edit]], thorough: bool) -> bool {
        let Some((start, digests)) = self.edited(edits) else { return false };
        let value = digests.iter().fold(start, |value, digest| extend(value, *digest));
        if value == self.target {
            return true;
        }
        let tails = self.tails.iter().take(if thorough { usize::MAX } else { 6 });
        let after = |tail: &Vec<Digest>| tail.iter().fold(value, |value, digest| extend(value, *digest));
        tails.map(after).any(|value| value == self.target)
    }

    /// The list of digests; `None` when two edits contradict each other or change nothing.
    fn edited(&self, edits: &[&[Edit]]) -> Option<(Digest, Vec<Digest>)> {
        let mut start = self.start;
        let mut order: Vec<usize> = self.events.iter().map(|(index, _)| *index).collect();
        let mut values: BTreeMap<usize, Option<Digest>> =
            self.events.iter().map(|(index, digest)| (*index, Some(*digest))).collect();
        let mut before: BTreeMap<usize, Vec<Digest>> = BTreeMap::new();
        let mut touched = BTreeSet::new();
        let (mut behind, mut reordered): (Vec<Digest>, bool) = (Vec::new(), false);
        for edit in edits.iter().flat_map(|edits| edits.iter()) {
            match edit {
                Edit::Replace(index, digest) => {
                    let fresh = touched.insert(*index);
                    *values.get_mut(index).filter(|_| fresh)? = Some(*digest);
                }
                Edit::Remove(index) => {
                    let fresh = touched.insert(*index);
                    *values.get_mut(index).filter(|_| fresh)? = None;
                }
                Edit::Before(index, digests) => before.entry(*index).or_default().extend(digests),
                Edit::Append(digests) => behind.extend(digests),
                Edit::Start(digest) => start = *digest,
                Edit::Order(indices) if reordered || indices.len() != order.len() => return None,
                Edit::Order(indices) => {
                    order.clone_from(indices);
                    reordered = true;
                }
            }
        }
        let mut digests = Vec::with_capacity(order.len());
        for index in order {
            digests.extend(before.remove(&index).unwrap_or_default());
            digests.extend(values.remove(&index)?);
        }
        digests.extend(behind);
        Some((start, digests))
    }
}
