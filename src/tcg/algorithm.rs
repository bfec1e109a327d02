//! Hash algorithms: the open set that a log may name, and those that we compute.

use std::fmt;
use std::str::FromStr;

/// `TPM_ALG_ID` as it stands in a log or quote: an open set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlgorithmId(pub u16);

impl AlgorithmId {
    /// `TPM_ALG_SHA1`.
    pub const SHA1: Self = Self(0x0004);
    /// `TPM_ALG_SHA256`.
    pub const SHA256: Self = Self(0x000B);
    /// `TPM_ALG_SHA384`.
    pub const SHA384: Self = Self(0x000C);
    /// `TPM_ALG_SHA512`.
    pub const SHA512: Self = Self(0x000D);
    /// `TPM_ALG_SM3_256`.
    pub const SM3_256: Self = Self(0x0012);
    /// `TPM_ALG_SHA3_256`.
    pub const SHA3_256: Self = Self(0x0027);
    /// `TPM_ALG_SHA3_384`.
    pub const SHA3_384: Self = Self(0x0028);
    /// `TPM_ALG_SHA3_512`.
    pub const SHA3_512: Self = Self(0x0029);

    /// The algorithm, when it is one that we compute.
    #[must_use]
    pub fn known(self) -> Option<HashAlgorithm> {
        HashAlgorithm::ALL.into_iter().find(|algorithm| algorithm.id() == self)
    }
}

impl fmt::Display for AlgorithmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(algorithm) => algorithm.fmt(f),
            None => write!(f, "algorithm {:#06x}", self.0),
        }
    }
}

/// A hash algorithm that PCR banks use and that we compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
    /// SM3, 32 bytes.
    Sm3_256,
}

impl HashAlgorithm {
    /// All of them, in the order in which banks are listed.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512, Self::Sm3_256];

    /// The largest digest, in bytes.
    pub const MAX_SIZE: usize = 64;

    /// Bytes of a digest.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sm3_256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The number on the wire (Registry, table 3).
    #[must_use]
    pub fn id(self) -> AlgorithmId {
        match self {
            Self::Sha1 => AlgorithmId::SHA1,
            Self::Sha256 => AlgorithmId::SHA256,
            Self::Sha384 => AlgorithmId::SHA384,
            Self::Sha512 => AlgorithmId::SHA512,
            Self::Sm3_256 => AlgorithmId::SM3_256,
        }
    }

    /// The bank's name in JSON and in tpm2-tools: `sha1 sha256 sha384 sha512 sm3_256`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sm3_256 => "sm3_256",
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no bank.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown bank '{0}', expected sha1, sha256, sha384, sha512 or sm3-256")]
pub struct UnknownAlgorithm(pub String);

impl FromStr for HashAlgorithm {
    type Err = UnknownAlgorithm;

    /// Accepts the names of [`HashAlgorithm::name`] in any case, and `-` for `_`.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let name = word.to_ascii_lowercase().replace('-', "_");
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| UnknownAlgorithm(word.to_owned()))
    }
}
