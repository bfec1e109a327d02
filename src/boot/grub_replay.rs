//! GRUB as a recorded boot shows it, where its run can't be followed: what it did is kept, kernel and initrd are measured anew.

use super::measurement::{Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::systemd_stub::Handover;
use super::{BootChain, GrubBoot, GrubReplay, ReplayStep, Scenario, firmware, grub};
use crate::tcg::EventType;

const RECORDED: Rule = Rule {
    id: "grub-recorded",
    statement: "the same GRUB, started with the same configuration, runs the same commands and opens the same files again",
    source: "the event log given as baseline",
};
const KERNEL: Rule = Rule {
    id: "grub-recorded-kernel",
    statement: "the kernel is measured as an image as often as in the recorded boot",
    source: "the event log given as baseline",
};

/// What a recorded boot is worth for this one.
pub(super) enum Recorded<'a> {
    /// None was given.
    No,
    /// It is of no use, for this reason.
    Unusable(String),
    /// GRUB does the same again.
    Usable(&'a GrubReplay),
}

impl<'a> Recorded<'a> {
    pub(super) fn of(boot: Option<&'a GrubBoot>, scenario: &Scenario, recorder: &Recorder<'_>) -> Self {
        let Some(recorded) = boot.and_then(|boot| boot.recorded.as_ref()) else { return Self::No };
        let replay = match recorded {
            Ok(replay) => replay,
            Err(why) => return Self::Unusable(why.clone()),
        };
        let unusable = |why: &str| Self::Unusable(why.to_owned());
        if scenario.baseline.is_none() || recorder.running().is_some() {
            return unusable("it is not of the registers that are predicted");
        }
        match replay.secure_boot {
            None => unusable("it does not show the state of Secure Boot"),
            Some(state) if state != scenario.secure_boot => unusable("Secure Boot was in the other state"),
            Some(true) if replay.kernel_measured == 0 => {
                unusable("it has no kernel in PCR 4, which somebody checks under Secure Boot")
            }
            Some(_) => Self::Usable(replay),
        }
    }

    /// Why nothing is known, and why the recorded boot does not help.
    pub(super) fn reason(&self, reason: &str) -> String {
        match self {
            Self::Unusable(why) => format!("{reason}; the recorded boot does not help: {why}"),
            Self::No | Self::Usable(_) => reason.to_owned(),
        }
    }
}

/// Runs GRUB as it ran.
pub(super) fn run(
    chain: &BootChain,
    replay: &GrubReplay,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) -> Result<Option<Handover>, BootError> {
    assume(replay, scenario, recorder);
    let logs = scenario.baseline.as_ref().map(|recorded| recorded.inputs.clone()).unwrap_or_default();
    for step in &replay.steps {
        match step {
            ReplayStep::Kept { pcr, data, digests } => {
                let text = String::from_utf8_lossy(data).trim_end_matches('\0').to_owned();
                let event = Event {
                    pcr: *pcr,
                    event_type: Some(EventType::IPL),
                    data: Some(data.clone()),
                    description: if pcr.get() == 9 { format!("file {text}") } else { text },
                    source: Source::Observed(logs.clone()),
                    rule: &RECORDED,
                };
                recorder.observe(event, digests.clone());
            }
            ReplayStep::File { name, input } => grub::file(chain, name, *input, recorder),
            ReplayStep::Kernel => firmware::load_image(&replay.kernel, Some(&KERNEL), "kernel", recorder)?,
        }
    }
    let Some(raw) = &replay.load_options else { return Ok(None) };
    let units =
        raw.chunks_exact(2).filter_map(|unit| unit.first_chunk().map(|unit| u16::from_le_bytes(*unit)));
    let text = units.filter(|unit| *unit != 0).collect();
    grub::passed(chain, &replay.kernel, text, raw.clone(), &replay.initrds).map(Some)
}

fn assume(replay: &GrubReplay, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    let names = scenario.baseline.as_ref().map(|recorded| recorded.names()).unwrap_or_default();
    let statement = format!(
        "GRUB does what it did in the recorded boot ({names}), a trace of an execution: the choice at its menu is the same, \
         the machine answers as then, disks come in the same order, and files that it only looks for and that are not on the disk \
         were not there then"
    );
    recorder.assume("grub-as-recorded", statement, &[4, 7, 8, 9], "");
    let no_stub =
        "no systemd-stub is involved, so nothing measures sections, addons, credentials or extensions";
    recorder.assume("no-stub", no_stub, &[11, 12, 13], "");
    if replay.kernel_changed && replay.load_options.is_none() {
        let entry = "the kernel's EFI stub measures nothing: it is entered as that of the recorded boot, which was as new";
        recorder.assume("grub-kernel-entry", entry, &[9], "");
    }
}
