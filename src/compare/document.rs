//! A reference document as one side of a comparison.

use std::collections::BTreeMap;

use super::model::{Candidate, Event, Expectation, ExpectedPcr, ExpectedValue, Kind, Observation, Origin};
use super::{Options, Topic};
use crate::boot::Stage;
use crate::reference::{
    BankDigests, Document, GapEntry, Image, MeasurementEntry, PcrEntry, RegisterEntry, ValueEntry,
    VariantEntry,
};
use crate::tcg::eventlog::{MeasurementRegister, RegisterKind};
use crate::tcg::{Digest, DigestSet, EventType, HashAlgorithm, PcrIndex, PcrValues};

/// What a document expects: each of its variants is an acceptable boot. What the document itself has wrong (stages that
/// do not exist, digests of wrong length) is left out: [`crate::reference::check`] finds it.
#[must_use]
pub fn expectation_of_document(name: &str, document: &Document, registers: RegisterKind) -> Expectation {
    Expectation {
        name: name.to_owned(),
        kind: Kind::Prediction,
        format: document.kind.clone(),
        registers,
        candidates: document.variants.iter().map(|variant| candidate(document, variant, registers)).collect(),
    }
}

/// A document in the place of a machine: each variant is a boot that may have been observed, at the stage that is
/// asked for.
#[must_use]
pub fn observations_of_document(name: &str, document: &Document, options: &Options) -> Vec<Observation> {
    let stage = options.stage.unwrap_or_default();
    let registers = if document.has_pcrs() { RegisterKind::Pcr } else { RegisterKind::Mr };
    let candidates = document.variants.iter().map(|variant| candidate(document, variant, registers));
    candidates
        .map(|candidate| {
            let mut values = PcrValues::default();
            for (pcr, expected) in &candidate.pcrs {
                let at = expected.values.iter().find(|value| value.stage == Some(stage));
                at.iter().flat_map(|value| value.digests.iter()).for_each(|digest| values.set(*pcr, digest));
            }
            let reached = |event: &Event| event.stage.is_none_or(|of| of <= stage);
            Observation {
                names: vec![format!("{name} ({})", candidate.id)],
                kind: Kind::Prediction,
                formats: vec![document.kind.clone()],
                registers,
                events: candidate.events.map(|events| events.into_iter().filter(reached).collect()),
                values,
                replayed: None,
                notes: Vec::new(),
            }
        })
        .collect()
}

fn candidate(document: &Document, variant: &VariantEntry, registers: RegisterKind) -> Candidate {
    let image = document.images.iter().find(|image| image.id == variant.image);
    let pcr = |index: u8| PcrIndex::try_from(u32::from(index)).ok();
    let (pcrs, events) = match (registers, &variant.guest) {
        (RegisterKind::Pcr, _) => {
            let expected =
                |of: &PcrEntry| Some((pcr(of.index)?, expected(&of.values, &of.gaps, &of.assumes)));
            let events = variant.measurements.iter().filter_map(|entry| event(entry, image));
            (variant.pcrs.iter().filter_map(expected).collect(), events.collect())
        }
        (RegisterKind::Mr, None) => (BTreeMap::new(), Vec::new()),
        (RegisterKind::Mr, Some(guest)) => {
            let expected =
                |of: &RegisterEntry| Some((pcr(of.index)?, expected(&of.values, &of.gaps, &of.assumes)));
            // The register's number, and the topic of the PCR.
            let in_register = |event: Event| {
                let register = MeasurementRegister::of_pcr(event.pcr)?;
                Some(Event { pcr: pcr(register.get())?, ..event })
            };
            let events = guest.measurements.iter().filter_map(|entry| event(entry, image));
            (guest.registers.iter().filter_map(expected).collect(), events.filter_map(in_register).collect())
        }
    };
    let scenario = document.scenarios.iter().find(|scenario| scenario.id == variant.scenario);
    Candidate {
        secure_boot: scenario.and_then(|scenario| scenario.secure_boot),
        id: variant.id.clone(),
        image: variant.image.clone(),
        scenario: variant.scenario.clone(),
        events: Some(events),
        pcrs,
    }
}

fn expected(values: &[ValueEntry], gaps: &[GapEntry], assumes: &[String]) -> ExpectedPcr {
    let values = values.iter().filter_map(|value| {
        let stage = value.stage.parse::<Stage>().ok()?;
        Some(ExpectedValue { stage: Some(stage), digests: digest_set(&value.digests) })
    });
    let gaps = gaps.iter().map(|gap| {
        let stage = gap.stage.parse().unwrap_or_default();
        (stage, gap.reason.clone(), gap.remedy.clone())
    });
    ExpectedPcr {
        values: values.collect(),
        gaps: gaps.collect(),
        assumes: assumes.to_vec(),
        warn_only: false,
    }
}

fn event(entry: &MeasurementEntry, image: Option<&Image>) -> Option<Event> {
    let pcr = PcrIndex::try_from(u32::from(entry.pcr)).ok()?;
    let event_type = entry.event_type.as_deref().and_then(EventType::from_name);
    let data = entry.event_data.as_deref().and_then(|data| hex::decode(data).ok());
    let digests = entry.digests.as_ref().map(digest_set).unwrap_or_default();
    let origin = origin(entry, image);
    let topic = topic(&entry.source.kind, pcr, event_type, data.as_deref(), &digests, &origin);
    Some(Event {
        pcr,
        stage: entry.stage.parse().ok(),
        event_type,
        digests,
        data,
        what: entry.description.clone(),
        topic,
        origin: Some(origin),
    })
}

fn origin(entry: &MeasurementEntry, image: Option<&Image>) -> Origin {
    let inputs = entry.source.inputs.iter();
    let inputs: Vec<_> = inputs
        .filter_map(|id| image.into_iter().flat_map(|image| &image.inputs).find(|input| input.id == *id))
        .collect();
    Origin {
        files: inputs.iter().map(|input| input.name.clone()).collect(),
        roles: inputs.iter().map(|input| input.role.clone()).collect(),
        section: entry.source.section.clone(),
        offset: entry.source.offset,
        length: entry.source.length,
        option: entry.source.option.clone(),
    }
}

/// What an expected event is about: by its source where that says more than the data.
pub(super) fn topic(
    source: &str,
    pcr: PcrIndex,
    event_type: Option<EventType>,
    data: Option<&[u8]>,
    digests: &DigestSet,
    origin: &Origin,
) -> Topic {
    let role = origin.roles.first().map(String::as_str);
    match (event_type, source, role) {
        (Some(EventType::EFI_BOOT_SERVICES_APPLICATION), "section-image", _) => Topic::Kernel,
        (Some(EventType::EFI_BOOT_SERVICES_APPLICATION), _, Some("boot-loader")) => Topic::Loader,
        (Some(EventType::EFI_BOOT_SERVICES_APPLICATION), _, Some("uki")) => Topic::Uki,
        (Some(EventType::EFI_BOOT_SERVICES_APPLICATION), _, Some("kernel")) => Topic::Kernel,
        (Some(EventType::EFI_BOOT_SERVICES_APPLICATION), _, Some("addon")) => Topic::Addon,
        (Some(EventType::EFI_BOOT_SERVICES_DRIVER | EventType::EFI_RUNTIME_SERVICES_DRIVER), ..) => {
            Topic::Driver
        }
        (Some(event_type), ..) => match (data, pcr.get()) {
            (Some(data), _) => Topic::of_event(pcr, event_type, data, digests),
            (None, 0) => Topic::FirmwareCode,
            (None, _) => Topic::Other(pcr),
        },
        (None, ..) => match data.and_then(|data| std::str::from_utf8(data).ok()) {
            Some(word) => Topic::of_word(pcr, word),
            None => Topic::Other(pcr),
        },
    }
}

fn digest_set(digests: &BankDigests) -> DigestSet {
    let digests = digests.iter().filter_map(|(bank, text)| {
        let bank = HashAlgorithm::ALL.into_iter().find(|known| known.name() == bank)?;
        Digest::from_bytes(bank, &hex::decode(text).ok()?)
    });
    digests.collect()
}
