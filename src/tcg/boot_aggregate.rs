//! IMA's first entry, which a kernel writes without any policy: the hash of the PCRs that firmware and boot loader
//! extended (`security/integrity/ima/ima_crypto.c`, `ima_calc_boot_aggregate_tfm`).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::{Digest, HashAlgorithm, Hasher, PcrIndex};

/// The entry as one template of IMA writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// `ima`: the oldest.
    Ima,
    /// `ima-ng`: `d-ng|n-ng`.
    ImaNg,
    /// `ima-sig`: `d-ng|n-ng|sig`.
    ImaSig,
    /// `ima-modsig`: `d-ng|n-ng|sig|d-modsig|modsig`.
    ImaModsig,
    /// `ima-ngv2`: `d-ngv2|n-ng`.
    ImaNgV2,
    /// `ima-sigv2`: `d-ngv2|n-ng|sig`.
    ImaSigV2,
}

impl Template {
    /// All of them, the usual ones first.
    pub const ALL: [Self; 6] =
        [Self::ImaNg, Self::ImaSig, Self::ImaNgV2, Self::ImaSigV2, Self::ImaModsig, Self::Ima];

    /// The name in IMA's log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ima => "ima",
            Self::ImaNg => "ima-ng",
            Self::ImaSig => "ima-sig",
            Self::ImaModsig => "ima-modsig",
            Self::ImaNgV2 => "ima-ngv2",
            Self::ImaSigV2 => "ima-sigv2",
        }
    }

    /// What is hashed for the entry of this aggregate; `None` when the template has no room for it.
    #[must_use]
    pub fn data(self, aggregate: Digest) -> Option<Vec<u8>> {
        const NAME: &[u8] = b"boot_aggregate";
        let (prefix, empty_fields) = match self {
            Self::Ima => return legacy(aggregate, NAME),
            Self::ImaNg => ("", 0),
            Self::ImaSig => ("", 1),
            Self::ImaModsig => ("", 3),
            Self::ImaNgV2 => ("ima:", 0),
            Self::ImaSigV2 => ("ima:", 1),
        };
        let head = format!("{prefix}{}:\0", aggregate.algorithm());
        let mut data = field(&[head.as_bytes(), aggregate.as_bytes()].concat());
        data.extend(field(&[NAME, b"\0"].concat()));
        for _ in 0..empty_fields {
            data.extend(field(&[]));
        }
        Some(data)
    }
}

/// The hash over PCRs 0 to 7, and with another hash than SHA-1 also 8 and 9 (from Linux 5.8 on).
#[must_use]
pub fn boot_aggregate(bank: HashAlgorithm, value: impl Fn(PcrIndex) -> Digest) -> Digest {
    let last = if bank == HashAlgorithm::Sha1 { 7 } else { 9 };
    let mut hasher = Hasher::new(bank);
    for pcr in PcrIndex::all().filter(|pcr| pcr.get() <= last) {
        hasher.update(value(pcr).as_bytes());
    }
    hasher.finish()
}

/// A field of template data: its length and its bytes.
pub(super) fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&length[..], bytes].concat()
}

/// The oldest template: a SHA-1 digest and the name in a buffer of 256 bytes.
fn legacy(aggregate: Digest, name: &[u8]) -> Option<Vec<u8>> {
    (aggregate.algorithm() == HashAlgorithm::Sha1).then(|| super::ima::legacy(aggregate.as_bytes(), name))
}
