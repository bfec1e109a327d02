//! Registers and measurements of a variant as entries of a document, and the rules that they name.

use std::collections::BTreeMap;

use super::super::document::{
    BankDigests, GapEntry, GuestEntry, MeasurementEntry, NotCoveredEntry, PcrEntry, RegisterEntry, RuleEntry,
    SourceEntry, ValueEntry,
};
use crate::boot::{Assumption, Content, InputId, Measurement, Recording, Source};
use crate::prediction::{GuestRegisters, PcrPrediction, Prediction, Variant};
use crate::tcg::eventlog::{MeasurementRegister, Pcr0Start};
use crate::tcg::{DigestSet, PcrIndex};

pub(super) fn bank_digests(digests: &DigestSet) -> BankDigests {
    digests.iter().map(|digest| (digest.algorithm().name().to_owned(), digest.to_string())).collect()
}

pub(super) fn pcr_entry(pcr: PcrIndex, prediction: &PcrPrediction, variant: &Variant) -> PcrEntry {
    let start = variant.recording.pcr0_start.filter(|_| pcr.get() == 0);
    PcrEntry {
        index: pcr.get(),
        name: (!pcr.name().is_empty()).then(|| pcr.name().to_owned()),
        status: prediction.status().name().to_owned(),
        startup_locality: start.map(Pcr0Start::last_byte),
        values: value_entries(prediction),
        gaps: gap_entries(&variant.recording, prediction),
        assumes: ids(variant
            .recording
            .assumptions
            .iter()
            .filter(|assumption| assumption.affects.contains(&pcr))),
    }
}

pub(super) fn guest_entry(guest: &GuestRegisters, ids: &[String]) -> GuestEntry {
    let not_covered = guest.recording.not_covered.iter();
    let in_register = |entry: MeasurementEntry| {
        let pcr = PcrIndex::try_from(u32::from(entry.pcr)).ok();
        let register = pcr.and_then(MeasurementRegister::of_pcr);
        MeasurementEntry { register: register.map(|register| register.name().to_owned()), ..entry }
    };
    GuestEntry {
        tpm: guest.tpm,
        registers: guest.registers.iter().map(|(of, held)| register_entry(*of, held, guest)).collect(),
        measurements: measurements(&guest.recording, &guest.digests, ids)
            .into_iter()
            .map(in_register)
            .collect(),
        not_covered: not_covered
            .map(|entry| NotCoveredEntry { program: entry.program.clone(), what: entry.what.clone() })
            .collect(),
    }
}

fn register_entry(
    register: MeasurementRegister,
    held: &PcrPrediction,
    guest: &GuestRegisters,
) -> RegisterEntry {
    let assumptions = guest.recording.assumptions.iter();
    let assumes = ids(assumptions.filter(|assumption| guest.affected(assumption).contains(&register)));
    let start = guest.starts.get(&register).copied();
    RegisterEntry {
        index: register.get(),
        name: register.name().to_owned(),
        status: held.status().name().to_owned(),
        start: start.map(|value| bank_digests(&[value].into_iter().collect())),
        values: value_entries(held),
        gaps: gap_entries(&guest.recording, held),
        assumes,
    }
}

fn value_entries(prediction: &PcrPrediction) -> Vec<ValueEntry> {
    let values = prediction.values.iter().map(|(stage, value)| ValueEntry {
        stage: stage.name().to_owned(),
        status: value.status.name().to_owned(),
        digests: bank_digests(&value.digests),
    });
    values.collect()
}

pub(super) fn ids<'a>(assumptions: impl Iterator<Item = &'a Assumption>) -> Vec<String> {
    assumptions.map(|assumption| assumption.id.to_owned()).collect()
}

fn gap_entries(recording: &Recording, prediction: &PcrPrediction) -> Vec<GapEntry> {
    let gaps = prediction.gaps.iter().filter_map(|index| recording.gaps.get(*index));
    gaps.map(|gap| GapEntry {
        code: gap.code.name().to_owned(),
        stage: gap.stage.name().to_owned(),
        reason: gap.reason.clone(),
        remedy: gap.remedy.clone(),
    })
    .collect()
}

pub(super) fn measurements(
    recording: &Recording,
    digests: &[Option<DigestSet>],
    ids: &[String],
) -> Vec<MeasurementEntry> {
    let measurements = recording.measurements.iter().zip(digests);
    measurements
        .map(|(measurement, digests)| MeasurementEntry {
            pcr: measurement.pcr.get(),
            register: None,
            stage: measurement.stage.name().to_owned(),
            event_type: measurement.event_type.map(|event_type| event_type.to_string()),
            description: measurement.description.clone(),
            digests: digests.as_ref().map(bank_digests),
            gap: gap_code(measurement, recording),
            event_data: measurement.data.as_ref().map(hex::encode),
            source: source_entry(&measurement.source, ids),
            rule: measurement.rule.id.to_owned(),
        })
        .collect()
}

fn gap_code(measurement: &Measurement, recording: &Recording) -> Option<String> {
    match measurement.content {
        Content::Unknown(index) => recording.gaps.get(index).map(|gap| gap.code.name().to_owned()),
        Content::Stream(_) | Content::Observed(_) => None,
    }
}

fn source_entry(source: &Source, ids: &[String]) -> SourceEntry {
    let id = |input: &InputId| ids.get(input.0).cloned().unwrap_or_default();
    let section = |kind: &str, input: &InputId, name: &str, offset: u64, length: u64| SourceEntry {
        kind: kind.to_owned(),
        inputs: vec![id(input)],
        section: Some(name.to_owned()),
        offset: Some(offset),
        length: Some(length),
        option: None,
    };
    let plain = |kind: &str| SourceEntry { kind: kind.to_owned(), ..SourceEntry::default() };
    match source {
        Source::Constant => plain("constant"),
        Source::Missing => plain("missing"),
        Source::Image(input) => SourceEntry { inputs: vec![id(input)], ..plain("image") },
        Source::Section { input, name, offset, length } => section("section", input, name, *offset, *length),
        Source::SectionImage { input, name, offset, length } => {
            section("section-image", input, name, *offset, *length)
        }
        Source::Observed(inputs) => {
            SourceEntry { inputs: inputs.iter().map(id).collect(), ..plain("observed") }
        }
        Source::Derived(inputs) => {
            SourceEntry { inputs: inputs.iter().map(id).collect(), ..plain("derived") }
        }
        Source::Option(option) => SourceEntry { option: Some((*option).to_owned()), ..plain("option") },
    }
}

pub(super) fn rules(prediction: &Prediction) -> Vec<RuleEntry> {
    let measurements = prediction
        .variants
        .iter()
        .flat_map(Variant::recordings)
        .flat_map(|recording| &recording.measurements);
    let rules: BTreeMap<&str, RuleEntry> = measurements
        .map(|measurement| measurement.rule)
        .map(|rule| {
            let entry = RuleEntry {
                id: rule.id.to_owned(),
                statement: rule.statement.to_owned(),
                source: rule.source.to_owned(),
            };
            (rule.id, entry)
        })
        .collect();
    rules.into_values().collect()
}
