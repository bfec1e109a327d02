//! systemd in the initrd and on the host: phase words, separators, identities.

use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::{BootChain, Declared, Payload, Scenario, Stage, cc, systemd_stub};
use crate::hashing::Segment;
use crate::tcg::PcrIndex;
use crate::uki::SystemdVersion;

/// What a range of versions of systemd measures in user space.
#[derive(Debug, Clone, Copy)]
pub struct UserspaceRules {
    /// First major version that behaves so.
    pub from: u16,
    /// PCR 15 gets machine id, file systems and volume keys.
    pub measures_identity: bool,
    /// PCR 9 gets NvPCR initialisations and a separator.
    pub measures_nvpcrs: bool,
    /// PCRs 0 to 7, 9, 12, 13 and 14 get the word `os-separator`.
    pub measures_os_separator: bool,
}

impl UserspaceRules {
    /// All rows, ascending. Observed: 257.13, 262.1.
    pub const ROWS: &[Self] = &[
        Self { from: 252, measures_identity: false, measures_nvpcrs: false, measures_os_separator: false },
        Self { from: 253, measures_identity: true, measures_nvpcrs: false, measures_os_separator: false },
        Self { from: 259, measures_identity: true, measures_nvpcrs: true, measures_os_separator: false },
        Self { from: 261, measures_identity: true, measures_nvpcrs: true, measures_os_separator: true },
    ];

    /// The rules of a version; `None` for one before 252, which measures nothing.
    #[must_use]
    pub fn of(version: &SystemdVersion) -> Option<&'static Self> {
        Self::ROWS.iter().rfind(|row| row.from <= version.major)
    }
}

const PHASE: Rule = Rule {
    id: "phase",
    statement: "systemd extends PCR 11 with a word for each phase of the boot",
    source: "systemd units/systemd-pcrphase*.service, src/pcrextend/pcrextend.c; from 252",
};
const OS_SEPARATOR: Rule = Rule {
    id: "os-separator",
    statement: "systemd in the initrd extends the firmware's PCRs with a separator before anything else",
    source: "systemd units/systemd-pcrosseparator.service; from 261; observed with 262.1 before enter-initrd",
};
const NVPCR: Rule = Rule {
    id: "nvpcr",
    statement: "systemd measures each NvPCR that it initialises, then a separator",
    source: "systemd src/tpm2-setup/tpm2-setup.c, units/systemd-pcrnvdone.service; from 259; observed with 262.1 after \
             enter-initrd",
};
const VOLUME_KEY: Rule = Rule {
    id: "volume-key",
    statement: "systemd-cryptsetup extends PCR 15 with an HMAC keyed by the volume key (tpm2-measure-pcr=)",
    source: "systemd src/cryptsetup/cryptsetup.c measure_volume_key; from 253",
};
const MACHINE_ID: Rule = Rule {
    id: "machine-id",
    statement: "systemd on the host extends PCR 15 with machine-id: and the machine id",
    source: "systemd units/systemd-pcrmachine.service, src/pcrextend/pcrextend.c; from 253",
};
const FILE_SYSTEM: Rule = Rule {
    id: "file-system",
    statement: "systemd on the host extends PCR 15 with a description of the root file system where it measures it",
    source: "systemd units/systemd-pcrfs-root.service.in, src/pcrextend/pcrextend.c; from 253",
};

/// PCRs that get the `os-separator`.
const SEPARATED: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14];

/// Runs user space up to shutdown.
pub(super) fn run(
    chain: &BootChain,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) -> Result<(), BootError> {
    if scenario.cc.is_some() {
        cc::userspace(chain, scenario, recorder);
        return Ok(());
    }
    runtime(recorder);
    let initrd = systemd(Part::Initrd, chain, scenario, recorder)?;
    let host = systemd(Part::Host, chain, scenario, recorder)?;

    recorder.stage(Stage::EnterInitrd);
    match &initrd {
        Systemd::None => {}
        Systemd::Unknown => unknown_systemd(Part::Initrd, recorder),
        Systemd::Known(rules) => {
            if rules.measures_os_separator {
                for pcr in SEPARATED {
                    word(recorder, pcr, "os-separator", &OS_SEPARATOR);
                }
                recorder.assume(
                    "no-imds",
                    "no cloud user data is measured (systemd-imds, from 261 on)",
                    &[12],
                    "",
                );
            }
            word(recorder, 11, "enter-initrd", &PHASE);
        }
    }

    recorder.stage(Stage::LeaveInitrd);
    if let Systemd::Known(rules) = &initrd {
        if rules.measures_nvpcrs {
            nvpcrs(chain, scenario, recorder);
        }
        if rules.measures_identity && scenario.volume_key != Declared::Absent {
            recorder.gap(
                PcrIndex::new(15),
                GapCode::VolumeKey,
                &VOLUME_KEY,
                "an encrypted volume may be measured by its key, which is secret",
                "--volume-key none where no volume key is measured",
            );
        }
        word(recorder, 11, "leave-initrd", &PHASE);
    }

    recorder.stage(Stage::Sysinit);
    match &host {
        Systemd::None => {}
        Systemd::Unknown => unknown_systemd(Part::Host, recorder),
        Systemd::Known(rules) => run_host(rules, scenario, recorder),
    }
    Ok(())
}

/// The host's systemd, from `sysinit` to the end of shutdown.
fn run_host(rules: &UserspaceRules, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    if rules.measures_nvpcrs && scenario.nvpcr != Declared::Absent {
        recorder.gap(
            PcrIndex::new(9),
            GapCode::NvPcr,
            &NVPCR,
            "the host may initialise NvPCRs, whose measurement depends on a secret of the machine",
            "--nvpcr none where systemd initialises none",
        );
    }
    if rules.measures_identity {
        identity(scenario, recorder);
    }
    word(recorder, 11, "sysinit", &PHASE);
    for stage in [Stage::Ready, Stage::Shutdown, Stage::Final] {
        recorder.stage(stage);
        word(recorder, 11, stage.name(), &PHASE);
    }
}

/// Where systemd runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Initrd,
    Host,
}

/// What is known of systemd in one part.
enum Systemd {
    /// It does not run there, or measures nothing.
    None,
    /// Nobody knows.
    Unknown,
    Known(&'static UserspaceRules),
}

/// Systemd of one part; of the stub's version unless declared.
fn systemd(
    part: Part,
    chain: &BootChain,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) -> Result<Systemd, BootError> {
    match chain.payload {
        Payload::UnifiedKernelImage => {}
        // The units want a stub that says that it measured (StubPcrKernelImage).
        Payload::Kernel | Payload::Grub => {
            let statement =
                "systemd measures nothing in user space, as no stub measured what it was started from";
            recorder.assume("no-measured-os", statement, &[9, 11, 12, 13, 15], "");
            return Ok(Systemd::None);
        }
        Payload::Unknown => return Ok(Systemd::Unknown),
    }
    let (declared, option, place) = match part {
        Part::Initrd => (&scenario.initrd_systemd, "--initrd-systemd", "the initrd"),
        Part::Host => (&scenario.host_systemd, "--host-systemd", "the host"),
    };
    match declared {
        Declared::Absent => {
            let id = if part == Part::Initrd { "initrd-without-systemd" } else { "host-without-systemd" };
            let statement = format!("{place} runs no systemd with measuring units");
            recorder.assume(id, statement, &[0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15], option);
            return Ok(Systemd::None);
        }
        Declared::Is(version) => {
            return Ok(UserspaceRules::of(version).map_or(Systemd::None, Systemd::Known));
        }
        Declared::Unknown => {}
    }
    let identified = systemd_stub::identify(&chain.uki.image, scenario.stub_version.as_ref());
    let identified = identified.map_err(|error| BootError::image(&chain.uki.name, error))?;
    let Some((version, _)) = identified else { return Ok(Systemd::Unknown) };
    if version.is_patched() {
        return Ok(Systemd::Unknown);
    }
    let (id, affects): (_, &[u8]) = match part {
        Part::Initrd => ("initrd-systemd", &[0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15]),
        Part::Host => ("host-systemd", &[9, 11, 15]),
    };
    let statement =
        format!("{place} runs systemd {}, of the stub's version, with its measuring units", version.major);
    recorder.assume(id, statement, affects, option);
    Ok(UserspaceRules::of(&version).map_or(Systemd::None, Systemd::Known))
}

/// Nobody knows which systemd runs there, so whatever it could measure is unknown.
fn unknown_systemd(part: Part, recorder: &mut Recorder<'_>) {
    let (affects, option): (&[u8], _) = match part {
        Part::Initrd => {
            (&[0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15], "--initrd-systemd VERSION or none")
        }
        Part::Host => (&[9, 11, 15], "--host-systemd VERSION or none"),
    };
    for pcr in PcrIndex::all().filter(|pcr| affects.contains(&pcr.get())) {
        let reason = match part {
            Part::Initrd => {
                "which systemd runs in the initrd is not known, and what it measures depends on it"
            }
            Part::Host => "which systemd runs on the host is not known, and what it measures depends on it",
        };
        recorder.gap(pcr, GapCode::UnknownSystemd, &PHASE, reason, option);
    }
}

/// PCR 9 before the switch to the host.
fn nvpcrs(chain: &BootChain, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    let has_policy_key = chain.uki.image.sections.iter().any(|section| section.name.is(".pcrpkey"));
    if has_policy_key && scenario.nvpcr != Declared::Absent {
        recorder.gap(
            PcrIndex::new(9),
            GapCode::NvPcr,
            &NVPCR,
            "systemd may initialise NvPCRs, whose measurement depends on a secret of the machine",
            "--nvpcr none where systemd initialises none",
        );
    } else {
        let why = if scenario.nvpcr == Declared::Absent {
            "as declared"
        } else {
            "as the image has no key for a signed policy"
        };
        let statement = format!("systemd in the initrd initialises no NvPCR, {why}");
        recorder.assume("no-nvpcr-in-initrd", statement, &[9], "--nvpcr");
    }
    word(recorder, 9, "nvpcr-separator", &NVPCR);
}

/// PCR 15 on the host.
fn identity(scenario: &Scenario, recorder: &mut Recorder<'_>) {
    let pcr = PcrIndex::new(15);
    recorder.assume(
        "no-other-file-systems",
        "no file system but the root is measured (gpt-auto's /var, x-systemd.pcrfs)",
        &[15],
        "",
    );
    match &scenario.machine_id {
        Declared::Absent => {}
        Declared::Is(id) => {
            measure(recorder, 15, &format!("machine-id:{id}"), &MACHINE_ID, Source::Option("--machine-id"))
        }
        Declared::Unknown => recorder.gap(
            pcr,
            GapCode::MachineId,
            &MACHINE_ID,
            "the machine id is made at the first boot, unless the image fixes it",
            "--machine-id HEX where it is fixed, or --machine-id none where it is not measured",
        ),
    }
    match &scenario.root_file_system {
        Declared::Absent => {}
        Declared::Is(word) => measure(recorder, 15, word, &FILE_SYSTEM, Source::Option("--root-fs")),
        Declared::Unknown => recorder.gap(
            pcr,
            GapCode::FileSystem,
            &FILE_SYSTEM,
            "the root file system is measured where systemd mounts it by itself",
            "--root-fs TYPE:UUID:LABEL:PARTUUID:PARTTYPE:PARTNAME, or --root-fs none where it is not measured",
        ),
    }
}

/// Registers that only the running system or its user writes.
fn runtime(recorder: &mut Recorder<'_>) {
    const RUNTIME: Rule = Rule {
        id: "runtime",
        statement: "the running system writes these registers: IMA, dynamic launches, applications",
        source: "UAPI group, Linux TPM PCR Registry; PFP section 3.3.4",
    };
    for pcr in [10, 16, 17, 18, 19, 20, 21, 22, 23] {
        recorder.gap(
            PcrIndex::new(pcr),
            GapCode::Runtime,
            &RUNTIME,
            "written by the running system, not by the boot",
            "nothing that could be known before",
        );
    }
}

fn word(recorder: &mut Recorder<'_>, pcr: u8, text: &'static str, rule: &'static Rule) {
    measure(recorder, pcr, text, rule, Source::Constant);
}

/// `TPM2_PCR_Extend` with the hash of the text, without NUL.
fn measure(recorder: &mut Recorder<'_>, pcr: u8, text: &str, rule: &'static Rule, source: Source) {
    let event = Event {
        pcr: PcrIndex::new(pcr),
        event_type: None,
        data: Some(text.as_bytes().to_vec()),
        description: text.to_owned(),
        source,
        rule,
    };
    recorder.measure(event, [Segment::bytes(text)]);
}
