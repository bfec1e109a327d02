//! What is known of the machine and of the way in which it boots, beside the files.

use std::sync::Arc;

use super::{
    CcGuest, CloudFacts, FirmwareImage, Machine, Platform, RecordedPlatform, SecureBootPolicy,
    SecureBootSupport, Smbios,
};
use crate::uki::{KernelVersion, SystemdVersion};

/// A fact that the machine settles: declared by the user, or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Declared<T> {
    /// Nobody said.
    #[default]
    Unknown,
    /// Declared not to be there.
    Absent,
    /// Declared.
    Is(T),
}

/// The 32 bytes that systemd-stub from 261 on puts into the initrd as `/.extra/boot-secret`.
pub type BootSecret = Declared<[u8; 32]>;

/// How the kernel's calls of `ExitBootServices` turn out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitBootServices {
    /// The first call succeeds.
    #[default]
    Success,
    /// The first call fails, as the memory map has changed; the second one succeeds. OVMF 2026.08 does so at every boot.
    FailureThenSuccess,
}

impl ExitBootServices {
    /// The word on the command line and in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::FailureThenSuccess => "failure-then-success",
        }
    }
}

/// One way to boot an image. Where an image can boot in several ways that nobody decided between, there is one
/// scenario for each.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    /// The firmware.
    pub platform: &'static Platform,
    /// Somebody named the platform or described the machine; otherwise nothing is taken for granted of its devices.
    pub platform_declared: bool,
    /// The firmware's image.
    pub firmware: Option<Arc<FirmwareImage>>,
    /// Facts about a provider's machine.
    pub cloud: CloudFacts,
    /// The machine's shape.
    pub machine: Option<Machine>,
    /// The EFI variable `SecureBoot` is 1.
    pub secure_boot: bool,
    /// The firmware has Secure Boot, whether on or off.
    pub secure_boot_support: SecureBootSupport,
    /// The machine's Secure Boot variables; `None` when nothing is known of them.
    pub secure_boot_policy: Option<Arc<SecureBootPolicy>>,
    /// The platform as recorded boots show it; `None` when there is no baseline.
    pub baseline: Option<Arc<RecordedPlatform>>,
    /// The confidential guest as recorded boots show it, where its registers are asked for beside PCRs.
    pub guest_baseline: Option<Arc<RecordedPlatform>>,
    /// How the kernel's calls of `ExitBootServices` turn out.
    pub exit_boot_services: ExitBootServices,
    /// The registers of this confidential guest are asked for, not the PCRs of a TPM.
    pub cc: Option<CcGuest>,
    /// The machine is a confidential VM (SEV, TDX) and the stub sees that.
    pub confidential_vm: bool,
    /// LoadOptions typed or configured by somebody, as UTF-16 units without the terminator.
    pub load_options: Option<Vec<u16>>,
    /// UKI profile asked for; 0 is what boots when nobody asks.
    pub profile: u32,
    /// SMBIOS tables of the machine.
    pub smbios: Smbios,
    /// The boot secret.
    pub boot_secret: BootSecret,
    /// Console words that the stub adds (261 and later).
    pub console: Declared<String>,
    /// Which `.dtbauto` the stub takes, counted from 0 over all of them.
    pub devicetree: Declared<usize>,
    /// Which `.efifw` the stub takes, counted from 0.
    pub firmware_image: Declared<usize>,
    /// Version of the stub, whatever `.sdmagic` says.
    pub stub_version: Option<SystemdVersion>,
    /// Version of systemd in the initrd; absent means an initrd without it (initramfs-tools, an own init).
    pub initrd_systemd: Declared<SystemdVersion>,
    /// Version of systemd on the host; absent means a host without it.
    pub host_systemd: Declared<SystemdVersion>,
    /// Version of the kernel, whatever the image says.
    pub kernel_version: Option<KernelVersion>,
    /// The host's machine id, 32 hexadecimal digits.
    pub machine_id: Declared<String>,
    /// The word that systemd measures for the root file system, `file-system:/:...`.
    pub root_file_system: Declared<String>,
    /// A LUKS volume's key is measured. There is no value to declare: it is secret.
    pub volume_key: Declared<()>,
    /// NvPCRs are initialised (259 and later). There is no value to declare: it depends on a secret.
    pub nvpcr: Declared<()>,
}
