//! One PCR in one bank: what is expected, what is there, and what that means.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::later::{Later, later};
use super::model::{Candidate, ExpectedPcr, Observation, Options};
use crate::boot::Stage;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex};

/// The outcome for one PCR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// There is no value on the observed side.
    NotObserved,
    /// Nothing is expected of it, or its value depends on something that is not known.
    NotPredicted,
    /// The value is the expected one.
    Match,
    /// The value is the expected one, extended with what is known to come later.
    ExtendedLater,
    /// The value is another one.
    Differs,
}

impl Verdict {
    /// The word in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotObserved => "not-observed",
            Self::NotPredicted => "not-predicted",
            Self::Match => "match",
            Self::ExtendedLater => "extended-later",
            Self::Differs => "differs",
        }
    }
}

/// One PCR in one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// The expected value that was compared: at the stage, or the nearest one.
    pub(super) expected: Option<Digest>,
    pub(super) observed: Option<Digest>,
    pub(super) later: Option<Later>,
}

/// Judges one PCR in one bank.
pub(super) fn judge(
    candidate: &Candidate,
    observation: &Observation,
    pcr: PcrIndex,
    bank: HashAlgorithm,
    options: &Options,
) -> Judged {
    let observed = observation.values.get(bank, pcr);
    let stage = options.stage.unwrap_or_default();
    let expected = candidate.pcrs.get(&pcr);
    let value = expected.and_then(|expected| value_at(expected, stage, bank, observed));
    let judged = |verdict, later| Judged { verdict, expected: value, observed, later };
    let Some(observed) = observed else { return judged(Verdict::NotObserved, None) };
    let (Some(expected), Some(value)) = (expected, value) else { return judged(Verdict::NotPredicted, None) };
    if value == observed {
        return judged(Verdict::Match, None);
    }
    if options.stage.is_some() {
        return judged(Verdict::Differs, None);
    }
    if let Some(later) = later(pcr, expected, stage, observed) {
        return judged(Verdict::ExtendedLater, Some(later));
    }
    if is_open_later(pcr, expected, value) {
        return judged(Verdict::NotPredicted, None);
    }
    judged(Verdict::Differs, None)
}

/// The value at a stage; where values have no stage the one that is there, or else the first.
fn value_at(
    expected: &ExpectedPcr,
    stage: Stage,
    bank: HashAlgorithm,
    observed: Option<Digest>,
) -> Option<Digest> {
    if expected.values.iter().any(|value| value.stage.is_some()) {
        return expected.at(stage, bank);
    }
    let mut values = expected.values.iter().filter_map(|value| value.digests.get(bank));
    values.clone().find(|value| Some(*value) == observed).or_else(|| values.next())
}

/// Nothing was measured at this stage, and what comes later is not known: there is nothing to hold the value against.
fn is_open_later(pcr: PcrIndex, expected: &ExpectedPcr, value: Digest) -> bool {
    value == pcr.start_value(value.algorithm()) && !expected.gaps.is_empty()
}
