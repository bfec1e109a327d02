//! Separators: exactly one in each of PCRs 0 to 7 (PFP, section 3.3.2.2), with a value that says "all is well".

use crate::tcg::event_data::{EventData, decode};
use crate::tcg::eventlog::{Register, RegisterKind};
use crate::tcg::{EventType, eventlog::MeasurementRegister};

use super::{Facts, Finding, Findings, FirmwareEvent, Level, pcr};
use crate::tcg::event_data::{Context, Separator};

pub(super) fn check(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    for event in facts.firmware().filter(|event| event.event_type == EventType::SEPARATOR) {
        value(&event, findings);
    }
    if !facts.has_firmware_part() {
        return;
    }
    for register in registers(facts.kind) {
        count(facts, register, findings);
    }
}

fn registers(kind: RegisterKind) -> Vec<Register> {
    match kind {
        RegisterKind::Pcr => (0..8).map(pcr).collect(),
        RegisterKind::Mr => [1, 2]
            .into_iter()
            .filter_map(|index| MeasurementRegister::try_from(index).ok())
            .map(Register::Mr)
            .collect(),
    }
}

fn value(event: &FirmwareEvent<'_>, findings: &mut Findings<'_>) {
    let EventData::Separator(separator) = decode(event.event_type, event.data, Context::default()).data
    else {
        return;
    };
    match separator {
        Separator::Normal(_) => {}
        Separator::Error => {
            let text = "error separator: firmware met an error and measured no further";
            findings.push(event.finding(Level::Error, "separator-error", text));
        }
        // What an operating system puts into its own registers is its own affair.
        Separator::Other(_) if !super::is_firmware_register(event.record.register) => {}
        Separator::Other(_) => {
            let text = "a separator whose value is neither 0, 0xFFFFFFFF nor 1";
            findings.push(event.finding(Level::Warning, "separator-value", text));
        }
    }
}

fn count(facts: &Facts<'_>, register: Register, findings: &mut Findings<'_>) {
    let mut separators = facts.of_register(register).filter(|event| event.event_type == EventType::SEPARATOR);
    let Some(_) = separators.next() else {
        let text = format!("register {register} has no separator");
        let register = Some(register);
        findings.push(Finding {
            level: Level::Warning,
            code: "separator-missing",
            event: None,
            register,
            text,
        });
        return;
    };
    for event in separators {
        let text = "a second separator in one register";
        findings.push(event.finding(Level::Error, "separator-duplicate", text));
    }
}
