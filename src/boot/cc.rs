//! Confidential guests: what reaches the measurement registers of `EFI_CC_MEASUREMENT_PROTOCOL`, beside or instead of the
//! PCRs of a TPM.
//!
//! A measurement keeps the PCR that the specifications name for it; which register that is, says
//! [`MeasurementRegister::of_pcr`]. Each program that measures decides for itself whether it knows the protocol, so that is
//! a row of a table here, and the recorder leaves out what does not reach it.

use super::measurement::{GapCode, Rule};
use super::recorder::{Event, Recorder};
use super::{BootChain, Declared, RecordedPlatform, Scenario, Stage, firmware, secure_boot, systemd_stub};
use crate::tcg::eventlog::MeasurementRegister;
use crate::tcg::{Digest, EventType, PcrIndex};
use crate::uki::{KernelVersion, SystemdVersion};

/// A confidential guest whose firmware offers the protocol: what is known of it beside the boot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CcGuest {
    /// There is a TPM beside the registers (`EFI_TCG2_PROTOCOL`), as on Google Compute Engine. Linux measures through the
    /// protocol only where there is none.
    pub tpm: bool,
    /// The value of MRTD.
    pub mrtd: Option<Digest>,
    /// RTMR0 as the firmware leaves it when the first boot option starts.
    pub rtmr0: Option<Digest>,
    /// Where the separator goes that comes before the first boot option.
    pub separator: Option<MeasurementRegister>,
}

/// What a range of versions of systemd-boot and systemd-stub measures through the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CcRules {
    /// First version (major, minor) that behaves so.
    pub from: (u16, u16),
    /// What is `EV_IPL` in a TPM's log.
    pub texts: bool,
    /// What is `EV_EVENT_TAG` in a TPM's log; `EV_IPL` here.
    pub tagged: bool,
    /// SMBIOS structures, where there is no TPM; `None` where that is not known.
    pub smbios_without_tpm: Option<bool>,
}

impl CcRules {
    /// All rows, ascending. systemd pull requests 30996 and 31939 (256: texts, whether there is a TPM or not), 41099 (261:
    /// tagged events), 42233 (261: SMBIOS, only with a TPM) and 42851 (262: SMBIOS without TPM; whether later releases of 261
    /// have it was not seen). Texts observed in the log of a TDX guest of Google's.
    pub const ROWS: &[Self] = &[
        Self { from: (0, 0), texts: false, tagged: false, smbios_without_tpm: Some(false) },
        Self { from: (256, 0), texts: true, tagged: false, smbios_without_tpm: Some(false) },
        Self { from: (261, 0), texts: true, tagged: true, smbios_without_tpm: None },
        Self { from: (262, 0), texts: true, tagged: true, smbios_without_tpm: Some(true) },
    ];

    /// The rules of a version.
    #[must_use]
    pub fn of(version: &SystemdVersion) -> &'static Self {
        Self::ROWS.iter().rfind(|row| row.from <= version.key()).unwrap_or(&Self::ROWS[0])
    }
}

/// The first version of Linux that measures through the protocol (commit d228814b1913, "efi/libstub: Measure into CC protocol
/// if TCG2 protocol is absent", and those before it).
pub const FIRST_LINUX: KernelVersion = KernelVersion { major: 6, minor: 9 };

/// The last version of systemd whose programs in user space are known to leave the registers alone: pull request 43041, which
/// has them extended, is later.
const LAST_SILENT_SYSTEMD: u16 = 262;

const GUEST: Rule = Rule {
    id: "cc-firmware",
    statement: "the firmware of a TDX guest measures the list of its memory, its variable store, ACPI tables and boot \
                variables into RTMR0",
    source: "EDK2 OvmfPkg/Tcg/TdTcg2Dxe, SecurityPkg TdxMeasurementLib; observed in logs of QEMU's and Google's guests",
};
const MRTD: Rule = Rule {
    id: "mrtd",
    statement: "MRTD is the digest of the memory that the guest was built with; nothing extends it",
    source: "Intel TDX Module, TDH.MR.EXTEND; UEFI 2.10 section 38.4.1",
};
const SEPARATOR: Rule = Rule {
    id: "cc-separator",
    statement: "the firmware measures four zero bytes into RTMR1 before it tries the first boot option; EDK2 before 2024.11 \
                measures them into RTMR0",
    source: "EDK2 TdTcg2Dxe OnReadyToBoot, commit efaf8931bb; both observed",
};
const USERSPACE: Rule = Rule {
    id: "cc-user-space",
    statement: "systemd up to 262 extends no register of the protocol from user space",
    source: "systemd src/pcrextend, src/shared/tpm2-util.c; pull request 43041 is later",
};
const GRUB: Rule = Rule {
    id: "cc-grub",
    statement: "whether GRUB measures through the protocol depends on its build",
    source: "logs of TDX guests with GRUB: those of Google's and Alibaba's images have its events, one of Ubuntu's has none",
};

/// What the program that runs measures through the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// All that it measures into a TPM, in the same form: firmware, shim from 15.7 on, Linux from 6.9 on.
    Same,
    /// Nothing. What the firmware measures while it runs counts nevertheless.
    Silent,
    /// systemd-boot or systemd-stub of these rules.
    Systemd(&'static CcRules),
}

impl Program {
    /// The event as it reaches a register; `None` where it does not.
    pub(super) fn admit(self, event: Event) -> Option<Event> {
        MeasurementRegister::of_pcr(event.pcr)?;
        // Images and authorities are the firmware's, whoever has them loaded.
        let own = !matches!(event.pcr.get(), 2 | 4 | 7);
        match (self, event.event_type) {
            (Self::Same, _) => Some(event),
            (Self::Silent, _) => (!own).then_some(event),
            (Self::Systemd(rules), Some(EventType::IPL)) => rules.texts.then_some(event),
            (Self::Systemd(rules), Some(EventType::EVENT_TAG)) => rules.tagged.then(|| as_text(event)),
            (Self::Systemd(rules), _) => (rules.texts || !own).then_some(event),
        }
    }
}

impl Program {
    /// A tagged event that this program does not measure, while it measures others.
    pub(super) fn leaves_out_tag(self, event: &Event) -> bool {
        matches!(self, Self::Systemd(rules) if !rules.tagged)
            && event.event_type == Some(EventType::EVENT_TAG)
    }
}

/// A tagged event without its tag: the protocol's log gets `EV_IPL` and the description.
fn as_text(event: Event) -> Event {
    /// Tag and length.
    const HEADER: usize = 8;
    let data = event.data.map(|data| data.get(HEADER..).unwrap_or_default().to_vec());
    Event { event_type: Some(EventType::IPL), data, ..event }
}

/// systemd-boot or systemd-stub begins.
pub(super) fn systemd_begins(name: &str, version: &SystemdVersion, recorder: &mut Recorder<'_>) {
    let rules = CcRules::of(version);
    recorder.program(Program::Systemd(rules));
    recorder.name_program(format!("{name} {version}"));
    if !rules.texts {
        recorder.not_covered("measures nothing through the CC protocol (from 256 on it does)");
    }
}

/// systemd-boot or systemd-stub leaves out `what`, which a TPM gets as a tagged event.
pub(super) fn lacks_tagged(what: &str, recorder: &mut Recorder<'_>) {
    if let Some(Program::Systemd(CcRules { texts: true, .. })) = recorder.running() {
        let why = format!("does not measure {what} through the CC protocol (from 261 on it does)");
        recorder.not_covered(why);
    }
}

/// SMBIOS structures reach RTMR0; `None` where that is not known. Always where there is no such register.
pub(super) fn measures_smbios(program: Option<Program>, scenario: &Scenario) -> Option<bool> {
    match (program, &scenario.cc) {
        (Some(Program::Systemd(rules)), Some(guest)) if rules.tagged && !guest.tpm => {
            rules.smbios_without_tpm
        }
        (Some(Program::Systemd(rules)), _) => Some(rules.tagged),
        _ => Some(true),
    }
}

/// Linux begins; says whether it measures.
pub(super) fn linux_begins(
    version: Option<KernelVersion>,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) -> bool {
    let Some(guest) = &scenario.cc else { return true };
    if guest.tpm {
        recorder.program(Program::Silent);
        recorder.name_program("Linux");
        recorder.not_covered("measures its command line and initrd into the TPM only, as there is one");
        return false;
    }
    recorder.program(Program::Same);
    let Some(version) = version.filter(|version| *version < FIRST_LINUX) else { return true };
    recorder.program(Program::Silent);
    recorder.name_program(format!("Linux {version}"));
    recorder.not_covered(
        "does not measure its command line and initrd through the CC protocol (from 6.9 on it does)",
    );
    let statement = format!(
        "Linux {version} has no patches for the CC protocol, which some distributions added before 6.9"
    );
    recorder.assume(
        "kernel-without-cc",
        statement,
        &[9],
        "--kernel-version, or a kernel of version 6.9 or later",
    );
    false
}

/// GRUB begins: what it measures was observed with TPMs only.
pub(super) fn grub_begins(name: &str, recorder: &mut Recorder<'_>) {
    if recorder.running().is_none() {
        return;
    }
    recorder.program(Program::Same);
    recorder.gap(
        PcrIndex::new(8),
        GapCode::UnknownLoader,
        &GRUB,
        format!("whether {name} measures through the CC protocol depends on its build, and was not observed"),
        "a UKI, or the event log of a boot of this image",
    );
    recorder.program(Program::Silent);
}

/// Power-on up to the first boot option.
pub(super) fn power_on(guest: &CcGuest, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    if guest.mrtd.is_none() {
        recorder.gap(
            PcrIndex::new(0),
            GapCode::Firmware,
            &MRTD,
            "MRTD is the digest of the firmware as it is loaded, with its metadata",
            "--declare mrtd=HEX with the provider's value, or that of a TD quote",
        );
    }
    if let Some(recorded) = &scenario.baseline {
        recorded.power_on(recorder);
        secure_boot::begin(scenario, recorder);
        return;
    }
    if guest.rtmr0.is_some() {
        let statement = "the firmware leaves RTMR0 as declared when the first boot option starts";
        recorder.assume("declared-rtmr0", statement, &[1, 7], "--baseline with the guest's CCEL");
        secure_boot::begin(scenario, recorder);
    } else {
        recorder.gap(
            PcrIndex::new(1),
            GapCode::Firmware,
            &GUEST,
            "the guest's memory, variable store, ACPI tables and boot variables are not part of the image",
            "--baseline with a CC event log (CCEL) of the guest it will run on, or --declare rtmr0=HEX",
        );
        secure_boot::measure_variables(scenario, recorder);
    }
    recorder.assume(
        "no-option-roms",
        "no device brings firmware of its own, and the firmware measures nothing else there",
        &[2, 3, 6],
        "--baseline",
    );
    firmware::calling(recorder);
    match guest.separator.map(MeasurementRegister::name) {
        Some("RTMR0") if guest.rtmr0.is_some() => {}
        Some("RTMR0") => firmware::separator(recorder, 1, &SEPARATOR),
        Some(_) => firmware::separator(recorder, 4, &SEPARATOR),
        None => recorder.gap(
            PcrIndex::new(4),
            GapCode::Firmware,
            &SEPARATOR,
            "whether the separator before the first boot option is in RTMR1 depends on the firmware's version",
            "--baseline with a CC event log (CCEL), or --declare separator=rtmr1 (EDK2 2024.11 and later) or =rtmr0",
        ),
    }
}

/// User space.
pub(super) fn userspace(chain: &BootChain, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    recorder.program(Program::Same);
    let stub = systemd_stub::identify(&chain.uki.image, scenario.stub_version.as_ref()).ok().flatten();
    let of_stub = stub.map(|(version, _)| version);
    for (stage, version, option) in [
        (Stage::EnterInitrd, &scenario.initrd_systemd, "--initrd-systemd"),
        (Stage::Sysinit, &scenario.host_systemd, "--host-systemd"),
    ] {
        recorder.stage(stage);
        let version = match version {
            Declared::Is(version) => Some(version),
            Declared::Absent => None,
            Declared::Unknown => of_stub.as_ref(),
        };
        if let Some(version) = version.filter(|version| version.major > LAST_SILENT_SYSTEMD) {
            recorder.gap(
                PcrIndex::new(11),
                GapCode::UnknownSystemd,
                &USERSPACE,
                format!("systemd {version} may extend registers of the guest from user space"),
                format!("{option} with the version that runs there, or none"),
            );
        }
    }
    recorder.stage(Stage::Final);
    recorder.assume(
        "no-runtime-extends",
        "nothing in the running system extends RTMR2: Linux from 6.16 on lets programs do so",
        &[8, 9, 10, 11, 12, 13, 14, 15],
        "",
    );
    let statement =
        "nothing extends RTMR3, which only the running system can: agents of container runtimes do";
    recorder.assume(RTMR3_UNUSED, statement, &[], "");
}

/// The assumption that RTMR3, which no PCR is mapped to, depends on.
pub const RTMR3_UNUSED: &str = "rtmr3-unused";

/// What is kept of a recorded boot that started an image before the first boot option.
pub(super) const DIFFERS: &str =
    "the recorded boots differ in too many ways, or started an image before the first boot option";

impl RecordedPlatform {
    /// Its log is of a confidential guest.
    #[must_use]
    pub fn is_cc(&self) -> bool {
        self.part.kind == crate::tcg::eventlog::RegisterKind::Mr
    }
}
