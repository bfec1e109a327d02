//! Deviations that reproduce an observed value exactly.

use super::causes::Cause;
use super::model::Candidate;
use super::nearest::Pair;
use crate::tcg::PcrIndex;

/// Another boot that may have happened instead of the expected one.
#[derive(Debug, Clone)]
pub struct Alternative {
    /// What it measures.
    pub candidate: Candidate,
}

pub(super) fn explain(
    _pair: &Pair<'_>,
    _differing: &[PcrIndex],
    _alternatives: &dyn Fn(&super::Observation) -> Vec<Alternative>,
) -> Vec<Cause> {
    Vec::new()
}
