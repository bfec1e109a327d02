//! Platforms: what the firmware under the image does, as data.

use std::fmt;
use std::str::FromStr;

/// The firmware's share of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// The word on the command line and in documents.
    pub id: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Where the facts come from.
    pub evidence: &'static str,
    /// Its firmware has Secure Boot, on or off; `None` where builds differ.
    pub secure_boot: Option<bool>,
}

/// QEMU with EDK2's OVMF.
const OVMF: Platform = Platform {
    id: "ovmf",
    description: "EDK2 OVMF as QEMU runs it",
    evidence: "observed with OVMF 2022.11, 2025.02 and 2026.08 of Debian; EDK2 Tcg2Dxe",
    secure_boot: None,
};

impl Platform {
    /// The platforms that are known.
    pub const ALL: &[Self] = &[OVMF];
}

impl Default for Platform {
    fn default() -> Self {
        OVMF
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id)
    }
}

/// A word that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown platform '{0}'")]
pub struct UnknownPlatform(pub String);

impl FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().find(|platform| platform.id == id);
        known.copied().ok_or_else(|| UnknownPlatform(id.to_owned()))
    }
}
