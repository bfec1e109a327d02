//! From digests to values: every register at every stage.

use super::{Boot, PcrPrediction, Request, StageValue, Status, Variant, registers};
use crate::boot::{Content, Recording, Source, Stage};
use crate::hashing::Digests;
use crate::tcg::{Digest, DigestSet, HashAlgorithm, PcrIndex, extend};

pub(super) fn evaluate(boot: Boot, request: &Request, computed: &Digests) -> Variant {
    let banks = &request.banks;
    let guest = boot.guest.map(|recording| registers::evaluate(recording, &request.guest, computed));
    let pcrs_asked_for = boot.recording.is_some();
    let recording = boot.recording.unwrap_or_default();
    let digests = digests_of(&recording, computed, banks);
    let pcrs = PcrIndex::all()
        .filter(|_| pcrs_asked_for)
        .map(|pcr| (pcr, evaluate_pcr(pcr, &recording, &digests, banks)))
        .collect();
    Variant { scenario: boot.scenario, secure_boot: boot.secure_boot, recording, digests, pcrs, guest }
}

/// The digests of a recording's measurements, in these banks.
pub(super) fn digests_of(
    recording: &Recording,
    computed: &Digests,
    banks: &[HashAlgorithm],
) -> Vec<Option<DigestSet>> {
    let digest = |content: Content| {
        let all = match content {
            Content::Stream(stream) => computed.get(stream),
            Content::Observed(index) => recording.observed.get(index),
            Content::Unknown(_) => None,
        };
        all.map(|all| banks.iter().filter_map(|bank| all.get(*bank)).collect())
    };
    recording.measurements.iter().map(|measurement| digest(measurement.content)).collect()
}

/// Extends one PCR with everything that is known, until something is not.
fn evaluate_pcr(
    pcr: PcrIndex,
    recording: &Recording,
    digests: &[Option<DigestSet>],
    banks: &[HashAlgorithm],
) -> PcrPrediction {
    let start = banks.iter().map(|bank| recording.start_value(pcr, *bank)).collect();
    evaluate_register(start, Status::AssumedUnused, recording, digests, |of| of == pcr)
}

/// Extends one register with what is measured into its PCRs.
pub(super) fn evaluate_register(
    start: Vec<Digest>,
    untouched: Status,
    recording: &Recording,
    digests: &[Option<DigestSet>],
    shares: impl Fn(PcrIndex) -> bool,
) -> PcrPrediction {
    let events =
        || recording.measurements.iter().zip(digests).filter(|(measurement, _)| shares(measurement.pcr));
    let concerns = |index: &usize| recording.gaps.get(*index).is_some_and(|gap| shares(gap.pcr));
    let mut prediction = PcrPrediction {
        gaps: (0..recording.gaps.len()).filter(concerns).collect(),
        ..PcrPrediction::default()
    };
    for stage in Stage::ALL {
        let counted = || events().filter(|(measurement, _)| measurement.stage <= stage);
        let until: Vec<Option<&DigestSet>> = counted().map(|(_, digests)| digests.as_ref()).collect();
        let value = |start: &Digest| {
            until
                .iter()
                .try_fold(*start, |value, digests| Some(extend(value, (*digests)?.get(start.algorithm())?)))
        };
        let Some(values) = start.iter().map(value).collect::<Option<Vec<_>>>() else { break };
        let observed = counted().any(|(measurement, _)| matches!(measurement.source, Source::Observed(_)));
        let status = match (until.is_empty(), observed) {
            (true, _) => untouched,
            (false, true) => Status::Observed,
            (false, false) if untouched == Status::Declared => Status::Declared,
            (false, false) => Status::Computed,
        };
        prediction.values.insert(stage, StageValue { digests: values.into_iter().collect(), status });
    }
    prediction
}
