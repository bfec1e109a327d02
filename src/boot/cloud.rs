//! What a provider's firmware measures of facts about the machine that somebody can declare: a text, a technology, an id.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;
use std::str::FromStr;

use super::measurement::{Rule, Source};
use super::recorder::{Event, Recorder};
use super::text::{utf16_nul, utf16_units};
use super::{BootChain, Declarable, Scenario};
use crate::hashing::Segment;
use crate::pe::Machine;
use crate::tcg::{EventType, PcrIndex};

const GCE_VERSION: Rule = Rule {
    id: "gce-firmware-version",
    statement: "Google's firmware measures its name as UTF-16 with the final NUL, and no volume",
    source: "logs of ten machines, 2019 to 2025 (go-eventlog, go-tpm-tools, dstack); quotes of 2024-03, 2026-02",
};
const GCE_TECHNOLOGY: Rule = Rule {
    id: "gce-non-host-info",
    statement: "Google's firmware measures which technology of confidential computing the machine has: a text, a number and \
                15 zeros",
    source: "go-eventlog, go-tpm-tools server/eventlog.go (GCENonHostInfoSignature); observed with none, SEV, TDX and SEV-SNP",
};
const AZURE_ID: Rule = Rule {
    id: "azure-vm-id",
    statement: "Hyper-V's firmware measures the VM's id in upper case behind \"UUID: \"; newer firmware then its architecture",
    source: "microsoft/mu_msvm, 2026-08; quotes of eight confidential VMs, 2023 to 2026, all without architecture",
};

/// Facts about a provider's machine, as far as somebody declared them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloudFacts {
    /// Technology of confidential computing.
    pub technology: Option<Technology>,
    /// The number in the name of Google's firmware, 1 or 2.
    pub firmware: Option<u8>,
    /// The VM's id.
    pub vm_id: Option<VmId>,
    /// The firmware measures its architecture behind the id.
    pub measures_architecture: bool,
}

/// A technology of confidential computing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Technology {
    /// None.
    None,
    /// AMD SEV.
    Sev,
    /// AMD SEV-ES.
    SevEs,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    SevSnp,
}

impl Technology {
    /// All of them, each with the word on the command line and the number in `EV_NONHOST_INFO`.
    const ROWS: [(Self, &'static str, u8); 5] = [
        (Self::None, "none", 0),
        (Self::Sev, "sev", 1),
        (Self::SevEs, "sev-es", 2),
        (Self::Tdx, "tdx", 3),
        (Self::SevSnp, "sev-snp", 4),
    ];

    fn number(self) -> u8 {
        Self::ROWS.iter().find(|row| row.0 == self).map_or(0, |row| row.2)
    }
}

impl fmt::Display for Technology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ROWS.iter().find(|row| row.0 == *self).map_or("", |row| row.1))
    }
}

impl FromStr for Technology {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let row = Self::ROWS.iter().find(|row| row.1 == word);
        row.map(|row| row.0).ok_or_else(|| {
            format!("'{word}' is no technology: {} are", Self::ROWS.map(|row| row.1).join(", "))
        })
    }
}

/// A UUID as text, in upper case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmId(String);

impl FromStr for VmId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let groups: Vec<&str> = text.split('-').collect();
        let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        if lengths != [8, 4, 4, 4, 12] || !groups.iter().all(is_hex) {
            return Err(format!("'{text}' is no id of a VM, as 12345678-1234-1234-1234-123456789abc"));
        }
        Ok(Self(text.to_ascii_uppercase()))
    }
}

/// Measures what is known by declaration, without separators; returns the register that is then complete.
pub(super) fn measure(chain: &BootChain, scenario: &Scenario, recorder: &mut Recorder<'_>) -> Option<u8> {
    match scenario.platform.declarable? {
        Declarable::Google => google(scenario, recorder),
        Declarable::HyperV => hyper_v(chain, scenario, recorder),
    }
}

/// PCR 0.
fn google(scenario: &Scenario, recorder: &mut Recorder<'_>) -> Option<u8> {
    let technology = scenario.cloud.technology?;
    if technology == Technology::Tdx {
        recorder.images_in_pcr_2 = true;
    }
    let number = scenario.cloud.firmware.unwrap_or(2);
    if scenario.cloud.firmware.is_none() {
        recorder.assume(
            "gce-firmware-v2",
            "the firmware is \"GCE Virtual Firmware v2\", as on all machines seen since 2024-03",
            &[0],
            "--declare firmware=v1 or v2",
        );
    }
    let name = format!("GCE Virtual Firmware v{number}");
    let data = utf16_nul(&utf16_units(&name));
    let description = format!("firmware version '{name}'");
    add((0, EventType::S_CRTM_VERSION), data, description, &GCE_VERSION, recorder);
    let mut data = b"GCE NonHostInfo\0".to_vec();
    data.push(technology.number());
    data.extend([0; 15]);
    let description = format!("technology {technology}");
    add((0, EventType::NONHOST_INFO), data, description, &GCE_TECHNOLOGY, recorder);
    Some(0)
}

/// PCR 6.
fn hyper_v(chain: &BootChain, scenario: &Scenario, recorder: &mut Recorder<'_>) -> Option<u8> {
    let VmId(id) = scenario.cloud.vm_id.as_ref()?;
    let event = (6, EventType::COMPACT_HASH);
    add(event, format!("UUID: {id}").into_bytes(), "the VM's id".to_owned(), &AZURE_ID, recorder);
    recorder.assume(
        "no-azure-hsm",
        "the VM's size is not one with an HSM, whose id the firmware measures, too",
        &[6],
        "--baseline",
    );
    if scenario.cloud.measures_architecture {
        let name = if chain.uki.image.machine == Machine::AARCH64 { "AARCH64" } else { "X64" };
        let data = format!("{{\"MachineArchitecture\": \"{name}\"}}").into_bytes();
        add(event, data, format!("architecture {name}"), &AZURE_ID, recorder);
    }
    Some(6)
}

fn add(
    (pcr, event_type): (u8, EventType),
    data: Vec<u8>,
    description: String,
    rule: &'static Rule,
    recorder: &mut Recorder<'_>,
) {
    let event = Event {
        pcr: PcrIndex::new(pcr),
        event_type: Some(event_type),
        data: Some(data.clone()),
        description,
        source: Source::Option("--declare"),
        rule,
    };
    recorder.measure(event, [Segment::bytes(data)]);
}
