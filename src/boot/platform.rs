//! Platforms: what the firmware under the image does, read from the files in `platforms/`.

mod builds;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use builds::Builds;
pub(super) use builds::{Build, MeasuredVolume, Volume};

use super::ExitBootServices;
use crate::tcg::HashAlgorithm;

/// The files, by the id of their platform; the first is what is taken when nobody names one.
const FILES: [(&str, &str); 5] = [
    ("ovmf", include_str!("../../platforms/ovmf.json")),
    ("gce", include_str!("../../platforms/gce.json")),
    ("azure", include_str!("../../platforms/azure.json")),
    ("aws-nitrotpm", include_str!("../../platforms/aws-nitrotpm.json")),
    ("generic-uefi", include_str!("../../platforms/generic-uefi.json")),
];
/// A file that can't be read is left out; a test reads them all.
static ALL: LazyLock<Vec<Platform>> =
    LazyLock::new(|| FILES.iter().filter_map(|(_, text)| Platform::parse(text).ok()).collect());
/// Of which nothing is known.
static NOTHING: Platform = Platform {
    id: String::new(),
    title: String::new(),
    evidence: Vec::new(),
    unknown: Vec::new(),
    banks: Vec::new(),
    separator_only: Vec::new(),
    firmware_version: None,
    secure_boot: None,
    measures_calling: None,
    measures_dbr: None,
    exit_boot_services: Vec::new(),
    images_may_move: false,
    declarable: None,
    guest_registers: GuestSupport::Alone,
    published: Vec::new(),
    builds: Builds::NONE,
};

/// The firmware's share of the measurements: one file of `platforms/`, which `schemas/platform.schema.json` describes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// The word on the command line and in documents.
    pub id: String,
    /// What it is.
    pub title: String,
    /// Where the facts come from.
    pub evidence: Vec<Evidence>,
    /// What is not known of it.
    pub unknown: Vec<String>,
    /// Banks that its TPM has: those that are computed when nobody asks for others.
    #[serde(deserialize_with = "banks")]
    pub banks: Vec<HashAlgorithm>,
    /// PCRs that hold nothing but the firmware's separator on the machines that were seen: no option ROMs, no
    /// configuration of drivers.
    pub separator_only: Vec<u8>,
    /// How the text of `EV_S_CRTM_VERSION` begins; `None` where builds differ.
    pub firmware_version: Option<String>,
    /// Its firmware has Secure Boot, on or off; `None` where builds differ.
    pub secure_boot: Option<bool>,
    /// Its firmware measures the text "Calling EFI Application from Boot Option"; `None` where that is not known, and taken
    /// for granted.
    pub measures_calling: Option<bool>,
    /// Its firmware measures the variable `dbr` where it exists; `None` where that is not known.
    pub measures_dbr: Option<bool>,
    /// How the kernel's calls of `ExitBootServices` may turn out.
    pub exit_boot_services: Vec<ExitBootServices>,
    /// Its firmware measures images and partition table into PCR 2 on some machines, which nobody but a log tells.
    pub images_may_move: bool,
    /// What of it is known once somebody declares facts; `None` where nothing is.
    pub declarable: Option<Declarable>,
    /// The measurement registers of its TDX guests.
    pub guest_registers: GuestSupport,
    /// Values that others published. They are for information, and never predicted.
    #[serde(default)]
    pub published: Vec<Published>,
    /// Builds of its firmware whose volumes are known.
    #[serde(flatten)]
    pub(super) builds: Builds,
}

/// Something that shows facts about a platform.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What it is, or what it shows.
    pub what: String,
    /// Where it is, or who published it.
    #[serde(rename = "where")]
    pub place: String,
    /// The day, month, year or period that it is of: `2026-02-03`, `2018 to 2026-02`.
    pub seen: String,
}

/// A PCR's value that somebody published.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The PCR.
    pub pcr: u8,
    /// Its bank.
    pub bank: String,
    /// The value, hexadecimal.
    pub value: String,
    /// The machines that have it.
    pub on: String,
    /// When it was seen.
    pub seen: String,
    /// Who published it.
    #[serde(rename = "where")]
    pub place: String,
}

/// Whose firmware measures facts that can be declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Declarable {
    /// Google's: its version and the technology of confidential computing, all of PCR 0.
    Google,
    /// Hyper-V's: the id of the VM, all of PCR 6.
    HyperV,
}

impl Declarable {
    /// The words of `--declare`.
    #[must_use]
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Google => &["technology", "firmware"],
            Self::HyperV => &["vm-id"],
        }
    }
}

/// What a platform makes of the measurement registers of confidential guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestSupport {
    /// Guests have them, and no TPM beside them unless somebody adds one.
    Alone,
    /// Guests have a TPM beside them.
    BesideTpm,
    /// Guests have a TPM, and leave the registers alone.
    Unused,
}

impl Platform {
    /// The platforms that are known.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// Reads a file of `platforms/`.
    fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

impl Default for &Platform {
    fn default() -> Self {
        ALL.first().unwrap_or(&NOTHING)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.id)
    }
}

/// A word that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown platform '{0}'")]
pub struct UnknownPlatform(pub String);

impl FromStr for &'static Platform {
    type Err = UnknownPlatform;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        Platform::all()
            .iter()
            .find(|platform| platform.id == id)
            .ok_or_else(|| UnknownPlatform(id.to_owned()))
    }
}

fn banks<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<HashAlgorithm>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|name| name.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_can_be_read() {
        for (id, text) in FILES {
            let platform =
                Platform::parse(text).unwrap_or_else(|error| panic!("platforms/{id}.json: {error}"));
            assert_eq!(platform.id, id);
        }
        assert_eq!(Platform::all().len(), FILES.len());
    }
}
