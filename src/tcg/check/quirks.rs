//! Firmware and boot loaders that are known to deviate: one row each, with the log that shows it.

use crate::tcg::event_data::{Rule, coverage};
use crate::tcg::eventlog::{Register, RegisterKind};
use crate::tcg::{Digest, EventType, HashAlgorithm};

use super::{Facts, Finding, FirmwareEvent, Level};

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
        applies: |facts, finding| is_rtmr0(finding.register) && lacks_separator(facts, 2),
    },
    Quirk {
        name: "tdvf-separator-in-rtmr0",
        explains: "separator-missing",
        level: Level::Note,
        text: "OVMF before edk2-stable202411 measures RTMR1's separator into RTMR0",
        seen_in: "google/go-eventlog, cos-113-intel-tdx-dupe-separator.bin",
        applies: |facts, finding| facts.kind == RegisterKind::Mr && !is_rtmr0(finding.register),
    },
    Quirk {
        name: "separator-in-pcr7-only",
        explains: "separator-missing",
        level: Level::Note,
        text: "Google Compute Engine's firmware of 2018 and 2019 measures a separator in PCR 7 only",
        seen_in: "google/go-attestation, sb_cert_eventlog",
        applies: |facts, _| {
            facts.kind == RegisterKind::Pcr && has_separator(facts, 7) && !has_separator(facts, 4)
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
        applies: |_, finding| in_pcr(finding, 2),
    },
    Quirk {
        name: "log-before-exit-boot-services",
        explains: "no-exit-boot-services",
        level: Level::Note,
        text: "kernels without the final events table keep the log as it was before ExitBootServices",
        seen_in: "google/go-tpm-tools, glinux-alex.bin",
        applies: |_, _| true,
    },
    Quirk {
        name: "bank-not-in-every-event",
        explains: "digest-missing",
        level: Level::Note,
        text: "Windows' loader logs SHA-256 alone; TXT's SINIT logs some events with one digest",
        seen_in: "kgoldman/ibmtss, dell1.log",
        applies: |facts, finding| {
            event(facts, finding).is_some_and(|event| match event.record.register {
                Register::Pcr(pcr) => matches!(pcr.get(), 11..=14 | 17 | 18),
                _ => false,
            })
        },
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

fn lacks_separator(facts: &Facts<'_>, register: u32) -> bool {
    !has_separator(facts, register)
}

fn has_separator(facts: &Facts<'_>, register: u32) -> bool {
    facts.separated.contains(&register)
}
