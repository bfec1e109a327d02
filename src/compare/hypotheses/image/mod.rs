//! What an image says about other boots of it: other profile, other entry, without addons, with Secure Boot.
//!
//! Every such boot is replayed as a prediction is. What it has in common with the expected one keeps its digests; what is
//! small and new is hashed at once for all of them; what is large (an initrd with other credentials) only for the few
//! boots whose small measurements already fit.

mod files;
mod measured;
mod toggles;

use std::collections::{BTreeMap, BTreeSet};

use super::deviation::Edit;
use super::whole::{Alternative, Reason};
use super::{Evidence, known_value};
use crate::boot::{BootChain, Content, Recording};
use crate::compare::causes::Code;
use crate::compare::model::{BY_STRENGTH, Candidate, Observation, Options};
use crate::hashing::{DigestPlan, StreamId};
use crate::prediction::{Recorded, Request, record};
use crate::tcg::{Digest, HashAlgorithm, PcrIndex};

use files::{padded, sbat};
use measured::candidate;
use toggles::{Toggle, toggles};

/// Streams up to this many bytes are hashed for every boot.
const SMALL: u64 = 1 << 20;
/// Bytes that are hashed for the boots that fit best.
const LARGE: u64 = 1 << 30;
/// Most boots that are replayed.
const MAX_BOOTS: usize = 400;
/// Most boots for which large streams are hashed.
const MAX_FINALISTS: usize = 4;

/// What the image of `request` says about a boot that does not have the values of `base`. `others` are the other entries of
/// its boot menu.
#[must_use]
pub fn evidence(
    request: &Request,
    others: &[Request],
    base: &Candidate,
    observation: &Observation,
    options: &Options,
) -> Evidence {
    let Some(bank) = bank(base, observation, options) else { return Evidence::default() };
    let request = &Request { banks: vec![bank], ..request.clone() };
    let mut work = Work { plan: DigestPlan::new(), digests: BTreeMap::new(), bank };
    let Ok(recorded) = record(request, &mut work.plan) else { return Evidence::default() };
    let Some(expected) = recorded_as(&recorded, base) else { return Evidence::default() };
    work.adopt(expected, base);
    let mut boots = alternatives(request, expected, base.secure_boot, &mut work.plan);
    for other in others {
        let Ok(recorded) = record(other, &mut work.plan) else { continue };
        let entry = other.entry.clone().unwrap_or_default();
        let detail = format!("the boot entry {entry} was started");
        boots.extend(recorded.into_iter().map(|boot| Boot {
            reasons: vec![Reason::new(Code::Entry, detail.clone())],
            chain: other.chain.clone(),
            boot,
        }));
    }
    // The recorded boots of the request itself that are not the base are variants of the document: known already.
    let mut deviations = padded(&request.chain, base, &mut work.plan);
    deviations.extend(sbat(&request.chain, base, &mut work.plan));
    let small: Vec<StreamId> = boots
        .iter()
        .flat_map(|boot| streams(&boot.boot.0))
        .filter(|stream| work.plan.length(*stream) <= SMALL)
        .collect();
    work.compute(small);
    work.compute(deviations.iter().map(|(_, stream)| *stream).collect());
    let mut alternatives: Vec<(usize, Alternative)> =
        boots.iter().enumerate().map(|(index, boot)| (index, boot.alternative(&work))).collect();
    alternatives.sort_by_key(|(_, alternative)| misfit(alternative, observation, bank, options));
    let finalists: Vec<usize> = alternatives.iter().take(MAX_FINALISTS).map(|(index, _)| *index).collect();
    let mut left = LARGE;
    for index in &finalists {
        let Some(boot) = boots.get(*index) else { continue };
        let large: Vec<StreamId> =
            streams(&boot.boot.0).filter(|stream| !work.digests.contains_key(stream)).collect();
        let bytes = large.iter().map(|stream| work.plan.length(*stream)).fold(0, u64::saturating_add);
        if bytes <= left {
            left = left.saturating_sub(bytes);
            work.compute(large);
        }
    }
    for (index, alternative) in &mut alternatives {
        if let Some(boot) = boots.get(*index).filter(|_| finalists.contains(index)) {
            *alternative = boot.alternative(&work);
        }
    }
    let deviations = deviations.into_iter().filter_map(|((deviation, pcr, event), stream)| {
        Some(deviation.with(pcr, Edit::Replace(event, *work.digests.get(&stream)?)))
    });
    Evidence {
        alternatives: alternatives.into_iter().map(|(_, alternative)| alternative).collect(),
        deviations: deviations.collect(),
    }
}

/// The strongest bank of both sides.
fn bank(base: &Candidate, observation: &Observation, options: &Options) -> Option<HashAlgorithm> {
    let ours = base.banks();
    BY_STRENGTH.into_iter().find(|bank| {
        let wanted = options.banks.is_empty() || options.banks.contains(bank);
        wanted && ours.contains(bank) && observation.values.banks().any(|(other, _)| other == *bank)
    })
}

/// Registers whose value is known and another one, less those that agree: the smaller, the better.
fn misfit(
    alternative: &Alternative,
    observation: &Observation,
    bank: HashAlgorithm,
    options: &Options,
) -> (usize, usize) {
    let stage = options.stage.unwrap_or_default();
    let (mut differ, mut agree) = (0_usize, 0_usize);
    for (pcr, expected) in &alternative.candidate.pcrs {
        let Some(observed) = observation.values.get(bank, *pcr) else { continue };
        match known_value(expected, bank, stage) {
            Some(value) if value == observed => agree = agree.saturating_add(1),
            Some(_) => differ = differ.saturating_add(1),
            None => {}
        }
    }
    (differ.saturating_add(usize::MAX / 2).saturating_sub(agree), alternative.reasons.len())
}

/// The recorded boot that the expected one is: its measurements are the expected events.
fn recorded_as<'r>(recorded: &'r [Recorded], base: &Candidate) -> Option<&'r Recording> {
    let events = base.events.as_ref()?;
    let is_base = |recording: &&Recording| {
        let mut pairs = recording.measurements.iter().zip(events);
        recording.measurements.len() == events.len()
            && pairs.all(|(ours, theirs)| ours.pcr == theirs.pcr && ours.description == theirs.what)
    };
    let same_state = |boot: &&Recorded| boot.2 == base.secure_boot;
    recorded.iter().filter(same_state).map(|(recording, ..)| recording).find(is_base)
}

/// The streams and their digests, as far as they are known.
struct Work {
    plan: DigestPlan,
    digests: BTreeMap<StreamId, Digest>,
    bank: HashAlgorithm,
}

impl Work {
    /// Takes over the digests of the expected boot.
    fn adopt(&mut self, recording: &Recording, base: &Candidate) {
        let events = base.events.iter().flatten();
        for (measurement, event) in recording.measurements.iter().zip(events) {
            if let (Content::Stream(stream), Some(digest)) =
                (measurement.content, event.digests.get(self.bank))
            {
                self.digests.insert(stream, digest);
            }
        }
    }

    /// Hashes streams that are not known. A file that can't be read leaves them unknown.
    fn compute(&mut self, streams: Vec<StreamId>) {
        let new: BTreeSet<StreamId> =
            streams.into_iter().filter(|stream| !self.digests.contains_key(stream)).collect();
        let (plan, names) = self.plan.subset(new);
        let Ok(digests) = plan.compute(&[self.bank], &|_| ()) else { return };
        for (stream, name) in names {
            if let Some(digest) = digests.get(name).and_then(|digests| digests.get(self.bank)) {
                self.digests.insert(stream, digest);
            }
        }
    }
}

/// A boot that may have happened instead.
struct Boot {
    reasons: Vec<Reason>,
    chain: BootChain,
    boot: Recorded,
}

fn streams(recording: &Recording) -> impl Iterator<Item = StreamId> {
    recording.measurements.iter().filter_map(|measurement| match measurement.content {
        Content::Stream(stream) => Some(stream),
        Content::Observed(_) | Content::Unknown(_) => None,
    })
}

/// Every change alone, and those of different groups by twos and threes.
fn alternatives(
    request: &Request,
    base: &Recording,
    secure_boot: Option<bool>,
    plan: &mut DigestPlan,
) -> Vec<Boot> {
    let toggles = toggles(request);
    let mut sets: Vec<Vec<&Toggle>> = toggles.iter().map(|toggle| vec![toggle]).collect();
    let (mut start, mut end) = (0, sets.len());
    let together: Vec<&Toggle> =
        toggles.iter().filter(|toggle| !matches!(toggle.code, Code::Stub | Code::Kernel)).collect();
    for _ in 2..=3 {
        for set in start..end {
            for toggle in &together {
                let Some(known) = sets.get(set) else { continue };
                // Ascending groups: each set comes once.
                if sets.len() < MAX_BOOTS && known.last().is_some_and(|last| last.group < toggle.group) {
                    let larger = [known.as_slice(), &[*toggle]].concat();
                    sets.push(larger);
                }
            }
        }
        (start, end) = (end, sets.len());
    }
    let mut moved: BTreeMap<&str, Vec<PcrIndex>> = BTreeMap::new();
    let mut boots = Vec::new();
    for set in sets {
        let mut changed = request.clone();
        set.iter().for_each(|toggle| toggle.change.apply(&mut changed));
        let Ok(recorded) = record(&changed, plan) else { continue };
        let same = recorded.iter().find(|boot| boot.2 == secure_boot).or(recorded.first());
        if let ([toggle], Some((recording, ..))) = (set.as_slice(), same) {
            moved.insert(&toggle.detail, moves(base, recording));
        }
        let reason = |toggle: &&Toggle| Reason {
            moves: moved.get(toggle.detail.as_str()).cloned(),
            ..Reason::new(toggle.code, &*toggle.detail)
        };
        let reasons: Vec<Reason> = set.iter().map(reason).collect();
        for boot in recorded {
            let mut reasons = reasons.clone();
            // Where nobody decided about Secure Boot, each boot comes in both states.
            if let (Some(expected), Some(state)) = (secure_boot, boot.2)
                && expected != state
                && !reasons.iter().any(|reason| reason.code == Code::SecureBoot)
            {
                let detail = format!("Secure Boot is {}", if state { "on" } else { "off" });
                reasons.push(Reason::new(Code::SecureBoot, detail));
            }
            boots.push(Boot { reasons, chain: changed.chain.clone(), boot });
        }
    }
    boots
}

/// The registers into which two boots measure something else.
fn moves(one: &Recording, other: &Recording) -> Vec<PcrIndex> {
    let of = |recording: &Recording, pcr: PcrIndex| -> Vec<Content> {
        let measurements = recording.measurements.iter().filter(|measurement| measurement.pcr == pcr);
        measurements.map(|measurement| measurement.content).collect()
    };
    PcrIndex::all().filter(|pcr| of(one, *pcr) != of(other, *pcr)).collect()
}

impl Boot {
    fn alternative(&self, work: &Work) -> Alternative {
        Alternative { candidate: candidate(&self.boot, &self.chain, work), reasons: self.reasons.clone() }
    }
}
