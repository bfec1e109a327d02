//! Values that move on after the moment that was predicted: later stages of a document, and words that are known to come.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::model::ExpectedPcr;
use crate::boot::Stage;
use crate::tcg::words::{extend_all, sequences};
use crate::tcg::{Digest, PcrIndex};

/// Why a value is ahead of the one that is expected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Later {
    /// The document's stage that has the value.
    pub stage: Option<Stage>,
    /// Words that lead to it from the expected value.
    pub words: Vec<String>,
}

/// What comes after `stage` and leads to the observed value, if anything known does.
#[must_use]
pub fn later(pcr: PcrIndex, expected: &ExpectedPcr, stage: Stage, observed: Digest) -> Option<Later> {
    let bank = observed.algorithm();
    let reached = expected.values.iter().filter(|value| value.stage.is_none_or(|of| of >= stage));
    let ahead = reached
        .clone()
        .find(|value| value.stage.is_some_and(|of| of > stage) && value.digests.get(bank) == Some(observed));
    if let Some(value) = ahead {
        return Some(Later { stage: value.stage, words: Vec::new() });
    }
    let starts = reached.filter_map(|value| value.digests.get(bank));
    starts.flat_map(|start| sequences(pcr).into_iter().map(move |words| (start, words))).find_map(
        |(start, words)| {
            (extend_all(start, &words) == observed)
                .then(|| Later { stage: None, words: words.iter().map(|word| (*word).to_owned()).collect() })
        },
    )
}
