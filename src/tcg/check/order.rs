//! Events on the wrong side of their register's separator.

use std::collections::BTreeSet;

use crate::tcg::EventType;
use crate::tcg::event_data::{Context, EventData, decode};
use crate::tcg::eventlog::{Register, startup_locality};

use super::{Facts, Finding, Findings, FirmwareEvent, Level, pcr};

/// `EFI_CALLING_EFI_APPLICATION` (PFP, section 10.4.4).
const CALLING: &[u8] = b"Calling EFI Application from Boot Option";

pub(super) fn check(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut separated: BTreeSet<Register> = BTreeSet::new();
    let mut extended_pcr0 = false;
    let mut has_version = false;
    for event in facts.firmware() {
        let register = event.record.register;
        if event.event_type == EventType::SEPARATOR {
            separated.insert(register);
        }
        findings.extend(locality(&event, extended_pcr0));
        findings.extend(odd_locality(&event));
        has_version |= event.event_type == EventType::S_CRTM_VERSION;
        if has_version && event.event_type == EventType::EFI_HCRTM_EVENT {
            let text = "an H-CRTM measures before EV_S_CRTM_VERSION: it can't be how PCR 0 started";
            findings.push(event.finding(Level::Error, "late-hcrtm", text));
        }
        extended_pcr0 |= register == pcr(0) && event.is_extended();
        if separated.contains(&register) && belongs_before(facts, &event) {
            let text = format!("{} after the separator of its register", event.event_type);
            findings.push(event.finding(Level::Error, "after-separator", text));
        }
        findings.extend(warning_of_firmware(&event));
        findings.extend(wrong_register(&event));
    }
    no_exit(facts, findings);
}

fn locality(event: &FirmwareEvent<'_>, extended_pcr0: bool) -> Option<Finding> {
    let late = extended_pcr0 && startup_locality(event.event_type, event.data).is_some();
    let text = "StartupLocality after PCR 0 was extended: it can't be how PCR 0 started";
    late.then(|| event.finding(Level::Error, "late-locality", text))
}

/// The TPM starts from locality 0 or 3, or from 4 by an H-CRTM (PFP, section 10.4.5.3).
fn odd_locality(event: &FirmwareEvent<'_>) -> Option<Finding> {
    let locality = startup_locality(event.event_type, event.data)?;
    let text = format!("StartupLocality {locality}: a TPM is started from locality 0, 3 or 4");
    (!matches!(locality, 0 | 3 | 4)).then(|| event.finding(Level::Error, "locality-value", text))
}

/// Events that firmware measures before it hands over (PFP, sections 3.3.4.1 to 3.3.4.8).
fn belongs_before(facts: &Facts<'_>, event: &FirmwareEvent<'_>) -> bool {
    match event.event_type {
        EventType::S_CRTM_CONTENTS
        | EventType::S_CRTM_VERSION
        | EventType::POST_CODE
        | EventType::POST_CODE2
        | EventType::CPU_MICROCODE
        | EventType::EFI_HCRTM_EVENT
        | EventType::EFI_PLATFORM_FIRMWARE_BLOB
        | EventType::EFI_PLATFORM_FIRMWARE_BLOB2
        | EventType::NONHOST_CODE
        | EventType::NONHOST_INFO => event.record.register == pcr(0),
        EventType::EFI_BOOT_SERVICES_DRIVER | EventType::EFI_RUNTIME_SERVICES_DRIVER => {
            event.record.register == pcr(2)
        }
        EventType::EFI_VARIABLE_DRIVER_CONFIG => {
            let context = Context { data_offset: event.record.offset, uintn: facts.uintn };
            let data = decode(event.event_type, event.data, context).data;
            matches!(data, EventData::Variable(variable) if variable.is_secure_boot_policy())
        }
        _ => false,
    }
}

/// Firmware's own admissions in PCR 7.
fn warning_of_firmware(event: &FirmwareEvent<'_>) -> Option<Finding> {
    let text = match (event.event_type, event.data) {
        (EventType::EFI_ACTION, b"UEFI Debug Mode") => "a firmware debugger was active",
        (EventType::EFI_ACTION, b"DMA Protection Disabled") => "firmware started without protection from DMA",
        _ => return None,
    };
    Some(event.finding(Level::Warning, "firmware-warning", text))
}

/// The action that announces a boot attempt is in PCR 4, and applications are (PFP, section 3.3.4.5).
fn wrong_register(event: &FirmwareEvent<'_>) -> Option<Finding> {
    let Register::Pcr(register) = event.record.register else { return None };
    let misplaced = match event.event_type {
        EventType::EFI_ACTION if event.data == CALLING => register.get() != 4,
        EventType::EFI_BOOT_SERVICES_APPLICATION => register.get() != 4,
        EventType::EFI_VARIABLE_BOOT => register.get() != 1,
        EventType::EFI_GPT_EVENT => register.get() != 5,
        _ => false,
    };
    let text = format!("{} in PCR {register}", event.event_type);
    misplaced.then(|| event.finding(Level::Warning, "wrong-register", text))
}

/// The last thing that firmware measures: without it the log, or the boot, ended before.
fn no_exit(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let boots = facts.firmware().any(|event| event.event_type == EventType::EFI_BOOT_SERVICES_APPLICATION);
    let exits = facts.firmware().any(|event| {
        event.event_type == EventType::EFI_ACTION && event.data.starts_with(b"Exit Boot Services")
    });
    let actions = |text: &[u8]| {
        facts
            .firmware()
            .filter(|event| event.event_type == EventType::EFI_ACTION && event.data.starts_with(text))
            .count()
    };
    let (called, returned) =
        (actions(b"Exit Boot Services Invocation"), actions(b"Exit Boot Services Returned"));
    if called > returned {
        let text = "an invocation of ExitBootServices without its result: the log ends too early".to_owned();
        let register = Some(pcr(5)).filter(|_| facts.kind == crate::tcg::eventlog::RegisterKind::Pcr);
        findings.push(Finding {
            level: Level::Warning,
            code: "exit-boot-services-cut",
            event: None,
            register,
            text,
        });
    }
    if boots && !exits {
        let text = "no event of ExitBootServices: PCR 5 of the machine may be extended further".to_owned();
        let register = None;
        findings.push(Finding {
            level: Level::Warning,
            code: "no-exit-boot-services",
            event: None,
            register,
            text,
        });
    }
}
