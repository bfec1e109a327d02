//! What is known to extend a register after the firmware's log ended: tried until the values agree.

use super::aggregate;
use crate::tcg::eventlog::{Pcr0Start, RegisterKind};
use crate::tcg::timeline::BootLog;
use crate::tcg::words::{self, extend_all};
use crate::tcg::{Digest, EventType, PcrIndex, PcrValues, cel::Content, extend, ima};

/// What explains a value that the log alone does not.
pub(super) enum Continuation {
    /// These events came after the log ended.
    After(Vec<String>),
    /// The log is complete, but the machine did not do what it says.
    Otherwise(&'static str),
    /// IMA's SHA-1 digests, with zeros behind them, lead to the value: not the digests of this bank that the log, or its
    /// reader, has.
    PaddedIma(&'static str),
}

/// What is known of the boot.
pub(super) struct Boot<'b> {
    pub(super) kind: RegisterKind,
    pub(super) logs: &'b [BootLog<'b>],
    /// What the logs replay to.
    pub(super) replayed: &'b PcrValues,
    /// What the machine reported.
    pub(super) given: &'b PcrValues,
    /// The machine id, 32 hexadecimal digits.
    pub(super) machine_id: Option<&'b str>,
}

impl Boot<'_> {
    /// What explains that `register` holds `given`, and not `old` as the logs say.
    pub(super) fn find(&self, register: PcrIndex, old: Digest, given: Digest) -> Option<Continuation> {
        let found = self.sequences(register).into_iter().find(|sequence| extend_all(old, sequence) == given);
        if let Some(sequence) = found {
            let events = sequence.iter().map(|word| format!("\"{word}\"")).collect();
            return Some(Continuation::After(events));
        }
        match (self.kind, register.get()) {
            (RegisterKind::Pcr, 0) => other_locality(self.logs, given),
            (RegisterKind::Pcr, 10) => {
                padded_ima(self.logs, given).or_else(|| aggregate::find(self, old, given))
            }
            _ => None,
        }
    }

    fn sequences(&self, register: PcrIndex) -> Vec<Vec<String>> {
        let known = match (self.kind, register.get()) {
            (RegisterKind::Mr, _) => words::exit_boot_services(),
            (RegisterKind::Pcr, 11) => [words::sequences(register), words::mode_runs()].concat(),
            (RegisterKind::Pcr, 15) => return words::identity_runs(self.machine_id),
            (RegisterKind::Pcr, _) => words::sequences(register),
        };
        known.into_iter().map(|words| words.into_iter().map(str::to_owned).collect()).collect()
    }
}

/// PCR 5 after each way in which boot services may have ended.
pub(super) fn ended_boot_services(old: Digest) -> impl Iterator<Item = Digest> {
    words::exit_boot_services().into_iter().map(move |sequence| extend_all(old, sequence))
}

/// Firmware that starts the TPM from another locality but does not say so.
fn other_locality(logs: &[BootLog<'_>], given: Digest) -> Option<Continuation> {
    let bank = given.algorithm();
    let firmware = logs.iter().find_map(BootLog::as_firmware)?;
    for locality in [0, 3, 4] {
        let mut value = Pcr0Start::StartupLocality(locality).value(bank);
        for event in firmware.events().filter(|event| event.register == 0) {
            if event.event_type != EventType::NO_ACTION {
                value = extend(value, event.digest(bank)?);
            }
        }
        if value == given {
            return Some(Continuation::Otherwise(match locality {
                0 => "the TPM was started from locality 0, whatever the log says",
                3 => "the TPM was started from locality 3, which the log does not say",
                _ => "the TPM was started from locality 4, which the log does not say",
            }));
        }
    }
    None
}

/// A kernel that lacks the bank's hash function extends IMA's SHA-1 digests with zeros behind them.
fn padded_ima(logs: &[BootLog<'_>], given: Digest) -> Option<Continuation> {
    let bank = given.algorithm();
    let mut value = Digest::zero(bank);
    for record in logs.iter().flat_map(BootLog::iter) {
        if let Content::ImaTemplate { .. } = record.content {
            value = extend(value, ima::padded(&record, bank)?);
        }
    }
    let text = "the kernel lacked this hash and extended IMA's SHA-1 digests with zeros behind them";
    (value == given).then_some(Continuation::PaddedIma(text))
}
