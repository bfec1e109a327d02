//! Firmware and boot loaders that are known to deviate: one row each, with the log that shows it.

use crate::tcg::event_data::{Rule, coverage};
use crate::tcg::eventlog::{Register, RegisterKind};
use crate::tcg::{AlgorithmId, Digest, EventType, HashAlgorithm};

use super::{Facts, Finding, FirmwareEvent, Level};

/// A known deviation.
pub struct Quirk {
    /// A stable word for it.
    pub name: &'static str,
    /// The finding that it explains.
    pub explains: &'static str,
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
        text: "shim up to 15.2 logs one byte more than it hashes",
        seen_in: "google/go-tpm-tools, debian-10.bin",
        applies: |facts, finding| rule(facts, finding) == Some(Rule::WithoutLastByte),
    },
    Quirk {
        name: "crtm-version-not-hashed",
        explains: "digest-mismatch",
        text: "Dell servers hash something else than the logged EV_S_CRTM_VERSION",
        seen_in: "google/go-tpm-tools, gdc-host.bin",
        applies: |facts, finding| {
            event(facts, finding).is_some_and(|event| event.event_type == EventType::S_CRTM_VERSION)
        },
    },
    Quirk {
        name: "driver-config-data-only",
        explains: "digest-mismatch",
        text: "firmware of the TPM 1.2 era hashes a variable's data alone",
        seen_in: "google/go-attestation, linux_tpm12.json",
        applies: |facts, finding| rule(facts, finding) == Some(Rule::VariableData),
    },
    Quirk {
        name: "truncated-sha256-in-sha1",
        explains: "digest-mismatch",
        text: "Skiboot cuts its SHA-256 digests off and calls them SHA-1",
        seen_in: "kgoldman/acs, eventlog of an OpenPOWER machine",
        applies: |facts, finding| event(facts, finding).is_some_and(|event| is_truncated(&event)),
    },
    Quirk {
        name: "skiboot-separator",
        explains: "separator-value",
        text: "Skiboot's separators are its name",
        seen_in: "kgoldman/acs, eventlog of an OpenPOWER machine",
        applies: |facts, finding| {
            event(facts, finding).is_some_and(|event| event.data.starts_with(b"Skiboot"))
        },
    },
    Quirk {
        name: "tdvf-separator-in-rtmr0",
        explains: "separator-duplicate",
        text: "OVMF before edk2-stable202411 measures RTMR1's separator into RTMR0",
        seen_in: "google/go-eventlog, cos-113-intel-tdx-dupe-separator.bin",
        applies: |facts, finding| is_rtmr0(finding.register) && lacks_separator(facts, 2),
    },
    Quirk {
        name: "tdvf-separator-in-rtmr0",
        explains: "separator-missing",
        text: "OVMF before edk2-stable202411 measures RTMR1's separator into RTMR0",
        seen_in: "google/go-eventlog, cos-113-intel-tdx-dupe-separator.bin",
        applies: |facts, finding| facts.kind == RegisterKind::Mr && !is_rtmr0(finding.register),
    },
    Quirk {
        name: "separator-in-pcr7-only",
        explains: "separator-missing",
        text: "Google Compute Engine's firmware of 2018 and 2019 measures a separator in PCR 7 only",
        seen_in: "google/go-attestation, sb_cert_eventlog",
        applies: |facts, _| {
            facts.kind == RegisterKind::Pcr && has_separator(facts, 7) && !has_separator(facts, 4)
        },
    },
    Quirk {
        name: "boot-variables-in-pcr5",
        explains: "wrong-register",
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
        text: "Google Compute Engine's TDX guests measure images and the partition table into PCR 2",
        seen_in: "Dstack-TEE/dstack, tpm_eventlog.bin",
        applies: |_, finding| in_pcr(finding, 2),
    },
    Quirk {
        name: "log-before-exit-boot-services",
        explains: "no-exit-boot-services",
        text: "kernels without the final events table keep the log as it was before ExitBootServices",
        seen_in: "google/go-tpm-tools, glinux-alex.bin",
        applies: |_, _| true,
    },
    Quirk {
        name: "bank-not-in-every-event",
        explains: "digest-missing",
        text: "Windows' loader logs SHA-256 alone; TXT's SINIT logs some events with one digest",
        seen_in: "kgoldman/ibmtss, dell1.log",
        applies: |facts, finding| {
            event(facts, finding).is_some_and(|event| match event.record.register {
                Register::Pcr(pcr) => matches!(pcr.get(), 11..=14 | 17 | 18),
                _ => false,
            })
        },
    },
    Quirk {
        name: "windows-trust-point",
        explains: "register-unknown",
        text: "Windows ends its log with a record of PCR 0xFFFFFFFF",
        seen_in: "google/go-attestation, option_rom_eventlog",
        applies: |facts, finding| {
            event(facts, finding).is_some_and(|event| event.event_type == EventType::NO_ACTION)
        },
    },
];

/// Turns a finding that a quirk explains into a note of its name.
pub(super) fn explain(finding: &mut Finding, facts: &Facts<'_>) {
    let quirk = QUIRKS.iter().find(|quirk| quirk.explains == finding.code && (quirk.applies)(facts, finding));
    if let Some(quirk) = quirk {
        finding.level = Level::Note;
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

fn is_truncated(event: &FirmwareEvent<'_>) -> bool {
    let Some(sha256) = event.record.digests.get(HashAlgorithm::Sha256) else { return false };
    let cut =
        event.record.digests.iter().any(|(algorithm, digest)| {
            algorithm == AlgorithmId::SHA1 && sha256.as_bytes().starts_with(digest)
        });
    cut && Digest::of(HashAlgorithm::Sha256, event.data) == sha256
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
