//! PCR 0 of OVMF from its image: the version text, and two firmware volumes.
//!
//! The volume of DXE drivers (DXEFV) is measured as it stands in the image. The volume of PEI modules (PEIFV) runs in
//! place in memory, and most builds have changed their own data by the time that `Tcg2Pei` hashes it. What they change is
//! known for the builds of [`BUILDS`], found by comparing guest memory with the image; for other builds PCR 0 can't be
//! derived from the file alone.

use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::text::{utf16_nul, utf16_units};
use super::{FirmwareImage, Scenario};
use crate::hashing::Segment;
use crate::secure_boot::Key;
use crate::tcg::{Digest, DigestSet, EventType, HashAlgorithm, PcrIndex};

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

/// What is known of one build.
struct Build {
    /// SHA-256 of the image.
    sha256: &'static str,
    /// The text of `EV_S_CRTM_VERSION`.
    version: &'static str,
    /// Where PEIFV lies in memory; the event says so.
    base: u64,
    /// PEIFV as measured.
    volumes: &'static [MeasuredVolume],
}

/// PEIFV as a build leaves it in memory on one machine.
struct MeasuredVolume {
    /// Processors, and memory in MiB; `None` where it does not depend on them.
    machine: Option<(u32, u64)>,
    /// Version of QEMU; `None` where it does not depend on it.
    qemu: Option<(u32, u32)>,
    /// Whose keys are in the variable store; `None` where it does not depend on that.
    keys: Option<Keys>,
    change: Change,
    /// What else it depends on; empty where nothing was seen.
    assumption: &'static str,
}

/// What the variable store was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Debian's store with Microsoft's keys.
    Microsoft,
    /// Debian's empty store, keys put in.
    Own,
}

/// SHA-256 of the variable `PK` in Debian's `OVMF_VARS_4M.ms.fd` of 2022.11.
const MICROSOFT_PK: &str = "fb514c4fa21477bbdb7979173141de6d852b0df3a260da6602873c1c7f9666ab";

/// Offset in the volume, and the bytes that stand there then.
type Patch = (usize, &'static [u8]);

enum Change {
    /// Bytes that stand in the volume then, in any order.
    Bytes(&'static [&'static [Patch]]),
    /// Digests from the logs of real boots.
    Digests(&'static [(HashAlgorithm, &'static str)]),
}

const TWO_CPUS_1G: Option<(u32, u64)> = Some((2, 1024));
/// DXEFV's place in memory (`PcdOvmfDxeMemFvBase`).
const DXEFV_BASE: u64 = 0x90_0000;

/// What both builds of 2022.11 write of the machine's shape, whatever the variable store is.
const SHAPE_2022_11: &[Patch] = &[
    (0xE0D8, &[0xC0, 0x29]),
    (0xE0F0, &[0x10]),
    (0xE0F4, &[0x28]),
    (0xE0F8, &[0x80]),
    (0xE10A, &[0xE0]),
    (0xE112, &[0x20]),
    (0xE119, &[0xC0]),
    (0xE11D, &[0x3C, 0x00, 0x60]),
    (0xE127, &[0xA0]),
    (0xE136, &[0x02]),
    (0xE13A, &[0x02]),
    (0xE13E, &[0x40]),
];
/// What only the plain build writes beside that.
const PLAIN_2022_11: &[Patch] =
    &[(0xE0E7, &[0x01]), (0xE144, &[0xF7, 0x3F, 0x00, 0x00, 0x09, 0x00, 0x01, 0x01])];
/// What only the secboot build writes beside that.
const SECBOOT_2022_11: &[Patch] = &[(0xE0E8, &[0x01, 0x01, 0x10]), (0xE14A, &[0x01, 0x01])];

/// Debian's builds whose boots were recorded, on a q35 machine.
const BUILDS: &[Build] = &[
    Build {
        sha256: "b157d97b1f69729514feb7f201d2cbe4957f23ab77920e361fe9f822ba49ca4c", // 2022.11-6+deb12u2, plain
        version: "",
        base: 0x82_0000,
        volumes: &[MeasuredVolume {
            machine: TWO_CPUS_1G,
            qemu: None,
            keys: None,
            change: Change::Bytes(&[SHAPE_2022_11, PLAIN_2022_11]),
            assumption: "",
        }],
    },
    Build {
        sha256: "d50189a486d22af418198226a3a5bcb6ddac775590f6a808bd629474ee034d62", // 2022.11-6+deb12u2, secboot
        version: "",
        base: 0x82_0000,
        volumes: &[
            MeasuredVolume {
                machine: TWO_CPUS_1G,
                qemu: None,
                keys: Some(Keys::Microsoft),
                change: Change::Bytes(&[&[(0xE0A4, &[0x46, 0x02])], SHAPE_2022_11, SECBOOT_2022_11]),
                assumption: "the variable store is Debian's OVMF_VARS_4M.ms.fd: this build copies two bytes of it",
            },
            MeasuredVolume {
                machine: TWO_CPUS_1G,
                qemu: None,
                keys: Some(Keys::Own),
                change: Change::Bytes(&[SHAPE_2022_11, SECBOOT_2022_11]),
                assumption: "the variable store is Debian's OVMF_VARS_4M.fd with keys put in: this build copies two bytes of it",
            },
        ],
    },
    Build {
        sha256: "624e06de18b4fa535e90db7160d00d3d07d206422b89999bf1e27d920264e4e0", // 2025.02-8+deb13u1, plain
        version: "2025.02-8+deb13u1",
        base: 0x82_0000,
        volumes: &[MeasuredVolume {
            machine: None,
            qemu: None,
            keys: None,
            change: Change::Bytes(&[&[(0x6E50, &[0x08, 0x06])]]),
            assumption: "",
        }],
    },
    Build {
        sha256: "1a46295574430cfb7f825ee3e4dc64b052acbef08e310377ed7c64cb757a9dc1", // 2025.02-8+deb13u1, secboot
        version: "2025.02-8+deb13u1",
        base: 0x82_0000,
        volumes: &[
            MeasuredVolume {
                machine: TWO_CPUS_1G,
                qemu: Some((7, 2)),
                keys: None,
                change: Change::Digests(&[
                    (HashAlgorithm::Sha1, "387d8bb401c3463c9ab7c1c5b1378ca5cc961ab3"),
                    (
                        HashAlgorithm::Sha256,
                        "bada796b0c03c8faa8ca81776ed6b92072d0ec215e89468abe4645b4d2cb811c",
                    ),
                    (
                        HashAlgorithm::Sha384,
                        "a3b9fc3f4ae04435ec7e1c4a110505f546d0d9d862c38c16b9268c3106032ecfb50bfc920bcb20f9815814650a34b8f5",
                    ),
                    (
                        HashAlgorithm::Sha512,
                        "660b4c44e46c3d0633d6b29e7f35bd7c6ee658be22cbe891ba07124da6c4b64cbbe98038835aab31f7a60aec8f2c85a66\
                     8ede26752e27cbae2a296eceb2cc7e6",
                    ),
                ]),
                assumption: "the processor is -cpu max of QEMU 7.2: this build stores what it finds of it (--machine ...,qemu=VERSION)",
            },
            MeasuredVolume {
                machine: TWO_CPUS_1G,
                qemu: Some((10, 0)),
                keys: None,
                change: Change::Digests(&[
                    (HashAlgorithm::Sha1, "f43e06d2f0c907d757de4dedacbc10cfbba4c3ec"),
                    (
                        HashAlgorithm::Sha256,
                        "361ae091edd6565d8f643a3fae7249607e0db905cf04f8cb0e6c344ff4248f49",
                    ),
                    (
                        HashAlgorithm::Sha384,
                        "cfae95486b6c17f877176a7a882047cdf499f8606c71fcca047a7624bfc9a1db625e9d9aba4d42eeac747b9d7774be26",
                    ),
                    (
                        HashAlgorithm::Sha512,
                        "d7803a556fc079cf4ed5bdb010c443b74fc80ed2f6ea610796ef75357d4e3b19affbe92cfa32a088d4b24f4f8b79860c41be8b905\
                     3ab4994d28acd498b06e33a",
                    ),
                ]),
                assumption: "the processor is -cpu max: this build stores what it finds of it",
            },
        ],
    },
    Build {
        sha256: "7e34e3b83224968bb0714c0ebc88f75c5c37b4cc892c902e511ccc7a7c107f94", // 2026.08+ds-2, plain
        version: "2026.08+ds-2",
        base: 0x83_0000,
        volumes: &[MeasuredVolume {
            machine: None,
            qemu: None,
            keys: None,
            change: Change::Bytes(&[]),
            assumption: "",
        }],
    },
];

/// PCR 0 without its separator, if the image and the machine determine it; a gap otherwise.
pub(super) fn measure(image: &FirmwareImage, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    let sha256 = image.sha256.to_string();
    let Some(build) = BUILDS.iter().find(|build| build.sha256 == sha256) else {
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
        recorder.assume("ovmf-pei-volume", measured.assumption, &[0], "--baseline");
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
    version(build.version, recorder);
    let description = "firmware volume PEIFV, as its modules leave it in memory";
    let event = volume_event(description, build.base, peifv.len());
    match &measured.change {
        Change::Bytes(changes) => match changed(peifv, changes) {
            Some(bytes) => recorder.measure(event, [Segment::bytes(bytes)]),
            None => return gap("the volume is smaller than the build's", String::new(), recorder),
        },
        Change::Digests(digests) => {
            let known =
                digests.iter().filter_map(|(bank, text)| Digest::from_bytes(*bank, &hex::decode(text).ok()?));
            recorder.observe(event, known.collect::<DigestSet>());
        }
    }
    let event = volume_event("firmware volume DXEFV", DXEFV_BASE, dxefv.len());
    recorder.measure(event, [Segment::bytes(dxefv.clone())]);
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
            && (self.keys.is_none() || self.keys == keys(scenario))
    }
}

/// Whose keys the machine's variables hold, where they are known.
fn keys(scenario: &Scenario) -> Option<Keys> {
    let policy = scenario.secure_boot_policy.as_ref()?;
    let platform_key = policy.variables.key(Key::Pk).bytes()?;
    let is_microsofts = Digest::of(HashAlgorithm::Sha256, platform_key).to_string() == MICROSOFT_PK;
    Some(if is_microsofts { Keys::Microsoft } else { Keys::Own })
}

/// The machines for which the build is known.
fn remedy(build: &Build) -> String {
    let machines = build.volumes.iter().filter_map(|volume| volume.machine);
    let mut known: Vec<String> = machines.map(|(cpus, memory)| format!("cpus={cpus},mem={memory}")).collect();
    known.dedup();
    let variables =
        if build.volumes.iter().any(|volume| volume.keys.is_some()) { " and --variables" } else { "" };
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

fn changed(volume: &[u8], changes: &[&[Patch]]) -> Option<Vec<u8>> {
    let mut bytes = volume.to_vec();
    for (offset, new) in changes.iter().copied().flatten() {
        bytes.get_mut(*offset..offset.checked_add(new.len())?)?.copy_from_slice(new);
    }
    Some(bytes)
}
