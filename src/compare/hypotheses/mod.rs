//! Deviations that reproduce an observed value exactly: with PCR values alone, too.
//!
//! A hypothesis is an edit of the expected list of digests: an event gone, another one in its place, one more. Each family
//! of them has a file; a family only states what would have been measured otherwise, in which registers. `search` tries
//! them, alone and up to three together, register by register: nothing is hashed again but digests. Whole boots that may
//! have happened instead (other profile, other boot entry, no addons) come as [`Alternative`]s; those of an image are
//! made by [`image`], which hashes what is new once, for all of them.
//!
//! A deviation that would move a register which has its expected value is not tried: it did not happen.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod companions;
mod deviation;
mod disk;
mod firmware;
pub mod image;
mod options;
mod search;
mod sections;
mod secure_boot;
mod stages;
mod whole;

use std::collections::BTreeMap;

use super::causes::{Cause, Code};
use super::model::{Candidate, Event, ExpectedPcr};
use super::nearest::Pair;
use crate::boot::Stage;
use crate::tcg::eventlog::Pcr0Start;
use crate::tcg::words::sequences;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, extend};

pub use deviation::{Deviation, Edit};
pub use whole::{Alternative, Reason};

use search::{Patience, Register, Search};

/// What an image says beyond its prediction.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Boots that may have happened instead.
    pub alternatives: Vec<Alternative>,
    /// Deviations of the nearest variant.
    pub deviations: Vec<Deviation>,
}

/// Extends after which the search ends, whatever was found: well below two seconds, and the same on every machine.
const MAX_EXTENDS: usize = 6_000_000;

/// Most alternatives that the search goes on from.
const MAX_BASES: usize = 4;

/// What a family knows.
pub(super) struct Facts<'a> {
    pub(super) events: &'a [Event],
    pub(super) bank: HashAlgorithm,
    stage: Stage,
    /// Updates of dbx: name and signature lists.
    pub(super) dbx_updates: &'a [(String, Vec<u8>)],
}

impl Facts<'_> {
    /// Events of one register, up to the stage that is compared, with their indices.
    pub(super) fn of(&self, pcr: u8) -> impl Iterator<Item = (usize, &Event)> {
        let events = self.events.iter().enumerate();
        events.filter(move |(_, event)| {
            event.pcr.get() == pcr && event.stage.is_none_or(|stage| stage <= self.stage)
        })
    }

    /// All events up to the stage that is compared, with their indices.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &Event)> {
        let events = self.events.iter().enumerate();
        events.filter(|(_, event)| event.stage.is_none_or(|stage| stage <= self.stage))
    }

    pub(super) fn hash(&self, bytes: &[u8]) -> Digest {
        Digest::of(self.bank, bytes)
    }
}

/// What explains the differing registers, as far as anything does.
pub(super) fn explain(
    pair: &Pair<'_>,
    differing: &[PcrIndex],
    evidence: Evidence,
    siblings: &[Candidate],
) -> Explanation {
    // Half is for other boots than the expected one.
    let mut patience = Patience::new(MAX_EXTENDS / 2);
    let mut alternatives = evidence.alternatives;
    alternatives.extend(whole::siblings(pair.candidate, siblings));
    let mut best = explain_from(pair, pair.candidate, &[], differing, &evidence.deviations, &mut patience);
    let mut rest = Patience::new(MAX_EXTENDS / 2);
    let unexplained = |found: &Explained| differing.iter().filter(|pcr| !found.pcrs.contains(pcr)).count();
    for alternative in whole::nearest(pair, differing, &alternatives, MAX_BASES) {
        if best.pcrs.len() == differing.len() && best.causes.len() <= alternative.reasons.len() {
            continue;
        }
        let found =
            explain_from(pair, &alternative.candidate, &alternative.reasons, differing, &[], &mut rest);
        if (unexplained(&found), found.causes.len()) < (unexplained(&best), best.causes.len()) {
            best = found;
        }
    }
    if pair.observation.events.is_none() {
        never_extended(pair, differing, &mut best);
    }
    for cause in &mut best.causes {
        cause.pcrs.sort_unstable();
    }
    Explanation { causes: best.causes, complete: !patience.exhausted && !rest.exhausted }
}

/// What was found.
pub(super) struct Explanation {
    pub(super) causes: Vec<Cause>,
    /// Everything was tried.
    pub(super) complete: bool,
}

/// Causes, and the registers that they explain.
#[derive(Default)]
struct Explained {
    causes: Vec<Cause>,
    pcrs: Vec<PcrIndex>,
}

/// Explains the registers from one boot: what of them it explains by itself, and what deviations of it explain.
fn explain_from(
    pair: &Pair<'_>,
    candidate: &Candidate,
    reasons: &[Reason],
    differing: &[PcrIndex],
    extra: &[Deviation],
    patience: &mut Patience,
) -> Explained {
    let judged = |pcr: &PcrIndex| pair.would_match(candidate, *pcr);
    let (by_itself, open): (Vec<PcrIndex>, Vec<PcrIndex>) = differing.iter().partition(|pcr| judged(pcr));
    let Some(events) = &candidate.events else {
        return Explained { causes: whole::causes(reasons, &by_itself, &open), pcrs: by_itself };
    };
    let facts = Facts {
        events,
        bank: pair.bank,
        stage: pair.options.stage.unwrap_or_default(),
        dbx_updates: &pair.options.dbx_updates,
    };
    let mut deviations = deviations(&facts, pair);
    deviations.extend_from_slice(extra);
    // It did not happen if it moves a register that has its value.
    let holds = |pcr: &PcrIndex| !open.contains(pcr) && pair.would_match(candidate, *pcr);
    deviations.retain(|deviation| !deviation.edits.keys().any(&holds));
    // A register that holds its start value lost more than one measurement by chance.
    deviations.retain(|deviation| {
        deviation.code != Code::NotMeasured || !deviation.edits.keys().any(|pcr| is_at_start(pair, *pcr))
    });
    let registers: BTreeMap<PcrIndex, Register> =
        open.iter().filter_map(|pcr| Some((*pcr, register(&facts, pair, candidate, *pcr)?))).collect();
    let solved = Search { registers: &registers, deviations: &deviations }.run(patience);
    let pcrs: Vec<PcrIndex> = by_itself.into_iter().chain(solved.pcrs).collect();
    let unexplained: Vec<PcrIndex> = differing.iter().filter(|pcr| !pcrs.contains(pcr)).copied().collect();
    // Without the alternative's own deviations those that are added lead nowhere.
    let mut found = Explained { causes: whole::causes(reasons, &pcrs, &unexplained), pcrs };
    for (index, pcrs) in solved.used {
        let Some(deviation) = deviations.get(index) else { continue };
        let moved = deviation.edits.keys().filter(|pcr| unexplained.contains(pcr)).copied();
        merge(&mut found.causes, cause(deviation.code, &deviation.detail, pcrs, moved.collect()));
    }
    share_doubts(&mut found.causes);
    found
}

/// What leads to a value only together with something that may be a coincidence may be one, too.
fn share_doubts(causes: &mut [Cause]) {
    let doubtful: Vec<PcrIndex> = causes
        .iter()
        .filter(|cause| !cause.explains_exactly)
        .flat_map(|cause| cause.pcrs.iter().copied())
        .collect();
    for cause in causes {
        cause.explains_exactly &= !cause.pcrs.iter().any(|pcr| doubtful.contains(pcr));
    }
}

/// A cause of these registers. Where it moves others too, whose values nothing explains, it may be a coincidence.
fn cause(code: Code, detail: &str, pcrs: Vec<PcrIndex>, unexplained: Vec<PcrIndex>) -> Cause {
    let mut detail = detail.to_owned();
    if !unexplained.is_empty() {
        let others: Vec<String> = unexplained.iter().map(ToString::to_string).collect();
        detail.push_str(&format!(
            " (it leads to this value, but would move PCR {} too, of which nothing explains the value)",
            others.join(", ")
        ));
    }
    Cause { code, pcrs, explains_exactly: unexplained.is_empty(), detail }
}

/// Adds a cause; one of the same code and detail gets its registers.
pub(super) fn merge(causes: &mut Vec<Cause>, cause: Cause) {
    match causes.iter_mut().find(|known| known.code == cause.code && known.detail == cause.detail) {
        Some(known) => {
            known.pcrs.extend(cause.pcrs);
            known.pcrs.sort_unstable();
            known.pcrs.dedup();
        }
        None => causes.push(cause),
    }
}

/// A family: what it would have measured otherwise.
type Family = fn(&Facts<'_>) -> Vec<Deviation>;

/// Families that tell what an event's data can't: which bytes would have the digest.
const OF_DIGESTS: &[Family] = &[sections::deviations];
/// Families that a log makes superfluous: it shows what happened.
const OF_EVENTS: &[Family] = &[
    firmware::deviations,
    secure_boot::deviations,
    companions::deviations,
    options::deviations,
    disk::deviations,
    firmware::single,
];

fn deviations(facts: &Facts<'_>, pair: &Pair<'_>) -> Vec<Deviation> {
    let of_events = if pair.observation.events.is_some() { &[] } else { OF_EVENTS };
    let families = OF_DIGESTS.iter().chain(of_events);
    let mut all: Vec<Deviation> = families.flat_map(|family| family(facts)).collect();
    if pair.options.stage.is_some() {
        all.extend(stages::deviations(facts));
    }
    all
}

/// The expected list of one register, and the value that it should lead to; `None` where something in it is not known.
fn register(facts: &Facts<'_>, pair: &Pair<'_>, candidate: &Candidate, pcr: PcrIndex) -> Option<Register> {
    let target = pair.observation.values.get(facts.bank, pcr)?;
    let events: Vec<(usize, Digest)> = facts
        .of(pcr.get())
        .map(|(index, event)| Some((index, event.digests.get(facts.bank)?)))
        .collect::<Option<_>>()?;
    let start = start_value(facts, candidate.pcrs.get(&pcr), pcr, &events)?;
    let tails = if pair.options.stage.is_some() { Vec::new() } else { tails(facts, pcr) };
    Some(Register::new(&events, start, target, tails))
}

/// What is known to come later, as lists of digests: what the boot itself goes on with, and words.
fn tails(facts: &Facts<'_>, pcr: PcrIndex) -> Vec<Vec<Digest>> {
    let ahead = facts.events.iter().filter(|event| event.pcr == pcr);
    let ahead = ahead.filter(|event| event.stage.is_some_and(|stage| stage > facts.stage));
    let mut tails = Vec::new();
    let mut tail = Vec::new();
    for event in ahead {
        let Some(digest) = event.digests.get(facts.bank) else { break };
        tail.push(digest);
        tails.push(tail.clone());
    }
    // Kernels without the final events table lose what firmware measures at the end, but a prediction has it.
    if tails.is_empty() {
        let words = sequences(pcr);
        let words = words.iter().filter(|words| words.len() <= 2);
        tails.extend(words.map(|words| words.iter().map(|word| facts.hash(word.as_bytes())).collect()));
    }
    tails.truncate(12);
    tails
}

fn is_at_start(pair: &Pair<'_>, pcr: PcrIndex) -> bool {
    pair.observation.values.get(pair.bank, pcr) == Some(pcr.start_value(pair.bank))
}

/// Registers that hold their start value, where nothing better explains them.
fn never_extended(pair: &Pair<'_>, differing: &[PcrIndex], found: &mut Explained) {
    let is_start = |pcr: &&PcrIndex| !found.pcrs.contains(pcr) && is_at_start(pair, **pcr);
    let pcrs: Vec<PcrIndex> = differing.iter().filter(is_start).copied().collect();
    if pcrs.is_empty() {
        return;
    }
    found.pcrs.extend(&pcrs);
    let detail = "the register holds its start value: nothing was measured into it".to_owned();
    found.causes.push(Cause { code: Code::NeverExtended, pcrs, explains_exactly: true, detail });
}

/// What a register started with: its events lead from there to its expected value. PCR 0 depends on the TPM's locality.
fn start_value(
    facts: &Facts<'_>,
    expected: Option<&ExpectedPcr>,
    pcr: PcrIndex,
    events: &[(usize, Digest)],
) -> Option<Digest> {
    let plain = pcr.start_value(facts.bank);
    let Some(value) = expected.and_then(|expected| known_value(expected, facts.bank, facts.stage)) else {
        return Some(plain);
    };
    let localities = [3, 4].map(|locality| Pcr0Start::StartupLocality(locality).value(facts.bank));
    let others = localities.into_iter().filter(|_| pcr.get() == 0);
    let leads_there =
        |start: &Digest| events.iter().fold(*start, |value, (_, digest)| extend(value, *digest)) == value;
    [plain].into_iter().chain(others).find(leads_there)
}

/// The value of a register at the stage, if all of it is known.
fn known_value(expected: &ExpectedPcr, bank: HashAlgorithm, stage: Stage) -> Option<Digest> {
    match expected.at(stage, bank) {
        Some(value) => Some(value),
        None => expected.values.iter().find(|value| value.stage.is_none())?.digests.get(bank),
    }
}
