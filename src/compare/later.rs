//! Values that move on after the moment that was predicted: later stages of a document, and words that are known to come.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::model::ExpectedPcr;
use crate::boot::Stage;
use crate::tcg::{Digest, PcrIndex, extend};

/// Why a value is ahead of the one that is expected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Later {
    /// The document's stage that has the value.
    pub stage: Option<Stage>,
    /// Words that lead to it from the expected value.
    pub words: Vec<String>,
}

const INVOCATION: &str = "Exit Boot Services Invocation";
const SUCCESS: &str = "Exit Boot Services Returned with Success";
const FAILURE: &str = "Exit Boot Services Returned with Failure";

/// What the firmware measures when the kernel takes over (EDK2 Tcg2Dxe `OnExitBootServices`): kernels that read the log
/// without the final events table don't have it.
pub(super) const EXIT_BOOT_SERVICES: [&[&str]; 4] = [
    &[INVOCATION, SUCCESS],
    &[INVOCATION, FAILURE, INVOCATION, SUCCESS],
    &[INVOCATION, FAILURE],
    &[FAILURE, INVOCATION, SUCCESS],
];

/// Words that systemd extends PCR 11 with (systemd-pcrphase).
pub(super) const PHASES: [&str; 6] =
    ["enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown", "final"];
/// systemd's word between firmware and user space (systemd-pcrosseparator.service, from 261 on).
pub(super) const OS_SEPARATOR: &str = "os-separator";
/// systemd's word behind the NvPCRs (systemd-pcrnvdone.service, from 259 on).
pub(super) const NVPCR_SEPARATOR: &str = "nvpcr-separator";

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
            (run(start, &words) == observed)
                .then(|| Later { stage: None, words: words.iter().map(|word| (*word).to_owned()).collect() })
        },
    )
}

/// Extends with words, as text without NUL.
pub(super) fn run(start: Digest, words: &[&str]) -> Digest {
    words.iter().fold(start, |value, word| extend(value, Digest::of(value.algorithm(), word.as_bytes())))
}

/// Words that are known to come after the firmware's log, by register.
pub(super) fn sequences(pcr: PcrIndex) -> Vec<Vec<&'static str>> {
    match pcr.get() {
        5 => {
            let exits = EXIT_BOOT_SERVICES.map(<[&str]>::to_vec);
            let separated = exits.clone().map(|words| [words, vec![OS_SEPARATOR]].concat());
            exits.into_iter().chain(separated).chain([vec![OS_SEPARATOR]]).collect()
        }
        9 => vec![vec![OS_SEPARATOR], vec![NVPCR_SEPARATOR], vec![OS_SEPARATOR, NVPCR_SEPARATOR]],
        11 => phases(),
        0..=7 | 12..=14 => vec![vec![OS_SEPARATOR]],
        _ => Vec::new(),
    }
}

/// Every run of phases that a boot may have gone through, with and without those of an initrd.
fn phases() -> Vec<Vec<&'static str>> {
    let runs = (0..PHASES.len())
        .flat_map(|start| (start.saturating_add(1)..=PHASES.len()).map(move |end| start..end));
    runs.filter_map(|run| PHASES.get(run)).map(<[&str]>::to_vec).collect()
}
