//! Digests that know their algorithm, and the hashing into several banks at once.

use std::collections::BTreeMap;
use std::fmt;

use sha2::Digest as _;

use super::HashAlgorithm;

/// One digest; knows which algorithm made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: HashAlgorithm,
    /// The first `algorithm.size()` bytes count, the rest is zero.
    bytes: [u8; HashAlgorithm::MAX_SIZE],
}

impl Digest {
    /// A digest of all zeros: the start value of PCRs 0 to 15.
    #[must_use]
    pub fn zero(algorithm: HashAlgorithm) -> Self {
        Self { algorithm, bytes: [0; HashAlgorithm::MAX_SIZE] }
    }

    /// Takes over a digest that was computed elsewhere; `None` when its length is not the algorithm's.
    #[must_use]
    pub fn from_bytes(algorithm: HashAlgorithm, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != algorithm.size() {
            return None;
        }
        let mut digest = Self::zero(algorithm);
        digest.as_mut_bytes().copy_from_slice(bytes);
        Some(digest)
    }

    /// Hashes `data`.
    #[must_use]
    pub fn of(algorithm: HashAlgorithm, data: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    /// The algorithm that made it.
    #[must_use]
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// Its bytes, as many as the algorithm has.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.split_at(self.algorithm.size()).0
    }

    /// Every byte is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }

    fn as_mut_bytes(&mut self) -> &mut [u8] {
        self.bytes.split_at_mut(self.algorithm.size()).0
    }
}

impl fmt::Display for Digest {
    /// Lower-case hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm)
    }
}

/// The digests of one measured thing, one per bank (`TPML_DIGEST_VALUES`).
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct DigestSet(BTreeMap<HashAlgorithm, Digest>);

impl DigestSet {
    /// Hashes `data` into each of `banks`.
    #[must_use]
    pub fn of(data: &[u8], banks: &[HashAlgorithm]) -> Self {
        banks.iter().map(|bank| Digest::of(*bank, data)).collect()
    }

    /// The digest of one bank.
    #[must_use]
    pub fn get(&self, bank: HashAlgorithm) -> Option<Digest> {
        self.0.get(&bank).copied()
    }

    /// All digests, in bank order.
    pub fn iter(&self) -> impl Iterator<Item = Digest> + '_ {
        self.0.values().copied()
    }

    /// No bank at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Digest> for DigestSet {
    fn from_iter<I: IntoIterator<Item = Digest>>(digests: I) -> Self {
        Self(digests.into_iter().map(|digest| (digest.algorithm, digest)).collect())
    }
}

/// A running hash. Cloning it forks the computation, which is how one hashed prefix serves two digests.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
    Sm3(sm3::Sm3),
}

impl Hasher {
    /// A hash of nothing yet.
    #[must_use]
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self(match algorithm {
            HashAlgorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            HashAlgorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            HashAlgorithm::Sha384 => State::Sha384(sha2::Sha384::new()),
            HashAlgorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
            HashAlgorithm::Sm3_256 => State::Sm3(sm3::Sm3::new()),
        })
    }

    /// Absorbs `data`.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            State::Sha1(state) => state.update(data),
            State::Sha256(state) => state.update(data),
            State::Sha384(state) => state.update(data),
            State::Sha512(state) => state.update(data),
            State::Sm3(state) => state.update(data),
        }
    }

    /// The digest of all that was absorbed.
    #[must_use]
    pub fn finish(self) -> Digest {
        fn digest(algorithm: HashAlgorithm, bytes: &[u8]) -> Digest {
            let mut digest = Digest::zero(algorithm);
            digest.as_mut_bytes().copy_from_slice(bytes);
            digest
        }
        match self.0 {
            State::Sha1(state) => digest(HashAlgorithm::Sha1, &state.finalize()),
            State::Sha256(state) => digest(HashAlgorithm::Sha256, &state.finalize()),
            State::Sha384(state) => digest(HashAlgorithm::Sha384, &state.finalize()),
            State::Sha512(state) => digest(HashAlgorithm::Sha512, &state.finalize()),
            State::Sm3(state) => digest(HashAlgorithm::Sm3_256, &state.finalize()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Sha1(_) => "Hasher(sha1)",
            State::Sha256(_) => "Hasher(sha256)",
            State::Sha384(_) => "Hasher(sha384)",
            State::Sha512(_) => "Hasher(sha512)",
            State::Sm3(_) => "Hasher(sm3_256)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Witness: `printf os-separator | openssl dgst`, OpenSSL 3.0.17.
    #[test]
    fn every_algorithm_agrees_with_openssl() {
        let cases = [
            (HashAlgorithm::Sha1, "0d3751a5a6707fb8918dfbe6b0d9853ca6c313c4"),
            (HashAlgorithm::Sha256, "ff5b9d73dad709633ae76adf444012b57e913a12ed7403c3931145862f35f841"),
            (
                HashAlgorithm::Sha384,
                "5f2a9be7b55475435f46c343bb8c224db427d4fc7cdca42ac02e50d61c67a8bf\
                 0b707f7e1527a5f65175efdf8b56ba24",
            ),
            (
                HashAlgorithm::Sha512,
                "c2c4de82bbe2dd787a6bdca1014b9557313f258e18aaee2c9c3e2f9c79e526d6\
                 6283db9aef5d7aeed3ffecd628ecc045716583eecd23ca73eee63f299a8dc2cc",
            ),
            (HashAlgorithm::Sm3_256, "7f09a8f8dd2e740c4cf7044bb345d034ab10f5bb790d202b39f94e7abf5b1b44"),
        ];
        for (algorithm, expected) in cases {
            assert_eq!(Digest::of(algorithm, b"os-separator").to_string(), expected);
        }
    }

    #[test]
    fn a_digest_of_the_wrong_length_is_refused() {
        for length in [0, 19, 21, 32, 64, 65] {
            assert_eq!(Digest::from_bytes(HashAlgorithm::Sha1, &vec![1; length]), None, "{length}");
        }
        assert!(Digest::from_bytes(HashAlgorithm::Sha1, &[1; 20]).is_some());
    }
}
