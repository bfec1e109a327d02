//! Platforms: what the firmware under the image does, as data.

use std::fmt;
use std::str::FromStr;

use crate::tcg::HashAlgorithm;

/// The firmware's share of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// The word on the command line and in documents.
    pub id: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Where the facts come from.
    pub evidence: &'static str,
    /// What is not known of it.
    pub unknown: &'static str,
    /// Banks that its TPM has: those that are computed when nobody asks for others.
    pub banks: &'static [HashAlgorithm],
    /// PCRs that hold nothing but the firmware's separator on the machines that were seen: no option ROMs, no
    /// configuration of drivers.
    pub separator_only: &'static [u8],
    /// How the text of `EV_S_CRTM_VERSION` begins; `None` where builds differ.
    pub firmware_version: Option<&'static str>,
    /// Its firmware has Secure Boot, on or off; `None` where builds differ.
    pub secure_boot: Option<bool>,
    /// Its firmware measures the variable `dbr` where it exists; `None` where that is not known.
    pub measures_dbr: Option<bool>,
    /// Its firmware measures images and partition table into PCR 2 on some machines, which nobody but a log tells.
    pub images_may_move: bool,
    /// What of it is known once somebody declares facts; `None` where nothing is.
    pub declarable: Option<Declarable>,
    /// The measurement registers of its TDX guests.
    pub guest_registers: GuestSupport,
}

/// Whose firmware measures facts that can be declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestSupport {
    /// Guests have them, and no TPM beside them unless somebody adds one.
    Alone,
    /// Guests have a TPM beside them.
    BesideTpm,
    /// Guests have a TPM, and leave the registers alone.
    Unused,
}

/// QEMU with EDK2's OVMF.
const OVMF: Platform = Platform {
    id: "ovmf",
    description: "EDK2 OVMF as QEMU runs it, with swtpm",
    evidence: "boots of OVMF 2022.11, 2025.02 and 2026.08 of Debian, plain and secboot builds (fixtures/boots); EDK2 Tcg2Dxe",
    unknown: "PCR 0 and 1 without firmware image or baseline; other machine types than q35",
    banks: &[HashAlgorithm::Sha256, HashAlgorithm::Sha384],
    separator_only: &[2, 3, 6],
    firmware_version: None,
    secure_boot: None,
    measures_dbr: Some(false),
    images_may_move: false,
    declarable: None,
    guest_registers: GuestSupport::Alone,
};
/// Google Compute Engine.
const GCE: Platform = Platform {
    id: "gce",
    description: "Google Compute Engine, Shielded and Confidential VMs",
    evidence: "event logs and quotes of Shielded, SEV, TDX and SEV-SNP VMs published with go-eventlog, go-tpm-tools, dstack and \
               Constellation, 2018 to 2026-02",
    unknown: "PCR 0 without a baseline or --declare technology=none|sev|sev-es|tdx|sev-snp; PCR 1 without a baseline; what of a \
              boot by shim or GRUB a TDX VM measures into PCR 2; machines with local SSDs; the keys in PCR 7, which the \
              image brings along or Google's defaults of the day (last seen 2026-02: --variables with a log)",
    banks: &[HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384],
    separator_only: &[2, 3, 6],
    firmware_version: Some("GCE Virtual Firmware"),
    secure_boot: Some(true),
    measures_dbr: None,
    images_may_move: true,
    declarable: Some(Declarable::Google),
    guest_registers: GuestSupport::BesideTpm,
};
/// Azure's Trusted Launch and confidential VMs.
const AZURE: Platform = Platform {
    id: "azure",
    description: "Azure Trusted Launch and confidential VMs (Hyper-V UEFI)",
    evidence: "source of mu_msvm and openvmm, 2026-08; quotes published with trustee, Constellation and azure-cvm-tooling, \
               2023 to 2026-08. No event log was seen",
    unknown: "PCR 0, 1 and 2 without a baseline; PCR 6 without --declare vm-id=UUID, and whether the firmware adds its \
              architecture there (no machine seen until 2026-08 does); PCR 6 of sizes with an HSM; PCR 4 of VM versions below \
              9.0; SHA-384 before VM version 9.3; the key template in PCR 7, which depends on the day when the VM was made \
              (--variables with the template's JSON)",
    banks: &[HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384],
    separator_only: &[3],
    firmware_version: None,
    secure_boot: Some(true),
    measures_dbr: None,
    images_may_move: false,
    declarable: Some(Declarable::HyperV),
    guest_registers: GuestSupport::Unused,
};
/// AWS NitroTPM.
const AWS: Platform = Platform {
    id: "aws-nitrotpm",
    description: "AWS EC2 with NitroTPM",
    evidence: "AWS's published rules for PCR 4, 7 and 12; signed attestation document of 2026-02-03; values published by \
               Constellation and Bottlerocket, 2023 to 2025. No event log was seen",
    unknown: "PCR 0 without a baseline: its events were never published. On instances without SEV-SNP its value was the same \
              from 2023-05 to 2026-02, SHA-256 737f767a12f54e70eecbc8684011323ae2fe2dd9f90785577969d7a2013e8c12, SHA-384 \
              6e901b16932f6e036747d7a57696e4a2cc864008ebc016826ca1d7bd42ab5ac8286ccf49cde6c0284cbc4b63d978a2ec (signed \
              document, Constellation, Bottlerocket); with SEV-SNP it follows the firmware's release. PCR 1: the volume id is in it, \
              so it differs for each instance",
    banks: &[HashAlgorithm::Sha256, HashAlgorithm::Sha384],
    separator_only: &[2, 3, 6],
    firmware_version: None,
    secure_boot: Some(true),
    measures_dbr: Some(false),
    images_may_move: false,
    declarable: None,
    guest_registers: GuestSupport::Alone,
};
/// Anything else.
const GENERIC_UEFI: Platform = Platform {
    id: "generic-uefi",
    description: "a machine with UEFI firmware that follows the TCG's profile as EDK2 does",
    evidence: "PFP section 3.3.4; EDK2 Tcg2Dxe. Vendors deviate: take a baseline of the machine",
    unknown: "PCR 0 to 3 and 6 without a baseline; vendor applications in PCR 4; whether the Calling text is measured",
    banks: &[HashAlgorithm::Sha256],
    separator_only: &[],
    firmware_version: None,
    secure_boot: None,
    measures_dbr: None,
    images_may_move: false,
    declarable: None,
    guest_registers: GuestSupport::Alone,
};

impl Platform {
    /// The platforms that are known.
    pub const ALL: &[Self] = &[OVMF, GCE, AZURE, AWS, GENERIC_UEFI];
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
