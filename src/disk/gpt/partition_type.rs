//! Partition types that matter for a boot (UEFI section 5.3.3; DPS).

use uguid::{Guid, guid};

/// EFI System Partition.
pub const ESP: Guid = guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Extended Boot Loader Partition.
pub const XBOOTLDR: Guid = guid!("bc13c2ff-59e6-4262-a352-b275fd6f7172");

/// Data and verity partition types of one architecture.
#[derive(Debug, Clone, Copy)]
pub struct VerityTypes {
    /// What the words below are about: `x86-64 root`.
    pub name: &'static str,
    /// It is `/usr` (`usrhash=`), not the root (`roothash=`).
    pub is_usr: bool,
    /// The data.
    pub data: Guid,
    /// The hash tree.
    pub verity: Guid,
    /// The signature of the root hash.
    pub signature: Guid,
}

macro_rules! verity_types {
    ($($name:literal, $usr:literal, $data:literal, $verity:literal, $signature:literal;)*) => {
        /// The types of the Discoverable Partitions Specification.
        pub const VERITY: &[VerityTypes] = &[$(VerityTypes {
            name: $name, is_usr: $usr, data: guid!($data), verity: guid!($verity), signature: guid!($signature),
        },)*];
    };
}

verity_types! {
    "x86-64 root", false, "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
        "41092b05-9fc8-4523-994f-2def0408b176";
    "x86-64 usr", true, "8484680c-9521-48c6-9c11-b0720656f69e", "77ff5f63-e7b6-4633-acf4-1565b864c0e6",
        "e7bb33fb-06cf-4e81-8273-e543b413e2e2";
    "arm64 root", false, "b921b045-1df0-41c3-af44-4c6f280d3fae", "df3300ce-d69f-4c92-978c-9bfb0f38d820",
        "6db69de6-29f4-4758-a7a5-962190f00ce3";
    "arm64 usr", true, "b0e01050-ee5f-4390-949a-9101b17104e9", "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e",
        "c23ce4ff-44bd-4b00-b2d4-b41b3419e02a";
    "riscv64 root", false, "72ec70a6-cf74-40e6-bd49-4bda08e8f224", "b6ed5582-440b-4209-b8da-5ff7c419ea3d",
        "efe0f087-ea8d-4469-821a-4c2a96a8386a";
    "riscv64 usr", true, "beaec34b-8442-439b-a40b-984381ed097d", "8f1056be-9b05-47c4-81d6-be53128e5b54",
        "d2f9000a-7a18-453f-b5cd-4d32f77a7b32";
    "x86 root", false, "44479540-f297-41b2-9af7-d131d5f0458a", "d13c5d3b-b5d1-422a-b29f-9454fdc89d76",
        "5996fc05-109c-48de-808b-23fa0830b676";
    "x86 usr", true, "75250d76-8cc6-458e-bd66-bd47cc81a812", "8f461b0d-14ee-4e81-9aa9-049b6fb97abd",
        "974a71c0-de41-43c3-be5d-5c5ccd1ad2c0";
}
