//! The document's structure, field by field as in its JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tcg::eventlog::Pcr0Start;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex};

/// Version of the format that this program writes. A reader refuses another major number.
pub const SCHEMA_VERSION: &str = "1.0.0";

/// The value of [`Document::kind`].
pub const KIND: &str = "premeasure-reference";

/// A digest for each bank, by the bank's name, in lower-case hexadecimal.
pub type BankDigests = BTreeMap<String, String>;

/// A reference document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: String,
    /// [`KIND`].
    pub kind: String,
    /// The program that wrote it.
    pub generator: Generator,
    /// Banks that every value and measurement is given in.
    pub banks: Vec<String>,
    /// Stages of the boot, in order.
    pub stages: Vec<StageEntry>,
    /// The images.
    pub images: Vec<Image>,
    /// What the images are made of: manifests and software bills of materials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub materials: Vec<MaterialEntry>,
    /// Ways to boot.
    pub scenarios: Vec<ScenarioEntry>,
    /// Image and scenario together, with the values.
    pub variants: Vec<VariantEntry>,
    /// The rules that measurements refer to.
    pub rules: Vec<RuleEntry>,
}

impl Document {
    /// Every variant has PCRs, not only the registers of a confidential guest.
    #[must_use]
    pub fn has_pcrs(&self) -> bool {
        self.variants.iter().all(|variant| !variant.pcrs.is_empty())
    }
}

/// The program that wrote a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// `premeasure`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A stage of the boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageEntry {
    /// Its name.
    pub id: String,
    /// What happens then.
    pub description: String,
}

/// What boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Name within the document.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// The files that it consists of.
    pub inputs: Vec<InputEntry>,
    /// What was found in them.
    pub facts: Facts,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputEntry {
    /// Name within the image; sources refer to it.
    pub id: String,
    /// What it is for.
    pub role: String,
    /// File name.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the whole file.
    pub sha256: String,
    /// Image digest (Authenticode), of PE files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<BankDigests>,
}

/// A bill of materials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaterialEntry {
    /// File name.
    pub name: String,
    /// What it is.
    pub format: String,
    /// Its name for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Packages that it lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<u64>,
}

impl From<&crate::materials::Material> for MaterialEntry {
    fn from(material: &crate::materials::Material) -> Self {
        Self {
            name: material.name.clone(),
            format: material.format.to_owned(),
            identifier: material.identifier.clone(),
            sha256: material.sha256.clone(),
            packages: material.packages,
        }
    }
}

/// What was found in an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Processor.
    pub architecture: String,
    /// The stub, as `.sdmagic` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stub: Option<String>,
    /// The boot loader, as its `.sdmagic` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_loader: Option<String>,
    /// The kernel's version text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// `.uname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uname: Option<String>,
    /// The embedded command line of the base profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// Number of `.profile` sections.
    pub profiles: u64,
    /// Some fields of `.osrel`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub os_release: BTreeMap<String, String>,
}

/// One way to boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioEntry {
    /// Name within the document.
    pub id: String,
    /// The firmware.
    pub platform: String,
    /// State of Secure Boot; absent when both give the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// The boot loader's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// How the calls of ExitBootServices turn out: `success` or `failure-then-success`; absent where PCR 5 is not known
    /// anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_boot_services: Option<String>,
    /// A confidential VM.
    pub confidential_vm: bool,
    /// The registers that are predicted: `rtmr`, or `both`; absent for PCRs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registers: Option<String>,
    /// LoadOptions asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_options: Option<String>,
    /// UKI profile asked for.
    pub profile: u64,
    /// Which `.dtbauto` the stub takes, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devicetree: Option<u64>,
    /// Which `.efifw` the stub takes, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_image: Option<u64>,
    /// What was declared of the machine, by option: `none`, a value, or `given` where the value is a secret or a file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub declared: BTreeMap<String, String>,
    /// Whose rules were used, by program.
    pub rules_used: BTreeMap<String, RulesUsed>,
    /// What was taken for granted.
    pub assumptions: Vec<AssumptionEntry>,
}

/// Rules of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesUsed {
    /// The version found or declared.
    pub version: String,
    /// The version from which on the rules hold that were used.
    pub rules_from: String,
    /// The version is newer than any that the rules were made for.
    pub nearest: bool,
}

/// Something taken for granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssumptionEntry {
    /// Stable name.
    pub id: String,
    /// What is assumed.
    pub statement: String,
    /// PCRs that depend on it.
    pub affects: Vec<u8>,
    /// Registers of a confidential guest that depend on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affects_registers: Vec<String>,
    /// Options that decide it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// An image booting in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantEntry {
    /// Name within the document.
    pub id: String,
    /// [`Image::id`].
    pub image: String,
    /// [`ScenarioEntry::id`].
    pub scenario: String,
    /// All PCRs, ascending; none where only a confidential guest's registers are predicted.
    pub pcrs: Vec<PcrEntry>,
    /// What is measured, in the order of the boot.
    pub measurements: Vec<MeasurementEntry>,
    /// The measurement registers of a confidential guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestEntry>,
}

/// The measurement registers of a confidential guest (Intel TDX). Everything is in SHA-384.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestEntry {
    /// There is a TPM beside the registers.
    pub tpm: bool,
    /// All registers, ascending.
    pub registers: Vec<RegisterEntry>,
    /// What is measured into them, in the order of the boot. `pcr` is the PCR that the specifications name.
    pub measurements: Vec<MeasurementEntry>,
    /// Programs that leave something out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_covered: Vec<NotCoveredEntry>,
}

/// One register of a confidential guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterEntry {
    /// Its index as in CC event logs: 0 is MRTD, 1 to 4 are RTMR0 to RTMR3.
    pub index: u8,
    /// Its name.
    pub name: String,
    /// `computed`, `observed`, `declared`, `assumed-unused`, `partial` or `unknown`.
    pub status: String,
    /// The value that it starts from, where one was declared; else zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<BankDigests>,
    /// Values at the stages at which they are known.
    pub values: Vec<ValueEntry>,
    /// What is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<GapEntry>,
    /// [`AssumptionEntry::id`]s that it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumes: Vec<String>,
}

/// A program that does not measure through the CC protocol all that it measures into a TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotCoveredEntry {
    /// The program.
    pub program: String,
    /// What it leaves out.
    pub what: String,
}

/// One PCR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcrEntry {
    /// Its number.
    pub index: u8,
    /// Its name in the Linux TPM PCR Registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `computed`, `observed`, `assumed-unused`, `partial` or `unknown`.
    pub status: String,
    /// PCR 0 only: the last byte of its start value, where that is not zero: the locality from which the TPM was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_locality: Option<u8>,
    /// Values at the stages at which they are known.
    pub values: Vec<ValueEntry>,
    /// What is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<GapEntry>,
    /// [`AssumptionEntry::id`]s that it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumes: Vec<String>,
}

impl PcrEntry {
    /// What the register holds before its first measurement.
    #[must_use]
    pub fn start_value(&self, bank: HashAlgorithm) -> Option<Digest> {
        let pcr = PcrIndex::try_from(u32::from(self.index)).ok()?;
        Some(match self.startup_locality {
            Some(locality) if self.index == 0 => Pcr0Start::StartupLocality(locality).value(bank),
            _ => pcr.start_value(bank),
        })
    }
}

/// A PCR's value at one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueEntry {
    /// [`StageEntry::id`].
    pub stage: String,
    /// `computed`, `observed`, `declared` (registers of a confidential guest) or `assumed-unused`.
    pub status: String,
    /// The value in each bank.
    pub digests: BankDigests,
}

/// Something that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GapEntry {
    /// What kind of input is missing.
    pub code: String,
    /// The first stage whose value it hides.
    pub stage: String,
    /// Why the value is not known.
    pub reason: String,
    /// What would settle it.
    pub remedy: String,
}

/// One extend, or a gap where one may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasurementEntry {
    /// The register.
    pub pcr: u8,
    /// The register of a confidential guest that the PCR shares; absent where PCRs are extended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<String>,
    /// The first stage whose value includes it.
    pub stage: String,
    /// Type in the firmware's log; absent where user space extends, and in gaps that may be several events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// One line for people.
    pub description: String,
    /// The digest in each bank; absent in gaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digests: Option<BankDigests>,
    /// [`GapEntry::code`], in gaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
    /// Event data in the log, in hexadecimal, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_data: Option<String>,
    /// Where the bytes come from.
    pub source: SourceEntry,
    /// [`RuleEntry::id`].
    pub rule: String,
}

/// Where measured bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceEntry {
    /// `constant`, `image`, `section`, `section-image`, `derived`, `observed`, `option` or `missing`.
    pub kind: String,
    /// [`InputEntry::id`]s, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// The section's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// File offset in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Length in bytes, as loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The option that it was given with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
}

/// Why a measurement is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleEntry {
    /// Stable name.
    pub id: String,
    /// What happens.
    pub statement: String,
    /// Where that is written.
    pub source: String,
}
