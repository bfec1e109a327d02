//! What is known to extend a register after the firmware's log ended: tried until the values agree.

use crate::tcg::eventlog::{Pcr0Start, RegisterKind};
use crate::tcg::timeline::BootLog;
use crate::tcg::{Digest, EventType, PcrIndex, extend};

/// Events that explain a value.
pub(super) struct Continuation {
    pub(super) events: Vec<String>,
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
        let value = sequence.iter().fold(old, |value, word| {
            extend(value, Digest::of(value.algorithm(), word.as_bytes()))
        });
        if value == given {
            let events = sequence.iter().map(|word| format!("\"{word}\"")).collect();
            return Some(Continuation { events });
        }
    }
    if register.get() == 0 && kind == RegisterKind::Pcr {
        return other_locality(logs, given);
    }
    None
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
        9 => vec![
            vec![OS_SEPARATOR],
            vec![NVPCR_SEPARATOR],
            vec![OS_SEPARATOR, NVPCR_SEPARATOR],
        ],
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
            let text = format!("nothing: the TPM was started from locality {locality}, which the log does not say");
            return Some(Continuation { events: vec![text] });
        }
    }
    None
}
