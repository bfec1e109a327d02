//! Platform Configuration Registers: index, start value, extend.

use std::collections::BTreeMap;
use std::fmt;

use super::{Digest, HashAlgorithm, Hasher};

/// The number of a PCR, 0 to 23: checked once, here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PcrIndex(u8);

/// A number that no PC Client TPM has as a PCR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no PCR {0}: a PC Client TPM has PCRs 0 to 23")]
pub struct PcrIndexOutOfRange(pub u32);

impl PcrIndex {
    /// PCRs of a PC Client TPM (PFP, section 3.3.4).
    pub const COUNT: u8 = 24;

    /// A constant index.
    ///
    /// # Panics
    /// When `index` is above 23; in a constant that is a compile error.
    #[must_use]
    pub const fn new(index: u8) -> Self {
        assert!(index < Self::COUNT);
        Self(index)
    }

    /// All of them, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// Name in the UAPI group's Linux TPM PCR Registry; empty where it has none.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "platform-code",
            1 => "platform-config",
            2 => "external-code",
            3 => "external-config",
            4 => "boot-loader-code",
            5 => "boot-loader-config",
            7 => "secure-boot-policy",
            9 => "kernel-initrd",
            10 => "ima",
            11 => "kernel-boot",
            12 => "kernel-config",
            13 => "sysexts",
            14 => "shim-policy",
            15 => "system-identity",
            16 => "debug",
            23 => "application-support",
            _ => "",
        }
    }

    /// What the register holds after power-on (PFP, table "PCR initial and reset values"): ones in the
    /// registers of a dynamic launch, zeros elsewhere. PCR 0 starts otherwise when the TPM was started from
    /// another locality; the event log says so.
    #[must_use]
    pub fn start_value(self, bank: HashAlgorithm) -> Digest {
        match self.0 {
            17..=22 => Digest::from_bytes(bank, &[0xFF; HashAlgorithm::MAX_SIZE][..bank.size()])
                .unwrap_or_else(|| Digest::zero(bank)),
            _ => Digest::zero(bank),
        }
    }
}

impl TryFrom<u32> for PcrIndex {
    type Error = PcrIndexOutOfRange;

    fn try_from(index: u32) -> Result<Self, Self::Error> {
        match u8::try_from(index) {
            Ok(small) if small < Self::COUNT => Ok(Self(small)),
            _ => Err(PcrIndexOutOfRange(index)),
        }
    }
}

impl fmt::Display for PcrIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `TPM2_PCR_Extend`: the new value is `H(old || digest)` (Library part 1, section "PCR operations").
/// Both arguments are of one bank; of two banks, the old value is kept.
#[must_use]
pub fn extend(old: Digest, digest: Digest) -> Digest {
    if old.algorithm() != digest.algorithm() {
        debug_assert!(false, "extend across banks");
        return old;
    }
    let mut hasher = Hasher::new(old.algorithm());
    hasher.update(old.as_bytes());
    hasher.update(digest.as_bytes());
    hasher.finish()
}

/// Values of some PCRs in some banks: what a TPM, a log's replay or a prediction says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PcrValues(BTreeMap<HashAlgorithm, BTreeMap<PcrIndex, Digest>>);

impl PcrValues {
    /// The value of one PCR in one bank.
    #[must_use]
    pub fn get(&self, bank: HashAlgorithm, pcr: PcrIndex) -> Option<Digest> {
        self.0.get(&bank)?.get(&pcr).copied()
    }

    /// Sets the value of one PCR in the digest's bank.
    pub fn set(&mut self, pcr: PcrIndex, value: Digest) {
        self.0.entry(value.algorithm()).or_default().insert(pcr, value);
    }

    /// Extends one PCR in the digest's bank, from its start value if it has none yet.
    pub fn extend(&mut self, pcr: PcrIndex, digest: Digest) {
        let bank = digest.algorithm();
        let values = self.0.entry(bank).or_default();
        let old = values.get(&pcr).copied().unwrap_or_else(|| pcr.start_value(bank));
        values.insert(pcr, extend(old, digest));
    }

    /// The banks, in order, with their values by PCR.
    pub fn banks(&self) -> impl Iterator<Item = (HashAlgorithm, &BTreeMap<PcrIndex, Digest>)> {
        self.0.iter().map(|(bank, values)| (*bank, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Witness: the value that real machines without option ROMs show in PCR 2, one zero separator
    /// (swtpm, and Constellation's published tables).
    #[test]
    fn one_separator_gives_the_well_known_value() {
        let separator = Digest::of(HashAlgorithm::Sha256, &[0; 4]);
        let value = extend(Digest::zero(HashAlgorithm::Sha256), separator);
        assert_eq!(value.to_string(), "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969");
    }

    #[test]
    fn registers_of_a_dynamic_launch_start_with_ones() {
        assert!(PcrIndex::new(16).start_value(HashAlgorithm::Sha384).is_zero());
        assert_eq!(PcrIndex::new(17).start_value(HashAlgorithm::Sha1).as_bytes(), [0xFF; 20]);
        assert!(PcrIndex::new(23).start_value(HashAlgorithm::Sha512).is_zero());
    }
}
