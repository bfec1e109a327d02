//! The boot of a machine, in the order in which it runs: [`replay`] reads like the machine does.
//!
//! Each stage has a file, and each file a table of facts keyed by version, with its source. Nothing in here opens
//! a file by name; images come as [`crate::source::Blob`]s. Sources named below, once:
//!
//! - *systemd*: the sources of systemd, `src/boot/` (`src/boot/efi/` up to 256) for boot loader and stub,
//!   `src/pcrextend/`, `src/tpm2-setup/` and `units/` for user space
//! - *Linux*: the kernel's EFI stub, `drivers/firmware/efi/libstub/`
//! - *EDK2*: `SecurityPkg/Tcg/Tcg2Dxe` and `SecurityPkg/Library/DxeTpm2MeasureBootLib`
//! - *PFP*: TCG PC Client Platform Firmware Profile Specification
//! - *observed*: boots of real images under QEMU, OVMF and swtpm whose logs are in `fixtures/boots`

mod cc;
mod chain;
mod cloud;
mod cpio;
mod entry_initrd;
mod firmware;
mod firmware_image;
mod grub;
mod grub_replay;
mod linux;
mod measurement;
mod ovmf;
mod platform;
mod recorded;
mod recorder;
mod replay;
mod scenario;
mod secure_boot;
mod shim;
mod smbios;
mod stage;
mod systemd_boot;
mod systemd_stub;
mod text;
mod type1;
mod userspace;

pub use cc::{CcGuest, CcRules, FIRST_LINUX, RTMR3_UNUSED};
pub use chain::{
    BootChain, BootMedium, CompanionFile, EntryFile, GrubBoot, GrubReplay, GrubStep, Input, InputId,
    InputRole, NamedImage, PartitionTable, Payload, ReplayStep, Scope,
};
pub use cloud::{CloudFacts, Technology, VmId};
pub use firmware_image::FirmwareImage;
pub(crate) use grub::initrd_segments as grub_initrd;
pub use linux::KernelRules;
pub use measurement::{Assumption, Content, Gap, GapCode, Measurement, NotCovered, Rule, Source};
pub use ovmf::Machine;
pub use platform::{Declarable, Evidence, GuestSupport, Platform, Published, UnknownPlatform};
pub use recorded::RecordedPlatform;
pub use recorder::Recording;
pub use replay::{BootError, replay};
pub use scenario::{BootSecret, Declared, ExitBootServices, Scenario};
pub use secure_boot::{SecureBootPolicy, SecureBootSupport, VariableSource};
pub use smbios::Smbios;
pub use stage::Stage;
pub use systemd_boot::LoaderRules;
pub use systemd_stub::{StubRules, choices};
pub use text::{utf16_nul, utf16_units};
pub use userspace::UserspaceRules;
