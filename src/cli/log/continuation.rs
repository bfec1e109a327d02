//! What is known to extend a register after the firmware's log ended: tried until the values agree.

use crate::tcg::eventlog::{Pcr0Start, RegisterKind};
use crate::tcg::timeline::BootLog;
use crate::tcg::{Digest, EventType, PcrIndex, cel::Content, extend, ima};

/// What explains a value that the log alone does not.
pub(super) enum Continuation {
    /// These events came after the log ended.
    After(Vec<String>),
    /// The log is complete, but the machine did not do what it says.
    Otherwise(&'static str),
}

/// Strings of `EV_EFI_ACTION` at the end of boot services: firmware logs them, but kernels that read the log
/// without the final events table lose them.
const EXIT_BOOT_SERVICES: [&[&str]; 4] = [
    &[INVOCATION, SUCCESS],
    &[INVOCATION, FAILURE],
    &[INVOCATION, FAILURE, INVOCATION, SUCCESS],
    &[FAILURE, INVOCATION, SUCCESS],
];
const INVOCATION: &str = "Exit Boot Services Invocation";
const SUCCESS: &str = "Exit Boot Services Returned with Success";
const FAILURE: &str = "Exit Boot Services Returned with Failure";

/// Words that systemd measures into PCR 11, in order of a boot (systemd-pcrphase).
const PHASES: [&str; 6] = ["enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown", "final"];

/// Words that systemd measures elsewhere (systemd-tpm2-setup, from version 259 and 261 on).
const OS_SEPARATOR: &str = "os-separator";
const NVPCR_SEPARATOR: &str = "nvpcr-separator";

pub(super) fn find(
    kind: RegisterKind,
    logs: &[BootLog<'_>],
    register: PcrIndex,
    old: Digest,
    given: Digest,
) -> Option<Continuation> {
    let sequences = match kind {
        RegisterKind::Mr => exit_boot_services(),
        RegisterKind::Pcr => sequences(register),
    };
    for sequence in sequences {
        let value = sequence
            .iter()
            .fold(old, |value, word| extend(value, Digest::of(value.algorithm(), word.as_bytes())));
        if value == given {
            let events = sequence.iter().map(|word| format!("\"{word}\"")).collect();
            return Some(Continuation::After(events));
        }
    }
    match (kind, register.get()) {
        (RegisterKind::Pcr, 0) => other_locality(logs, given),
        (RegisterKind::Pcr, 10) => padded_ima(logs, given),
        _ => None,
    }
}

fn exit_boot_services() -> Vec<Vec<&'static str>> {
    EXIT_BOOT_SERVICES.iter().map(|sequence| sequence.to_vec()).collect()
}

fn sequences(register: PcrIndex) -> Vec<Vec<&'static str>> {
    let separators = || vec![vec![OS_SEPARATOR]];
    match register.get() {
        5 => {
            let mut sequences = exit_boot_services();
            let with_separator =
                sequences.iter().map(|sequence| [sequence.as_slice(), &[OS_SEPARATOR]].concat());
            let with_separator: Vec<_> = with_separator.collect();
            sequences.extend(with_separator);
            sequences.extend(separators());
            sequences
        }
        9 => vec![vec![OS_SEPARATOR], vec![NVPCR_SEPARATOR], vec![OS_SEPARATOR, NVPCR_SEPARATOR]],
        0..=7 | 12..=14 => separators(),
        11 => phases(),
        _ => Vec::new(),
    }
}

/// Every run of phases that a boot may have gone through, with and without those of an initrd.
fn phases() -> Vec<Vec<&'static str>> {
    let runs = (0..PHASES.len())
        .flat_map(|start| (start.saturating_add(1)..=PHASES.len()).map(move |end| start..end));
    runs.filter_map(|run| PHASES.get(run)).map(<[&str]>::to_vec).collect()
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
    (value == given).then_some(Continuation::Otherwise(text))
}
