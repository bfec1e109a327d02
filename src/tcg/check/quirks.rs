//! Firmware and boot loaders that are known to deviate: one row each, with the log that shows it.

use crate::tcg::event_data::{Rule, coverage, txt_type_name};
use crate::tcg::eventlog::{Register, RegisterKind};
use crate::tcg::{Digest, EventType, HashAlgorithm};

use super::{Facts, Finding, FirmwareEvent, Level};
use crate::tcg::cel::Record;

/// A known deviation.
pub struct Quirk {
    /// A stable word for it.
    pub name: &'static str,
    /// The finding that it explains.
    pub explains: &'static str,
    /// What is left of the finding's weight.
    pub level: Level,
    /// Who does it, and why.
    pub text: &'static str,
    /// A published log that shows it: project and file.
    pub seen_in: &'static str,
    applies: fn(&Facts<'_>, &Finding) -> bool,
}

/// All of them.
pub const QUIRKS: &[Quirk] = &[
    Quirk {
        name: "shim-15.2-padding",
        explains: "digest-mismatch",
        level: Level::Note,
        text: "shim up to 15.2 logs one byte more than it hashes",
        seen_in: "google/go-tpm-tools, debian-10.bin",
        applies: |facts, finding| rule(facts, finding) == Some(Rule::WithoutLastByte),
    },
    Quirk {
        name: "crtm-version-not-hashed",
        explains: "digest-mismatch",
        level: Level::Warning,
        text: "Dell servers hash something else than the logged EV_S_CRTM_VERSION",
        seen_in: "google/go-tpm-tools, gdc-host.bin",
        applies: |facts, finding| {
            event(facts, finding).is_some_and(|event| event.event_type == EventType::S_CRTM_VERSION)
        },
    },
    Quirk {
        name: "hostboot-values",
        explains: "digest-mismatch",
        level: Level::Note,
        text: "Hostboot extends values as they are, cut to each bank's length, and names them in an EV_ACTION",
        seen_in: "kgoldman/acs, eventlog of an OpenPOWER machine",
        applies: |facts, finding| event(facts, finding).is_some_and(|event| is_cut_value(&event)),
    },
    Quirk {
        name: "skiboot-separator",
        explains: "digest-mismatch",
        level: Level::Note,
        text: "Skiboot logs its name as a separator of 0xFFFFFFFF",
        seen_in: "kgoldman/acs, eventlog of an OpenPOWER machine",
        applies: |facts, finding| {
            event(facts, finding)
                .is_some_and(|event| event.data.starts_with(b"Skiboot") && is_hash_of(&event, &[0xFF; 4]))
        },
    },
    Quirk {
        name: "skiboot-separator",
        explains: "separator-value",
        level: Level::Note,
        text: "Skiboot's separators are its name",
        seen_in: "kgoldman/acs, eventlog of an OpenPOWER machine",
        applies: |facts, finding| {
            event(facts, finding).is_some_and(|event| event.data.starts_with(b"Skiboot"))
        },
    },
    Quirk {
        name: "tdvf-separator-in-rtmr0",
        explains: "separator-duplicate",
        level: Level::Note,
        text: "OVMF before edk2-stable202411 measures RTMR1's separator into RTMR0",
        seen_in: "google/go-eventlog, cos-113-intel-tdx-dupe-separator.bin",
        applies: |facts, finding| is_rtmr0(finding.register) && has_rtmr1s_in_rtmr0(facts),
    },
    Quirk {
        name: "tdvf-separator-in-rtmr0",
        explains: "separator-missing",
        level: Level::Note,
        text: "OVMF before edk2-stable202411 measures RTMR1's separator into RTMR0",
        seen_in: "google/go-eventlog, cos-113-intel-tdx-dupe-separator.bin",
        applies: |facts, finding| !is_rtmr0(finding.register) && has_rtmr1s_in_rtmr0(facts),
    },
    Quirk {
        name: "separator-in-pcr7-only",
        explains: "separator-missing",
        level: Level::Note,
        text: "Google Compute Engine's firmware of 2018 and 2019 measures a separator in PCR 7 only",
        seen_in: "google/go-attestation, sb_cert_eventlog",
        applies: |facts, _| {
            let others = (0..7).map(|register| separators(facts, register)).sum::<usize>();
            facts.kind == RegisterKind::Pcr && separators(facts, 7) > 0 && others == 0
        },
    },
    Quirk {
        name: "boot-variables-in-pcr5",
        explains: "wrong-register",
        level: Level::Note,
        text: "firmware of the TPM 1.2 era measures boot variables into PCR 5",
        seen_in: "puiterwijk/uefi-eventlog-rs, Lenovo N23",
        applies: |facts, finding| {
            in_pcr(finding, 5)
                && event(facts, finding).is_some_and(|event| event.event_type == EventType::EFI_VARIABLE_BOOT)
        },
    },
    Quirk {
        name: "calling-in-pcr5",
        explains: "wrong-register",
        level: Level::Note,
        text: "HP and old Lenovo firmware announce the boot option in PCR 5",
        seen_in: "google/go-attestation, option_rom_eventlog",
        applies: |facts, finding| {
            in_pcr(finding, 5)
                && event(facts, finding).is_some_and(|event| event.event_type == EventType::EFI_ACTION)
        },
    },
    Quirk {
        name: "gce-tdx-images-in-pcr2",
        explains: "wrong-register",
        level: Level::Note,
        text: "Google Compute Engine's TDX guests measure images and the partition table into PCR 2",
        seen_in: "Dstack-TEE/dstack, tpm_eventlog.bin",
        applies: |facts, finding| {
            in_pcr(finding, 2)
                && event(facts, finding).is_some_and(|event| {
                    matches!(
                        event.event_type,
                        EventType::EFI_BOOT_SERVICES_APPLICATION | EventType::EFI_GPT_EVENT
                    )
                })
        },
    },
    Quirk {
        name: "log-before-exit-boot-services",
        explains: "no-exit-boot-services",
        level: Level::Note,
        text: "kernels without the final events table keep the log as it was before ExitBootServices",
        seen_in: "google/go-tpm-tools, glinux-alex.bin",
        applies: |facts, _| facts.kind == RegisterKind::Pcr && !facts.is_cut && !knows_final_events(facts),
    },
    Quirk {
        name: "bank-not-in-every-event",
        explains: "digest-missing",
        level: Level::Note,
        text: "Windows' loader logs SHA-256 alone; TXT's SINIT logs some events with one digest",
        seen_in: "kgoldman/ibmtss, dell1.log",
        applies: |facts, finding| event(facts, finding).is_some_and(|event| logs_one_bank(event.record)),
    },
];

/// Gives a finding that a quirk explains the quirk's name and weight.
pub(super) fn explain(finding: &mut Finding, facts: &Facts<'_>) {
    let quirk = QUIRKS.iter().find(|quirk| quirk.explains == finding.code && (quirk.applies)(facts, finding));
    if let Some(quirk) = quirk {
        finding.level = quirk.level;
        finding.code = quirk.name;
        finding.text = format!("{}; known: {} (seen in {})", finding.text, quirk.text, quirk.seen_in);
    }
}

fn event<'f>(facts: &'f Facts<'_>, finding: &Finding) -> Option<FirmwareEvent<'f>> {
    facts.firmware_event(finding.event?)
}

fn rule(facts: &Facts<'_>, finding: &Finding) -> Option<Rule> {
    let event = event(facts, finding)?;
    let bank = event.record.digests.banks().next()?;
    let digest = event.record.digests.get(bank)?;
    Some(coverage(event.event_type, event.data, digest, facts.uintn).rule)
}

/// Both digests begin with the same bytes: no hash functions do that.
fn is_cut_value(event: &FirmwareEvent<'_>) -> bool {
    let digest = |bank| event.record.digests.get(bank);
    match (digest(HashAlgorithm::Sha1), digest(HashAlgorithm::Sha256)) {
        (Some(sha1), Some(sha256)) => {
            event.event_type == EventType::ACTION && sha256.as_bytes().starts_with(sha1.as_bytes())
        }
        _ => false,
    }
}

fn is_hash_of(event: &FirmwareEvent<'_>, data: &[u8]) -> bool {
    event.record.digests.banks().all(|bank| event.record.digests.get(bank) == Some(Digest::of(bank, data)))
}

fn is_rtmr0(register: Option<Register>) -> bool {
    matches!(register, Some(Register::Mr(register)) if register.get() == 1)
}

fn in_pcr(finding: &Finding, index: u8) -> bool {
    matches!(finding.register, Some(Register::Pcr(pcr)) if pcr.get() == index)
}

fn separators(facts: &Facts<'_>, register: u32) -> usize {
    facts.separators.get(&register).copied().unwrap_or_default()
}

/// RTMR0 has two separators, and RTMR1 none: the one is the other's.
fn has_rtmr1s_in_rtmr0(facts: &Facts<'_>) -> bool {
    facts.kind == RegisterKind::Mr && separators(facts, 1) == 2 && separators(facts, 2) == 0
}

/// Who logs one bank of several: Windows' loader, which has SHA-256 alone in PCRs 11 to 14, and the events of TXT's
/// SINIT in PCRs 17 and 18.
pub(super) fn logs_one_bank(record: &Record<'_>) -> bool {
    let (Register::Pcr(pcr), Some(event_type)) = (record.register, record.event_type()) else { return false };
    match pcr.get() {
        11..=14 => record.digests.banks().eq([HashAlgorithm::Sha256]) && is_of_windows(event_type),
        17 | 18 => record.digests.banks().count() == 1 && txt_type_name(event_type).is_some(),
        _ => false,
    }
}

fn is_of_windows(event_type: EventType) -> bool {
    matches!(event_type, EventType::COMPACT_HASH | EventType::EVENT_TAG | EventType::SEPARATOR)
}

/// What ran in this boot is younger than the kernels that keep the log as it was (Linux before 5.3): the kernel's
/// own stub measured the initrd (5.8 and later), or systemd's stub a part of a unified kernel image.
fn knows_final_events(facts: &Facts<'_>) -> bool {
    facts.firmware().any(|event| match (event.record.register, event.event_type) {
        (Register::Pcr(pcr), EventType::EVENT_TAG) => pcr.get() == 9,
        (Register::Pcr(pcr), EventType::IPL) => pcr.get() == 11,
        _ => false,
    })
}
