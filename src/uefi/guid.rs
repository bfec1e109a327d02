//! `EFI_GUID`: reading, and names for those that logs show.

pub use uguid::{Guid, guid};

use crate::bytes::{ParseError, Reader};

/// `EFI_GLOBAL_VARIABLE`.
pub const GLOBAL_VARIABLE: Guid = guid!("8be4df61-93ca-11d2-aa0d-00e098032b8c");
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`.
pub const IMAGE_SECURITY_DATABASE: Guid = guid!("d719b2cb-3d3a-4596-a3bc-dad00e67656f");
/// shim's `SHIM_LOCK_GUID`.
pub const SHIM_LOCK: Guid = guid!("605dab50-e046-4300-abb6-3dd810dd8b23");

/// systemd's Boot Loader Interface.
pub const SYSTEMD_LOADER: Guid = guid!("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");

/// Reads the 16 bytes of a GUID: first three fields little-endian, the rest as written.
///
/// # Errors
/// When fewer are left.
pub fn read(reader: &mut Reader<'_>, what: &'static str) -> Result<Guid, ParseError> {
    reader.array(what).map(Guid::from_bytes)
}

/// What a GUID is called in the specification or the source that defines it.
#[must_use]
pub fn name(guid: Guid) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == guid).map(|(_, name)| *name)
}

/// The GUID with its name, if it has one.
#[must_use]
pub fn describe(guid: Guid) -> String {
    match name(guid) {
        Some(name) => format!("{guid} ({name})"),
        None => guid.to_string(),
    }
}

// UEFI 2.10, EDK2 (MdePkg, MdeModulePkg, OvmfPkg .dec files), shim, systemd, Linux, UAPI Discoverable Partitions.
const NAMES: &[(Guid, &str)] = &[
    (GLOBAL_VARIABLE, "global variable"),
    (IMAGE_SECURITY_DATABASE, "image security database"),
    (SHIM_LOCK, "shim lock"),
    (guid!("77fa9abd-0359-4d32-bd60-28f4e78f784b"), "Microsoft"),
    (guid!("d281fad2-8d88-47a4-9792-5baa47bb1b89"), "Google Compute Engine"),
    (SYSTEMD_LOADER, "systemd boot loader interface"),
    (guid!("1428f772-b64a-441e-b8c3-9ebdd7f893c7"), "QEMU kernel loader"),
    (guid!("55c5d1f8-04cd-46b5-8a20-e56cbb3052d0"), "systemd-stub inner kernel"),
    (guid!("5568e427-68fc-4f3d-ac74-ca555231cc68"), "Linux initrd"),
    (guid!("eb9d2d31-2d88-11d3-9a16-0090273fc14d"), "SMBIOS table"),
    (guid!("f2fd1544-9794-4a2c-992e-e5bbcf20e394"), "SMBIOS3 table"),
    (guid!("8868e871-e4f1-11d3-bc22-0080c73c8881"), "ACPI 2.0 table"),
    (guid!("eb9d2d30-2d88-11d3-9a16-0090273fc14d"), "ACPI 1.0 table"),
    (guid!("3fdda605-a76e-4f46-ad29-12f4531b3d08"), "MP services protocol"),
    (guid!("93bb96af-b9f2-4eb8-9462-e0ba74564236"), "OVMF token space"),
    (guid!("6938079b-b503-4e3d-9d24-b28337a25806"), "OVMF PEIFV"),
    (guid!("7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1"), "OVMF DXEFV"),
    (guid!("48db5e17-707c-472d-91cd-1613e7ef51b0"), "OVMF configuration volume"),
    (guid!("462caa21-7614-4503-836e-8ab6f4662331"), "UiApp"),
    (guid!("a2858e46-a37f-456a-8c79-0c1fe48b65ff"), "Google firmware RIM"),
    (guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), "EFI System Partition"),
    (guid!("bc13c2ff-59e6-4262-a352-b275fd6f7172"), "Extended Boot Loader Partition"),
    (guid!("21686148-6449-6e6f-744e-656564454649"), "BIOS boot partition"),
    (guid!("0fc63daf-8483-4772-8e79-3d69d8477de4"), "Linux filesystem data"),
    (guid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"), "Root partition (x86-64)"),
    (guid!("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"), "Root verity partition (x86-64)"),
    (guid!("41092b05-9fc8-4523-994f-2def0408b176"), "Root verity signature partition (x86-64)"),
    (guid!("b921b045-1df0-41c3-af44-4c6f280d3fae"), "Root partition (arm64)"),
    (guid!("8484680c-9521-48c6-9c11-b0720656f69e"), "/usr partition (x86-64)"),
    (guid!("77ff5f63-e7b6-4633-acf4-1565b864c0e6"), "/usr verity partition (x86-64)"),
    (guid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915"), "/home partition"),
    (guid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d"), "/var partition"),
    (guid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"), "Swap"),
    (guid!("e6d6d379-f507-44c2-a23c-238f2a3df928"), "Linux LVM"),
    (guid!("a19d880f-05fc-4d3b-a006-743f0f84911e"), "Linux RAID"),
    (guid!("ca7d7ccb-63ed-4c53-861c-1742536059cc"), "LUKS partition"),
    (guid!("e3c9e316-0b5c-4db8-817d-f92df00215ae"), "Microsoft reserved"),
    (guid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"), "Microsoft basic data"),
    (guid!("de94bba4-06d1-4d40-a16a-bfd50179d6ac"), "Windows recovery environment"),
    (guid!("fe3a2a5d-4f32-41a7-b725-accc3285a309"), "ChromeOS kernel"),
    (guid!("3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec"), "ChromeOS rootfs"),
    (guid!("2e0a753d-9e48-43b0-8337-b15192cb1b5e"), "ChromeOS reserved"),
];
