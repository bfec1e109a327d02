//! What is known to extend a register after the firmware's log ended: tried until the values agree.

use std::borrow::Cow;

use super::aggregate;
use crate::tcg::eventlog::{Pcr0Start, RegisterKind};
use crate::tcg::timeline::BootLog;
use crate::tcg::{Digest, EventType, PcrIndex, PcrValues, cel::Content, extend, ima};

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

/// Words of systemd's own modes, from version 258 on, in PCR 11.
const MODES: [&[&str]; 3] = [
    &["factory-reset"],
    &["storage-target-mode-start"],
    &["storage-target-mode-start", "storage-target-mode-stop"],
];

/// Words that systemd measures elsewhere (systemd-tpm2-setup, from version 259 and 261 on).
const OS_SEPARATOR: &str = "os-separator";
const NVPCR_SEPARATOR: &str = "nvpcr-separator";

/// File systems that systemd measures into PCR 15, of which no block device has a type, UUID, label or partition.
const ROOT: &str = "file-system:/::::::";
const VAR: &str = "file-system:/var::::::";

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
        let sequences = match self.kind {
            RegisterKind::Mr => exit_boot_services(),
            RegisterKind::Pcr => self.sequences(register),
        };
        let found = sequences.into_iter().find(|sequence| extend_all(old, sequence) == given);
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

    fn sequences(&self, register: PcrIndex) -> Vec<Words> {
        let separators = || vec![words(&[OS_SEPARATOR])];
        match register.get() {
            5 => {
                let mut sequences = exit_boot_services();
                let with_separator: Vec<_> = sequences
                    .iter()
                    .map(|sequence| [sequence.as_slice(), &words(&[OS_SEPARATOR])].concat())
                    .collect();
                sequences.extend(with_separator);
                sequences.extend(separators());
                sequences
            }
            9 => vec![
                words(&[OS_SEPARATOR]),
                words(&[NVPCR_SEPARATOR]),
                words(&[OS_SEPARATOR, NVPCR_SEPARATOR]),
            ],
            0..=7 | 12..=14 => separators(),
            11 => phases(),
            15 => self.machine_words(),
            _ => Vec::new(),
        }
    }

    /// The machine id, and file systems without a device behind them: the others have random names.
    fn machine_words(&self) -> Vec<Words> {
        let id: Words = self.machine_id.iter().map(|id| format!("machine-id:{id}").into()).collect();
        let ids = if id.is_empty() { vec![Vec::new()] } else { vec![id, Vec::new()] };
        let file_systems = [&[][..], &[ROOT], &[ROOT, VAR], &[VAR]];
        let sequences = ids
            .iter()
            .flat_map(|id| file_systems.iter().map(move |names| [id.as_slice(), &words(names)].concat()));
        sequences.filter(|sequence| !sequence.is_empty()).collect()
    }
}

/// What is measured one after the other: text without a final NUL.
type Words = Vec<Cow<'static, str>>;

fn words(of: &[&'static str]) -> Words {
    of.iter().map(|word| Cow::Borrowed(*word)).collect()
}

fn extend_all(old: Digest, sequence: &Words) -> Digest {
    sequence.iter().fold(old, |value, word| extend(value, Digest::of(value.algorithm(), word.as_bytes())))
}

fn exit_boot_services() -> Vec<Words> {
    EXIT_BOOT_SERVICES.iter().map(|sequence| words(sequence)).collect()
}

/// PCR 5 after each way in which boot services may have ended.
pub(super) fn ended_boot_services(old: Digest) -> impl Iterator<Item = Digest> {
    exit_boot_services().into_iter().map(move |sequence| extend_all(old, &sequence))
}

/// Every run of phases that a boot may have gone through, with and without those of an initrd, and with one of the
/// modes that a boot may enter instead.
fn phases() -> Vec<Words> {
    let runs = (0..PHASES.len())
        .flat_map(|start| (start.saturating_add(1)..=PHASES.len()).map(move |end| start..end));
    let runs: Vec<&[&'static str]> = runs.filter_map(|run| PHASES.get(run)).collect();
    let mut sequences: Vec<Words> = runs.iter().map(|run| words(run)).collect();
    for run in std::iter::once(&[][..]).chain(runs) {
        for (mode, at) in MODES.iter().flat_map(|mode| (0..=run.len()).map(move |at| (mode, at))) {
            let (before, after) = run.split_at(at);
            sequences.push(words(&[before, mode, after].concat()));
        }
    }
    sequences
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
