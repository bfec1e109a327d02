//! The log as a whole, and records that are odd in themselves.

use crate::tcg::event_data::{Context, EventData, NoAction, decode, txt_type_name};
use crate::tcg::eventlog::{Register, RegisterKind};
use crate::tcg::timeline::BootLog;
use crate::tcg::{EventType, HashAlgorithm};

use super::{Facts, Finding, Findings, FirmwareEvent, Level, quirks};
use crate::tcg::cel::{Content, Record};

pub(super) fn check(log: &BootLog<'_>, facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let whole = |level, code, text| Finding { level, code, event: None, register: None, text };
    if let Some(error) = &log.error {
        findings.push(whole(Level::Error, "truncated", format!("the log ends early: {error}")));
    }
    if let Some((offset, length)) = log.junk() {
        let text = format!("{length} bytes at {offset:#x}, behind the last record, are no records");
        findings.push(whole(Level::Warning, "junk", text));
    }
    if let Some(first) = facts.firmware_event(0).filter(|event| !event.is_extended())
        && first.record.register == super::pcr(1)
        && facts.kind == RegisterKind::Pcr
    {
        let text = "the header is in PCR 1, as a confidential guest's is, but the rest is of a TPM";
        findings.push(first.finding(Level::Warning, "header-register", text));
    }
    let banks = log.banks();
    if banks == [HashAlgorithm::Sha1] {
        let text = "SHA-1 digests only: collisions can be made, so a replay proves little".to_owned();
        findings.push(whole(Level::Warning, "sha1-only", text));
    }
    missing_digests(facts, &banks, findings);
    for event in facts.firmware() {
        record(facts, &event, findings);
    }
}

/// One finding for each bank: such events come in dozens. Those that a quirk explains have one of their own, so that
/// they don't speak for the others.
fn missing_digests(facts: &Facts<'_>, banks: &[HashAlgorithm], findings: &mut Findings<'_>) {
    for bank in banks {
        let lacking = || {
            let numbered = facts.events.iter().zip(0_u64..);
            numbered.filter(|(record, number)| {
                let header = *number == 0 && record.event_type() == Some(EventType::NO_ACTION);
                !header && is_measured(record) && record.digests.get(*bank).is_none()
            })
        };
        for known in [false, true] {
            let mut lacking = lacking().filter(|(record, _)| quirks::logs_one_bank(record) == known);
            let Some((first, number)) = lacking.next() else { continue };
            let text = match lacking.count() {
                0 => format!("no {bank} digest"),
                more => format!("no {bank} digest, as {more} more events"),
            };
            findings.push(Finding {
                level: Level::Warning,
                code: "digest-missing",
                event: Some(number),
                register: Some(first.register),
                text,
            });
        }
    }
}

/// A bank of the TPM was extended with it. NV indices have one hash algorithm; records about the log none.
fn is_measured(record: &Record<'_>) -> bool {
    record.is_extended()
        && !matches!(record.register, Register::Nv(_))
        && !matches!(record.content, Content::Management(_))
}

fn record(facts: &Facts<'_>, event: &FirmwareEvent<'_>, findings: &mut Findings<'_>) {
    let context = Context { data_offset: event.record.offset, uintn: facts.uintn };
    let decoded = decode(event.event_type, event.data, context);
    if let Some(problem) = decoded.problem {
        findings.push(event.finding(Level::Warning, "undecodable", problem.to_string()));
    }
    if let Some(length) = behind_header(&decoded.data) {
        let text =
            format!("{length} bytes behind vendorInfo, which the header does not have: not interpreted");
        findings.push(event.finding(Level::Warning, "header-trailing", text));
    }
    if event.event_type.name().is_none() {
        let text = match txt_type_name(event.event_type) {
            Some(name) => format!("type {} is {name} of Intel TXT", event.event_type),
            None => format!("type {} is not in the specification", event.event_type),
        };
        let level = if txt_type_name(event.event_type).is_some() { Level::Note } else { Level::Warning };
        findings.push(event.finding(level, "type-unknown", text));
    }
    let extendable =
        event.record.register.slot().is_some() || matches!(event.record.register, Register::Nv(_));
    if event.is_extended() && !extendable {
        let text = format!("register {} can't be extended", event.record.register);
        findings.push(event.finding(Level::Error, "register-unknown", text));
    }
    zero_digests(event, findings);
}

/// Bytes of a header behind its last field, if there are any.
fn behind_header(data: &EventData<'_>) -> Option<usize> {
    let length = match data {
        EventData::NoAction(NoAction::SpecId(header)) => header.trailing.len(),
        EventData::NoAction(NoAction::SpecId12(header)) => header.trailing.len(),
        _ => return None,
    };
    (length > 0).then_some(length)
}

fn zero_digests(event: &FirmwareEvent<'_>, findings: &mut Findings<'_>) {
    let mut digests = event.record.digests.iter().map(|(_, digest)| digest.iter().all(|byte| *byte == 0));
    let text = match event.event_type {
        EventType::NO_ACTION if !digests.all(|zero| zero) => "a record that extends nothing has a digest",
        EventType::NO_ACTION => return,
        _ if digests.any(|zero| zero) => "a digest of zeros is the hash of nothing",
        _ => return,
    };
    let level = if event.is_extended() { Level::Warning } else { Level::Note };
    findings.push(event.finding(level, "digest-zero", text));
}
