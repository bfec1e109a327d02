//! The comparison itself: the nearest variant, then its values, events and causes.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::CompareError;
use super::align::{AlignedEvent, EventStatus, align};
use super::causes::{Cause, Code};
use super::changes::command_lines;
use super::classify;
use super::hypotheses::{self, Evidence};
use super::model::{BY_STRENGTH, Candidate, Event, Expectation, Observation, Options};
use super::report::{
    BankVerdict, Comparison, Divergence, EventRow, ExpectedSide, GapText, Generator, KIND, ObservedSide,
    PcrVerdict, SCHEMA_VERSION,
};
use super::verdict::{Judged, Verdict, judge};
use crate::tcg::eventlog::{MeasurementRegister, RegisterKind};
use crate::tcg::words::{extend_all, sequences};
use crate::tcg::{Digest, HashAlgorithm, PcrIndex};

/// Variants that are equally near by their values are told apart by their events, as long as they are not more.
const MAX_ALIGNED: usize = 16;

/// Compares what is expected with what was observed; of several observations (the variants of a prediction) the nearest
/// one counts. `evidence` is asked for when something differs: what the image itself says about other boots, see [`hypotheses`].
///
/// # Errors
/// [`CompareError`].
pub fn compare(
    expectation: &Expectation,
    observations: &[Observation],
    options: &Options,
    evidence: &dyn Fn(&Candidate, &Observation) -> Evidence,
) -> Result<Comparison, CompareError> {
    if let Some(other) = observations.iter().find(|observed| observed.registers != expectation.registers) {
        let (expected, observed) = (expectation.registers, other.registers);
        return Err(CompareError::OtherRegisters { expected, observed });
    }
    let (candidate, observation) = nearest(expectation, observations, options)?;
    let banks = common_banks(candidate, observation, options);
    let Some(bank) = banks.first().copied() else { return Err(no_common_bank(expectation, observations)) };
    let pair = Pair { candidate, observation, banks, bank, options };
    let rows = pair.rows();
    let mut pcrs = pair.verdicts();
    pair.hold_against_events(&mut pcrs, &rows);
    refuse_nothing_in_common(&pcrs, observation)?;
    let (mut causes, mut complete) = (Vec::new(), true);
    let differing: Vec<PcrIndex> =
        pcrs.iter().filter(|pcr| pcr.verdict == Verdict::Differs).map(|pcr| pcr.index).collect();
    // What differences mean is known of PCRs: there each kind of measurement has a register of its own.
    if !differing.is_empty() && observation.registers == RegisterKind::Pcr {
        (causes, complete) = pair.explain(&rows, &differing, evidence, &expectation.candidates);
    }
    let explained: BTreeSet<PcrIndex> = causes.iter().flat_map(|cause| cause.pcrs.iter().copied()).collect();
    let unexplained: Vec<u8> =
        differing.iter().filter(|pcr| !explained.contains(pcr)).map(|pcr| pcr.get()).collect();
    let mut notes = observation.notes.clone();
    if !unexplained.is_empty() && !complete {
        notes.push("not every combination of causes was tried: there are too many".to_owned());
    }
    notes.extend(unobserved(&pcrs));
    notes.extend(pair.relabelled(&rows));
    causes.extend(pair.log_against_registers(&mut notes));
    let texts = match (&candidate.events, &observation.events) {
        (Some(ours), Some(theirs)) => command_lines(Some(ours), theirs),
        _ => Vec::new(),
    };
    let sides =
        (candidate.events.as_deref().unwrap_or_default(), observation.events.as_deref().unwrap_or_default());
    let events: Vec<EventRow> = rows.iter().map(|row| EventRow::of(row, sides, pair.bank, &texts)).collect();
    Ok(Comparison {
        schema_version: SCHEMA_VERSION,
        kind: KIND,
        generator: Generator::SELF,
        equal: !pcrs.iter().any(|pcr| pcr.verdict == Verdict::Differs && !pcr.warn_only),
        expected: ExpectedSide {
            name: expectation.name.clone(),
            kind: expectation.kind,
            format: expectation.format.clone(),
            variant: candidate.id.clone(),
            image: candidate.image.clone(),
            scenario: candidate.scenario.clone(),
            variants: expectation.candidates.len(),
        },
        observed: ObservedSide {
            names: observation.names.clone(),
            kind: observation.kind,
            formats: observation.formats.clone(),
        },
        registers: (observation.registers == RegisterKind::Mr).then_some("rtmr"),
        stage: options.stage.unwrap_or_default().name(),
        stage_fixed: options.stage.is_some(),
        bank: pair.bank.name(),
        first_divergence: divergence(&events, &pcrs),
        pcrs,
        causes,
        unexplained,
        events,
        notes,
    })
}

/// Registers that are predicted and of which nothing was observed: they are not known to be equal.
fn unobserved(pcrs: &[PcrVerdict]) -> Option<String> {
    let is_predicted = |pcr: &&PcrVerdict| pcr.banks.iter().any(|bank| bank.expected.is_some());
    let missing = pcrs.iter().filter(|pcr| pcr.verdict == Verdict::NotObserved).filter(is_predicted);
    let missing: Vec<String> = missing.map(|pcr| pcr.index.get().to_string()).collect();
    (!missing.is_empty()).then(|| format!("predicted, and not observed: {}", missing.join(", ")))
}

/// Where no register could be judged, nothing is equal.
fn refuse_nothing_in_common(pcrs: &[PcrVerdict], observation: &Observation) -> Result<(), CompareError> {
    let judged = |pcr: &PcrVerdict| !matches!(pcr.verdict, Verdict::NotObserved | Verdict::NotPredicted);
    if pcrs.iter().any(judged) {
        return Ok(());
    }
    let observed: BTreeSet<PcrIndex> =
        observation.values.banks().flat_map(|(_, values)| values.keys().copied()).collect();
    let observed: Vec<String> = observed.iter().map(|pcr| pcr.get().to_string()).collect();
    Err(CompareError::NothingInCommon { observed: observed.join(", ") })
}

/// The register's name in documents.
fn register_name(kind: RegisterKind, register: PcrIndex) -> &'static str {
    match (kind, MeasurementRegister::try_from(u32::from(register.get()))) {
        (RegisterKind::Pcr, _) => register.name(),
        (RegisterKind::Mr, Ok(register)) => register.name(),
        (RegisterKind::Mr, Err(_)) => "",
    }
}

/// Banks of both sides, the strongest first.
fn common_banks(candidate: &Candidate, observation: &Observation, options: &Options) -> Vec<HashAlgorithm> {
    let expected = candidate.banks();
    let observed: Vec<HashAlgorithm> = observation.values.banks().map(|(bank, _)| bank).collect();
    let wanted = |bank: &HashAlgorithm| options.banks.is_empty() || options.banks.contains(bank);
    let common = |bank: &HashAlgorithm| expected.contains(bank) && observed.contains(bank) && wanted(bank);
    BY_STRENGTH.into_iter().filter(common).collect()
}

fn no_common_bank(expectation: &Expectation, observations: &[Observation]) -> CompareError {
    let list = |banks: BTreeSet<HashAlgorithm>| match banks.is_empty() {
        true => "none".to_owned(),
        false => banks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let observed = observations.iter().flat_map(|observation| observation.values.banks());
    CompareError::NoCommonBank {
        expected: list(expectation.candidates.iter().flat_map(Candidate::banks).collect()),
        observed: list(observed.map(|(bank, _)| bank).collect()),
    }
}

/// The variant that differs in the fewest PCRs, then in the fewest events; of equals the one that matches most.
fn nearest<'a>(
    expectation: &'a Expectation,
    observations: &'a [Observation],
    options: &'a Options,
) -> Result<(&'a Candidate, &'a Observation), CompareError> {
    if expectation.candidates.is_empty() {
        return Err(CompareError::NothingExpected);
    }
    if observations.is_empty() {
        return Err(CompareError::NothingObserved);
    }
    let pairs = expectation
        .candidates
        .iter()
        .flat_map(|candidate| observations.iter().map(move |observation| (candidate, observation)));
    let mut scored = Vec::new();
    for (candidate, observation) in pairs {
        let banks = common_banks(candidate, observation, options);
        let Some(bank) = banks.first().copied() else { continue };
        let pair = Pair { candidate, observation, banks, bank, options };
        scored.push((pair.distance(), pair));
    }
    let Some(best) = scored.iter().map(|(distance, _)| *distance).min() else {
        return Err(no_common_bank(expectation, observations));
    };
    let mut ties = scored.into_iter().filter(|(distance, _)| *distance == best).map(|(_, pair)| pair);
    let Some(first) = ties.next() else { return Err(CompareError::NothingExpected) };
    let rest: Vec<Pair<'_>> = ties.collect();
    if rest.is_empty() || best.0 == 0 || rest.len() > MAX_ALIGNED {
        return Ok((first.candidate, first.observation));
    }
    // Without events, the variant whose values take the fewest causes to be explained.
    let effort = |pair: &Pair<'_>| match pair.observation.events {
        Some(_) => (pair.rows().iter().filter(|row| row.is_different()).count(), 0),
        None => pair.effort(),
    };
    let chosen = std::iter::once(first).chain(rest).min_by_key(effort);
    chosen.map(|pair| (pair.candidate, pair.observation)).ok_or(CompareError::NothingExpected)
}

/// A variant and an observation, in the banks that both have.
pub(super) struct Pair<'a> {
    pub(super) candidate: &'a Candidate,
    pub(super) observation: &'a Observation,
    banks: Vec<HashAlgorithm>,
    pub(super) bank: HashAlgorithm,
    pub(super) options: &'a Options,
}

impl Pair<'_> {
    fn judge(&self, pcr: PcrIndex, bank: HashAlgorithm) -> Judged {
        judge(self.candidate, self.observation, pcr, bank, self.options)
    }

    /// PCRs that differ, and PCRs that don't match.
    fn distance(&self) -> (usize, usize) {
        let wanted = PcrIndex::all().filter(|pcr| self.options.wants(*pcr));
        let verdicts: Vec<Verdict> = wanted.map(|pcr| self.judge(pcr, self.bank).verdict).collect();
        let count = |which: &[Verdict]| verdicts.iter().filter(|verdict| which.contains(verdict)).count();
        let matches = count(&[Verdict::Match, Verdict::ExtendedLater]);
        (count(&[Verdict::Differs]), verdicts.len().saturating_sub(matches))
    }

    /// Registers that deviations of this variant by itself leave open, and how many deviations it takes.
    fn effort(&self) -> (usize, usize) {
        let differing: Vec<PcrIndex> = PcrIndex::all()
            .filter(|pcr| self.options.wants(*pcr))
            .filter(|pcr| self.judge(*pcr, self.bank).verdict == Verdict::Differs)
            .collect();
        let found = hypotheses::explain(self, &differing, Evidence::default(), &[]);
        let exact = found.causes.iter().filter(|cause| cause.explains_exactly);
        let explained: BTreeSet<PcrIndex> = exact.flat_map(|cause| cause.pcrs.iter().copied()).collect();
        (differing.len().saturating_sub(explained.len()), found.causes.len())
    }

    fn rows(&self) -> Vec<AlignedEvent> {
        let (Some(ours), Some(theirs)) = (&self.candidate.events, &self.observation.events) else {
            return Vec::new();
        };
        let covers = |pcr: PcrIndex| {
            let expected = self.candidate.pcrs.get(&pcr);
            expected.is_some_and(|expected| !expected.values.is_empty() || !expected.gaps.is_empty())
        };
        let mut rows = align(ours, theirs, self.bank, self.options.stage.unwrap_or_default(), &covers);
        rows.retain(|row| self.options.wants(row.pcr));
        rows
    }

    fn verdicts(&self) -> Vec<PcrVerdict> {
        let mut verdicts = Vec::new();
        for pcr in PcrIndex::all().filter(|pcr| self.options.wants(*pcr)) {
            let judged = self.banks.iter().map(|bank| (*bank, self.judge(pcr, *bank)));
            let judged: Vec<(HashAlgorithm, Judged)> = judged.collect();
            let expected = self.candidate.pcrs.get(&pcr);
            let observed = judged.iter().any(|(_, judged)| judged.observed.is_some());
            if expected.is_none() && !observed {
                continue;
            }
            let worst = judged.iter().map(|(_, judged)| judged.verdict).max();
            let mut verdict = PcrVerdict {
                index: pcr,
                name: register_name(self.observation.registers, pcr),
                verdict: worst.unwrap_or(Verdict::NotObserved),
                warn_only: expected.is_some_and(|expected| expected.warn_only),
                later_stage: None,
                later_words: Vec::new(),
                banks: judged.iter().map(|(bank, judged)| bank_verdict(*bank, judged)).collect(),
                gaps: expected.into_iter().flat_map(|expected| &expected.gaps).map(gap_text).collect(),
                assumes: expected.map(|expected| expected.assumes.clone()).unwrap_or_default(),
            };
            verdict.set_later(judged.into_iter().find_map(|(_, judged)| judged.later));
            verdicts.push(verdict);
        }
        verdicts
    }

    /// A PCR without an expected value may still have expected events: when one of them is missing or changed, it differs.
    fn hold_against_events(&self, pcrs: &mut [PcrVerdict], rows: &[AlignedEvent]) {
        for pcr in pcrs.iter_mut().filter(|pcr| pcr.verdict == Verdict::NotPredicted) {
            let broken =
                |row: &&AlignedEvent| matches!(row.status, EventStatus::Missing | EventStatus::Changed);
            // A log that does not lead to the TPM's value says nothing about it.
            let counts = self.log_leads_to_value(pcr.index);
            if counts && rows.iter().filter(|row| row.pcr == pcr.index).any(|row| broken(&row)) {
                pcr.verdict = Verdict::Differs;
            }
        }
    }

    fn explain(
        &self,
        rows: &[AlignedEvent],
        differing: &[PcrIndex],
        evidence: &dyn Fn(&Candidate, &Observation) -> Evidence,
        siblings: &[Candidate],
    ) -> (Vec<Cause>, bool) {
        let evidence = evidence(self.candidate, self.observation);
        let explanation = hypotheses::explain(self, differing, evidence, siblings);
        let (mut causes, complete) = (explanation.causes, explanation.complete);
        if rows.is_empty() {
            return (causes, complete);
        }
        let exact: BTreeSet<PcrIndex> = causes.iter().flat_map(|cause| cause.pcrs.iter().copied()).collect();
        let open: Vec<PcrIndex> = differing.iter().filter(|pcr| !exact.contains(pcr)).copied().collect();
        for cause in classify::causes(self, rows, &open) {
            match causes.iter_mut().find(|known| known.code == cause.code) {
                Some(known) => {
                    known.explains_exactly &= cause.explains_exactly;
                    known.pcrs.extend(cause.pcrs);
                    known.pcrs.sort_unstable();
                    known.pcrs.dedup();
                }
                None => causes.push(cause),
            }
        }
        (causes, complete)
    }

    /// The log beside the TPM's own values: where it does not lead to them, its events explain nothing.
    fn log_against_registers(&self, notes: &mut Vec<String>) -> Option<Cause> {
        let replayed = self.observation.replayed.as_ref()?;
        let both = |pcr: &PcrIndex| {
            let values = &self.observation.values;
            replayed.get(self.bank, *pcr).is_some() && values.get(self.bank, *pcr).is_some()
        };
        let wanted = PcrIndex::all().filter(|pcr| self.options.wants(*pcr) && both(pcr));
        let pcrs: Vec<PcrIndex> = wanted.filter(|pcr| !self.log_leads_to_value(*pcr)).collect();
        let list: Vec<String> = pcrs.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        if pcrs.is_empty() {
            return None;
        }
        notes.push(format!(
            "the log does not lead to the TPM's values of PCR {list}: its events explain nothing there"
        ));
        let detail = format!(
            "the log does not lead to the TPM's values of PCR {list}: it is cut off, altered, or of another boot"
        );
        Some(Cause { code: Code::LogIncomplete, pcrs, explains_exactly: false, detail })
    }

    /// Events of equal digests whose types say different things: nothing in a log vouches for its types.
    fn relabelled(&self, rows: &[AlignedEvent]) -> Option<String> {
        let (ours, theirs) = self.sides();
        let mut registers = BTreeSet::new();
        let mut count = 0_usize;
        for row in rows.iter().filter(|row| row.status == EventStatus::Equal) {
            let of = |side: &[Event], index: Option<usize>| side.get(index?)?.event_type;
            let (Some(one), Some(other)) = (of(ours, row.expected), of(theirs, row.observed)) else {
                continue;
            };
            if !one.is_another_word_for(other) {
                registers.insert(row.pcr.get());
                count = count.saturating_add(1);
            }
        }
        let registers: Vec<String> = registers.iter().map(ToString::to_string).collect();
        (count > 0).then(|| {
            let s = if count == 1 { "" } else { "s" };
            let pcrs = registers.join(", ");
            format!("{count} event{s} of PCR {pcrs} with the expected digest but another type: types are not measured")
        })
    }

    /// The observed log leads to the observed value of this register, or to where known words lead on from.
    pub(super) fn log_leads_to_value(&self, pcr: PcrIndex) -> bool {
        let Some(replayed) = &self.observation.replayed else { return true };
        let (log, tpm) = (replayed.get(self.bank, pcr), self.observation.values.get(self.bank, pcr));
        let leads_on = |log: Digest| {
            let mut words = sequences(pcr).into_iter();
            words.any(|words| Some(extend_all(log, &words)) == tpm)
        };
        log == tpm || log.is_some_and(leads_on)
    }

    /// The register has the value that another boot expects, at the stage or later.
    pub(super) fn would_match(&self, candidate: &Candidate, pcr: PcrIndex) -> bool {
        let verdict = judge(candidate, self.observation, pcr, self.bank, self.options).verdict;
        matches!(verdict, Verdict::Match | Verdict::ExtendedLater)
    }

    /// The register has another value than another boot expects.
    pub(super) fn would_differ(&self, candidate: &Candidate, pcr: PcrIndex) -> bool {
        judge(candidate, self.observation, pcr, self.bank, self.options).verdict == Verdict::Differs
    }

    pub(super) fn sides(&self) -> (&[Event], &[Event]) {
        (
            self.candidate.events.as_deref().unwrap_or_default(),
            self.observation.events.as_deref().unwrap_or_default(),
        )
    }
}

fn bank_verdict(bank: HashAlgorithm, judged: &Judged) -> BankVerdict {
    BankVerdict {
        bank: bank.name(),
        verdict: judged.verdict,
        expected: judged.expected.map(|digest| digest.to_string()),
        observed: judged.observed.map(|digest| digest.to_string()),
    }
}

fn gap_text((_, reason, remedy): &(crate::boot::Stage, String, String)) -> GapText {
    GapText { reason: reason.clone(), remedy: remedy.clone() }
}

/// The first event in the order of the boot that differs, in a register whose value differs.
fn divergence(events: &[EventRow], pcrs: &[PcrVerdict]) -> Option<Divergence> {
    let differs = |pcr: PcrIndex| {
        pcrs.iter().any(|verdict| verdict.index == pcr && verdict.verdict == Verdict::Differs)
    };
    let different = |row: &EventRow| {
        matches!(row.status, EventStatus::Changed | EventStatus::Missing | EventStatus::Added)
    };
    let (event, row) = events.iter().enumerate().find(|(_, row)| different(row) && differs(row.pcr))?;
    let what = |side: &Option<super::report::EventSide>| side.as_ref().map(|side| side.what.clone());
    let (ours, theirs) = (what(&row.expected), what(&row.observed));
    let what = match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours == theirs => format!("{ours} has another digest"),
        (Some(ours), Some(theirs)) => format!("{ours} has another digest, observed as {theirs}"),
        (Some(ours), None) => format!("expected {ours}, which is missing"),
        (None, Some(theirs)) => format!("observed {theirs}, which is not expected"),
        (None, None) => String::new(),
    };
    Some(Divergence { pcr: row.pcr, event, status: row.status, what })
}
