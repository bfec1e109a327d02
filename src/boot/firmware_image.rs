//! What a firmware image says about its measurements: OVMF's `OVMF_CODE.fd`.

use crate::bytes::ParseError;
use crate::tcg::{Digest, HashAlgorithm};
use crate::uefi::firmware_volume::{FirmwareVolume, volumes};
use crate::uefi::guid::{Guid, guid};

/// `SecureBootConfigDxe`, which is in a build if and only if `SECURE_BOOT_ENABLE` was set (EDK2 `OvmfPkgX64.dsc`).
const SECURE_BOOT_CONFIG_DXE: Guid = guid!("f0e6a44f-7195-41c3-ac64-54f202cd0a21");
/// OVMF's volume of PEI modules, `FV.PEIFV` of `OvmfPkgX64.fdf`.
const PEIFV: Guid = guid!("6938079b-b503-4e3d-9d24-b28337a25806");
/// OVMF's volume of DXE drivers, `FV.DXEFV` of `OvmfPkgX64.fdf`.
const DXEFV: Guid = guid!("7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1");

/// A firmware image, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareImage {
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// The build can do Secure Boot; without, the variable `SecureBoot` does not exist.
    pub secure_boot: bool,
    /// The volume of PEI modules as it stands in the file. Most builds change it in memory before they measure it.
    pub peifv: Option<Vec<u8>>,
    /// The volume of DXE drivers, which is measured as it stands in the file.
    pub dxefv: Option<Vec<u8>>,
}

impl FirmwareImage {
    /// Takes an image apart.
    ///
    /// # Errors
    /// When it is not made of firmware volumes, or these are damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let volumes = volumes(bytes)?;
        let named = |name: Guid| {
            volumes.iter().find(|volume| volume.name == Some(name)).map(|volume| volume.bytes.clone())
        };
        let has = |volume: &FirmwareVolume| volume.files.contains(&SECURE_BOOT_CONFIG_DXE);
        Ok(Self {
            sha256: Digest::of(HashAlgorithm::Sha256, bytes),
            secure_boot: volumes.iter().any(has),
            peifv: named(PEIFV),
            dxefv: named(DXEFV),
        })
    }

    /// It is an OVMF build as this program knows them: with its two volumes.
    #[must_use]
    pub fn is_ovmf(&self) -> bool {
        self.peifv.is_some() && self.dxefv.is_some()
    }
}
