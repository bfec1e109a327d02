//! The registers of a confidential guest.

use std::collections::BTreeSet;

use super::{ASSUMED_UNUSED, DECLARED, Findings, Held, Known, check_held, check_measurements, digest};
use crate::reference::{AssumptionEntry, Document, GuestEntry, RegisterEntry};
use crate::tcg::eventlog::MeasurementRegister;
use crate::tcg::{Digest, PcrIndex};

pub(super) fn check(
    document: &Document,
    guest: &GuestEntry,
    assumptions: Vec<&AssumptionEntry>,
    known: &Known<'_>,
    place: &str,
    findings: &mut Findings,
) {
    let known = Known { banks: &[MeasurementRegister::BANK], ..*known };
    check_measurements(document, &guest.measurements, &known, place, findings);
    for (index, measurement) in guest.measurements.iter().enumerate() {
        let pcr = PcrIndex::try_from(u32::from(measurement.pcr)).ok();
        let expected = pcr.and_then(MeasurementRegister::of_pcr).map(MeasurementRegister::name);
        if expected.is_none() || measurement.register.as_deref() != expected {
            let problem = format!("is not the register of PCR {}", measurement.pcr);
            findings.add(format!("{place}.measurements[{index}].register"), problem);
        }
    }
    let mut seen = BTreeSet::new();
    for (index, register) in guest.registers.iter().enumerate() {
        let place = format!("{place}.registers[{index}]");
        if !seen.insert(register.index) {
            findings.add(format!("{place}.index"), format!("register {} stands here twice", register.index));
        }
        let named = MeasurementRegister::try_from(u32::from(register.index)).ok();
        if named.is_none_or(|named| named.name() != register.name) {
            findings.add(format!("{place}.name"), format!("is not that of register {}", register.index));
        }
        for assumption in &assumptions {
            let affects = assumption.affects_registers.contains(&register.name);
            if affects != register.assumes.contains(&assumption.id) {
                let problem = format!("and assumption '{}' disagree about this register", assumption.id);
                findings.add(format!("{place}.assumes"), problem);
            }
        }
        for id in register.assumes.iter().filter(|id| !assumptions.iter().any(|of| of.id == **id)) {
            findings.add(format!("{place}.assumes"), format!("the scenario has no assumption '{id}'"));
        }
        check_register(document, guest, register, &place, findings);
    }
}

fn check_register(
    document: &Document,
    guest: &GuestEntry,
    register: &RegisterEntry,
    place: &str,
    findings: &mut Findings,
) {
    let bank = MeasurementRegister::BANK;
    let start = match &register.start {
        None => Some(Digest::zero(bank)),
        Some(start) => {
            start.get(bank.name()).filter(|_| start.len() == 1).and_then(|text| digest(bank, text))
        }
    };
    let Some(start) = start else {
        return findings.add(format!("{place}.start"), "is not one digest of bank sha384");
    };
    let in_register = |name: &Option<String>| name.as_deref() == Some(&register.name);
    let held = Held {
        start: vec![start],
        untouched: if register.start.is_some() { DECLARED } else { ASSUMED_UNUSED },
        status: &register.status,
        values: &register.values,
        gaps: &register.gaps,
        measurements: guest.measurements.iter().filter(|of| in_register(&of.register)).collect(),
    };
    check_held(document, held, place, findings);
}
