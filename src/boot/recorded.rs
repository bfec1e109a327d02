//! The platform's share, as recorded boots show it.

use super::cc::DIFFERS;
use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::{InputId, secure_boot};
use crate::baseline::{PlatformEvent, PlatformPart};
use crate::tcg::{Digest, DigestSet, EventType, PcrIndex};

const RECORDED: Rule = Rule {
    id: "recorded-platform",
    statement: "the platform measures again what it measured in the recorded boot",
    source: "the event logs given as baseline",
};

/// A platform as recorded boots show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedPlatform {
    /// What it measures.
    pub part: PlatformPart,
    /// The files that say so.
    pub inputs: Vec<InputId>,
    /// Which of the alternatives this is, from 0.
    pub number: usize,
    /// How many there are: baselines that differ.
    pub count: usize,
}

impl RecordedPlatform {
    /// The logs in which the platform was so.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.part.logs.iter().map(|log| log.name.as_str()).collect();
        names.join(", ")
    }

    /// The logs show how the calls of `ExitBootServices` turned out. Some kernels don't pass the end of the log on.
    #[must_use]
    pub fn shows_exit(&self) -> bool {
        self.part.events.iter().any(|event| event.at_exit) && !self.part.unstable.contains(&PcrIndex::new(5))
    }

    /// Everything up to the boot option's image.
    pub(super) fn power_on(&self, recorder: &mut Recorder<'_>) {
        recorder.assume(
            "same-platform",
            format!("the machine measures what it measured in the recorded boot ({})", self.names()),
            &[0, 1, 2, 3, 4, 5, 6, 7],
            "--baseline",
        );
        let is_boot_variable = |event: &PlatformEvent| {
            matches!(event.event_type, EventType::EFI_VARIABLE_BOOT | EventType::EFI_VARIABLE_BOOT2)
        };
        if self.part.events.iter().any(is_boot_variable) {
            recorder.assume(
                "boot-variables-as-recorded",
                "the machine's boot options, and their order, are those of the recorded boot",
                &[1],
                "--baseline with the log of a boot with the machine's boot options",
            );
        }
        for pcr in &self.part.unstable {
            recorder.gap(
                *pcr,
                GapCode::Firmware,
                &RECORDED,
                if self.is_cc() { DIFFERS } else { "the recorded boots differ in too many ways" },
                "--baseline with logs of one machine and firmware version",
            );
        }
        recorder.images_in_pcr_2 = self.part.images_in_pcr_2;
        if let Some(start) = self.part.pcr0_start {
            recorder.start_pcr0(start);
        }
        for event in self.part.events.iter().filter(|event| !event.at_exit) {
            self.observe(event, recorder);
        }
    }

    /// The outcome of `ExitBootServices`.
    pub(super) fn exit_boot_services(&self, recorder: &mut Recorder<'_>) {
        for event in self.part.events.iter().filter(|event| event.at_exit) {
            self.observe(event, recorder);
        }
    }

    /// Some firmwares log other data than they hash, which then belongs to no digest.
    fn observe(&self, observed: &PlatformEvent, recorder: &mut Recorder<'_>) {
        if observed.event_type == EventType::EFI_VARIABLE_AUTHORITY
            && let Some(data) = &observed.data
        {
            secure_boot::note_authority(data, recorder);
        }
        let event = Event {
            pcr: observed.pcr,
            event_type: Some(observed.event_type),
            data: observed.data.clone().filter(|data| hashed(data, &observed.digests)),
            description: observed.description.clone(),
            source: Source::Observed(self.inputs.clone()),
            rule: &RECORDED,
        };
        recorder.observe(event, observed.digests.clone());
    }
}

fn hashed(data: &[u8], digests: &DigestSet) -> bool {
    digests.iter().all(|digest| Digest::of(digest.algorithm(), data) == digest)
}
