//! PCR 0 of OVMF from its image: the version text, and two firmware volumes.
//!
//! The volume of DXE drivers (DXEFV) is measured as it stands in the image. The volume of PEI modules (PEIFV) runs in
//! place in memory, and most builds have changed their own data by the time that `Tcg2Pei` hashes it. What they change is
//! known for the builds in `platforms/ovmf.json`, found by comparing guest memory with the image; for other builds PCR 0 can't be
//! derived from the file alone.

use super::measurement::{GapCode, Rule, Source};
use super::platform::{Build, MeasuredVolume, Volume};
use super::recorder::{Event, Recorder};
use super::text::{utf16_nul, utf16_units};
use super::{FirmwareImage, Platform, Scenario};
use crate::hashing::Segment;
use crate::secure_boot::Key;
use crate::tcg::{Digest, EventType, HashAlgorithm, PcrIndex};

const PCR: PcrIndex = PcrIndex::new(0);

const VERSION: Rule = Rule {
    id: "firmware-version",
    statement: "the firmware measures its version text as UTF-16 with the final NUL",
    source: "PFP section 3.3.4.1; EDK2 Tcg2Pei MeasureCRTMVersion, PcdFirmwareVersionString; observed",
};
const VOLUME: Rule = Rule {
    id: "firmware-volume",
    statement: "OVMF measures its volumes PEIFV and DXEFV, the former as its modules have left it in memory",
    source: "EDK2 Tcg2Pei MeasureMainBios, OvmfPkgX64.fdf; observed with OVMF 2022.11, 2025.02 and 2026.08 of Debian",
};

/// The machine under OVMF, as far as its PEI modules write it down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Machine {
    /// Processors (`-smp`).
    pub processors: u32,
    /// Memory in MiB (`-m`).
    pub memory: u64,
    /// Version of QEMU, whose `-cpu max` differs from one to the other; `None` when nobody said.
    pub qemu: Option<(u32, u32)>,
}

/// DXEFV's place in memory (`PcdOvmfDxeMemFvBase`).
const DXEFV_BASE: u64 = 0x90_0000;

/// PCR 0 without its separator, if the image and the machine determine it; a gap otherwise.
pub(super) fn measure(image: &FirmwareImage, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    let sha256 = image.sha256.to_string();
    let Some(build) = build(&sha256) else {
        let reason = "this build of the firmware may change its PEI volume in memory before it measures it";
        return gap(
            reason,
            "--baseline with an event log of a machine with this firmware".to_owned(),
            recorder,
        );
    };
    let Some(measured) = build.volumes.iter().find(|volume| volume.fits(scenario)) else {
        return gap(
            "this build of the firmware writes the machine's shape, or a part of its variables, into what it measures",
            remedy(build),
            recorder,
        );
    };
    let (Some(peifv), Some(dxefv)) = (&image.peifv, &image.dxefv) else { return };
    if !measured.assumption.is_empty() {
        recorder.assume("ovmf-pei-volume", measured.assumption.as_str(), &[0], "--baseline");
    }
    let declared = scenario.machine.and_then(|machine| machine.qemu);
    if let (Some((major, minor)), None) = (measured.qemu, declared) {
        recorder.warn(format!(
            "PCR 0 is that of QEMU {major}.{minor}: this build of OVMF stores what it finds of the processor, and -cpu max differs \
             between versions of QEMU; say which with --machine ...,qemu=VERSION"
        ));
    }
    recorder.assume(
        "ovmf-machine",
        "the machine is QEMU's q35, on which this build was observed",
        &[0],
        "--baseline",
    );
    version(&build.version, recorder);
    let description = "firmware volume PEIFV, as its modules leave it in memory";
    let event = volume_event(description, build.base, peifv.len());
    match &measured.volume {
        Volume::Changed(changes) => match changed(peifv, changes) {
            Some(bytes) => recorder.measure(event, [Segment::bytes(bytes)]),
            None => return gap("the volume is smaller than the build's", String::new(), recorder),
        },
        Volume::Digests(digests) => recorder.observe(event, digests.clone()),
    }
    let event = volume_event("firmware volume DXEFV", DXEFV_BASE, dxefv.len());
    recorder.measure(event, [Segment::bytes(dxefv.clone())]);
}

/// What is known of the build, whichever platform it is of.
fn build(sha256: &str) -> Option<&'static Build> {
    Platform::all().iter().find_map(|platform| platform.builds.find(sha256))
}

fn gap(reason: &str, remedy: String, recorder: &mut Recorder<'_>) {
    recorder.gap(PCR, GapCode::Firmware, &VOLUME, reason, remedy);
}

impl MeasuredVolume {
    /// The machine is the one that this was observed on, as far as it was declared; the version of QEMU may be left open.
    fn fits(&self, scenario: &Scenario) -> bool {
        let machine = scenario.machine;
        let shape = machine.map(|machine| (machine.processors, machine.memory));
        let declared = machine.and_then(|machine| machine.qemu);
        (self.machine.is_none() || self.machine == shape)
            && (self.qemu.is_none() || declared.is_none() || self.qemu == declared)
            && self
                .platform_key
                .as_ref()
                .is_none_or(|wanted| platform_key(scenario).is_some_and(|key| wanted.accepts(&key)))
    }
}

/// SHA-256 of the machine's `PK`, where that is known.
fn platform_key(scenario: &Scenario) -> Option<String> {
    let policy = scenario.secure_boot_policy.as_ref()?;
    let key = policy.variables.key(Key::Pk).bytes()?;
    Some(Digest::of(HashAlgorithm::Sha256, key).to_string())
}

/// The machines for which the build is known.
fn remedy(build: &Build) -> String {
    let machines = build.volumes.iter().filter_map(|volume| volume.machine);
    let mut known: Vec<String> = machines.map(|(cpus, memory)| format!("cpus={cpus},mem={memory}")).collect();
    known.dedup();
    let variables = if build.volumes.iter().any(|volume| volume.platform_key.is_some()) {
        " and --variables"
    } else {
        ""
    };
    format!("--machine {}{variables} where that is the machine, or --baseline", known.join(" or "))
}

fn version(text: &str, recorder: &mut Recorder<'_>) {
    let data = utf16_nul(&utf16_units(text));
    let event = Event {
        pcr: PCR,
        event_type: Some(EventType::S_CRTM_VERSION),
        data: Some(data.clone()),
        description: format!("firmware version '{text}'"),
        source: Source::Option("--firmware"),
        rule: &VERSION,
    };
    recorder.measure(event, [Segment::bytes(data)]);
}

/// `EFI_PLATFORM_FIRMWARE_BLOB`: base and length.
fn volume_event(description: &str, base: u64, length: usize) -> Event {
    Event {
        pcr: PCR,
        event_type: Some(EventType::EFI_PLATFORM_FIRMWARE_BLOB),
        data: Some([base.to_le_bytes(), (length as u64).to_le_bytes()].concat()),
        description: description.to_owned(),
        source: Source::Option("--firmware"),
        rule: &VOLUME,
    }
}

fn changed(volume: &[u8], changes: &[(usize, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut bytes = volume.to_vec();
    for (offset, new) in changes {
        bytes.get_mut(*offset..offset.checked_add(new.len())?)?.copy_from_slice(new);
    }
    Some(bytes)
}
