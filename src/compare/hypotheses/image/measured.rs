//! A recorded boot as what is expected of a machine.

use super::Work;
use crate::boot::{BootChain, Content, Measurement, Recording, Source, Stage};
use crate::compare::document::topic;
use crate::compare::model::{Candidate, Event, ExpectedPcr, ExpectedValue, Origin};
use crate::prediction::Recorded;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, extend};

/// What a boot measures, as far as its digests are known.
pub(super) fn candidate((recording, _, secure_boot): &Recorded, chain: &BootChain, work: &Work) -> Candidate {
    let digest = |measurement: &Measurement| match measurement.content {
        Content::Stream(stream) => work.digests.get(&stream).copied(),
        Content::Observed(index) => recording.observed.get(index).and_then(|digests| digests.get(work.bank)),
        Content::Unknown(_) => None,
    };
    let events: Vec<Event> = recording
        .measurements
        .iter()
        .map(|measurement| event(measurement, chain, digest(measurement)))
        .collect();
    let pcrs = PcrIndex::all().map(|pcr| (pcr, expected(pcr, &events, recording, work.bank)));
    Candidate {
        secure_boot: *secure_boot,
        pcrs: pcrs.collect(),
        events: Some(events),
        ..Candidate::default()
    }
}

fn event(measurement: &Measurement, chain: &BootChain, digest: Option<Digest>) -> Event {
    let (kind, inputs, section) = match &measurement.source {
        Source::Image(input) => ("image", vec![*input], None),
        Source::Section { input, name, .. } => ("section", vec![*input], Some(name.clone())),
        Source::SectionImage { input, name, .. } => ("section-image", vec![*input], Some(name.clone())),
        Source::Derived(inputs) => ("derived", inputs.clone(), None),
        Source::Observed(inputs) => ("observed", inputs.clone(), None),
        Source::Constant | Source::Option(_) | Source::Missing => ("other", Vec::new(), None),
    };
    let inputs: Vec<_> = inputs.iter().filter_map(|input| chain.inputs.get(input.0)).collect();
    let origin = Origin {
        files: inputs.iter().map(|input| input.name.clone()).collect(),
        roles: inputs.iter().map(|input| input.role.name().to_owned()).collect(),
        section,
        option: match &measurement.source {
            Source::Option(option) => Some((*option).to_owned()),
            _ => None,
        },
        ..Origin::default()
    };
    let digests = digest.into_iter().collect();
    let data = measurement.data.as_deref();
    Event {
        pcr: measurement.pcr,
        stage: Some(measurement.stage),
        event_type: measurement.event_type,
        topic: topic(kind, measurement.pcr, measurement.event_type, data, &digests, &origin),
        digests,
        data: measurement.data.clone(),
        what: measurement.description.clone(),
        origin: Some(origin),
    }
}

fn expected(pcr: PcrIndex, events: &[Event], recording: &Recording, bank: HashAlgorithm) -> ExpectedPcr {
    let mut values = Vec::new();
    for stage in Stage::ALL {
        let until =
            events.iter().filter(|event| event.pcr == pcr && event.stage.is_none_or(|of| of <= stage));
        let value = until
            .map(|event| event.digests.get(bank))
            .try_fold(recording.start_value(pcr, bank), |value, digest| Some(extend(value, digest?)));
        let Some(value) = value else { break };
        values.push(ExpectedValue { stage: Some(stage), digests: [value].into_iter().collect() });
    }
    let gaps = recording.gaps.iter().filter(|gap| gap.pcr == pcr);
    let gaps = gaps.map(|gap| (gap.stage, gap.reason.clone(), gap.remedy.clone()));
    ExpectedPcr { values, gaps: gaps.collect(), ..ExpectedPcr::default() }
}
