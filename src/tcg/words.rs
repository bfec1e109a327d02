//! Words that are known to extend a register after the firmware's log ended: one table for whoever explains a value that is
//! ahead of a log or of a prediction.
//!
//! Each word is extended as text, without a final NUL.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::{Digest, PcrIndex, extend};

const INVOCATION: &str = "Exit Boot Services Invocation";
const SUCCESS: &str = "Exit Boot Services Returned with Success";
const FAILURE: &str = "Exit Boot Services Returned with Failure";

/// `EV_EFI_ACTION` at the end of boot services (EDK2 `Tcg2Dxe`, `OnExitBootServices`): firmware logs them, but kernels that
/// read the log without the final events table lose them.
pub(crate) const EXIT_BOOT_SERVICES: [&[&str]; 4] = [
    &[INVOCATION, SUCCESS],
    &[INVOCATION, FAILURE, INVOCATION, SUCCESS],
    &[INVOCATION, FAILURE],
    &[FAILURE, INVOCATION, SUCCESS],
];

/// Words of systemd in PCR 11, in order of a boot (systemd-pcrphase).
pub(crate) const PHASES: [&str; 6] =
    ["enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown", "final"];

/// Words of systemd's own modes in PCR 11, from version 258 on.
const MODES: [&[&str]; 3] = [
    &["factory-reset"],
    &["storage-target-mode-start"],
    &["storage-target-mode-start", "storage-target-mode-stop"],
];

/// systemd's word between firmware and user space (systemd-pcrosseparator.service, from 261 on).
pub(crate) const OS_SEPARATOR: &str = "os-separator";
/// systemd's word behind the NvPCRs (systemd-pcrnvdone.service, from 259 on).
pub(crate) const NVPCR_SEPARATOR: &str = "nvpcr-separator";

/// File systems that systemd measures into PCR 15, of which no block device has a type, UUID, label or partition.
const FILE_SYSTEMS: [&[&str]; 4] = [
    &[],
    &["file-system:/::::::"],
    &["file-system:/::::::", "file-system:/var::::::"],
    &["file-system:/var::::::"],
];

/// One after the other.
pub(crate) type Words = Vec<&'static str>;

/// Words that are known to come after the firmware's log, by register.
pub(crate) fn sequences(pcr: PcrIndex) -> Vec<Words> {
    match pcr.get() {
        5 => {
            let exits = exit_boot_services();
            let separated = exits.clone().into_iter().map(|words| [words, vec![OS_SEPARATOR]].concat());
            [exits.clone(), separated.collect(), vec![vec![OS_SEPARATOR]]].concat()
        }
        9 => vec![vec![OS_SEPARATOR], vec![NVPCR_SEPARATOR], vec![OS_SEPARATOR, NVPCR_SEPARATOR]],
        11 => phase_runs().into_iter().map(<[&str]>::to_vec).collect(),
        0..=7 | 12..=14 => vec![vec![OS_SEPARATOR]],
        _ => Vec::new(),
    }
}

/// Each way in which boot services may have ended.
pub(crate) fn exit_boot_services() -> Vec<Words> {
    EXIT_BOOT_SERVICES.iter().map(|words| words.to_vec()).collect()
}

/// Every run of phases that a boot may have gone through, with and without those of an initrd.
pub(crate) fn phase_runs() -> Vec<&'static [&'static str]> {
    const ALL: &[&str] = &PHASES;
    let runs =
        (0..ALL.len()).flat_map(|start| (start.saturating_add(1)..=ALL.len()).map(move |end| start..end));
    runs.filter_map(|run| ALL.get(run)).collect()
}

/// Runs of phases with one of the modes that a boot may enter instead of going on.
pub(crate) fn mode_runs() -> Vec<Words> {
    let mut sequences = Vec::new();
    for run in std::iter::once(&[][..]).chain(phase_runs()) {
        for (mode, at) in MODES.iter().flat_map(|mode| (0..=run.len()).map(move |at| (mode, at))) {
            let (before, after) = run.split_at(at);
            sequences.push([before, mode, after].concat());
        }
    }
    sequences
}

/// What systemd measures into PCR 15: the machine's id, if it is known, and file systems without a device behind them. The
/// others have random names.
pub(crate) fn identity_runs(machine_id: Option<&str>) -> Vec<Vec<String>> {
    let id: Vec<String> = machine_id.iter().map(|id| format!("machine-id:{id}")).collect();
    let ids = if id.is_empty() { vec![Vec::new()] } else { vec![id, Vec::new()] };
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let sequences =
        ids.iter().flat_map(|id| FILE_SYSTEMS.iter().map(move |names| [id.clone(), owned(names)].concat()));
    sequences.filter(|sequence| !sequence.is_empty()).collect()
}

/// A register's value after these words.
pub(crate) fn extend_all<W: AsRef<str>>(old: Digest, words: impl IntoIterator<Item = W>) -> Digest {
    let measured =
        |value: Digest, word: W| extend(value, Digest::of(value.algorithm(), word.as_ref().as_bytes()));
    words.into_iter().fold(old, measured)
}
