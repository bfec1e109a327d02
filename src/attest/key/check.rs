//! Whether a signature is a key's.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use ring::signature::{self as ring_signature, UnparsedPublicKey, VerificationAlgorithm};
use rsa::pss::Pss;
use rsa::traits::PublicKeyParts as _;

use super::AttestationKey;
use crate::attest::public_area::KeyParameters;
use crate::attest::refusal::{Code, Refusal};
use crate::attest::signature::{QuoteSignature, SignatureScheme};
use crate::tcg::{AlgorithmId, Digest, HashAlgorithm};

impl AttestationKey {
    /// Verifies a signature over `message`, a `TPMS_ATTEST` whose `pcrDigest` has `digest_size` bytes. Gives the hash that
    /// it was signed with.
    ///
    /// # Errors
    /// [`Code::SignatureAlgorithm`] and [`Code::SignatureInvalid`].
    pub(in crate::attest) fn verify(
        &self,
        message: &[u8],
        signature: &QuoteSignature,
        digest_size: usize,
    ) -> Result<(SignatureScheme, HashAlgorithm), Refusal> {
        let hash = self.hash(signature, digest_size)?;
        for scheme in self.schemes(signature)? {
            if self.verify_as(scheme, hash, message, &signature.value) {
                return Ok((scheme, hash));
            }
        }
        let detail = format!("the signature is not by this key ({}) over this message", self.kind());
        Err(Refusal::new(Code::SignatureInvalid, detail))
    }

    /// The hash of the signature: as it says, else as the key is bound to, else the one that `pcrDigest` was made with,
    /// which is the same.
    fn hash(&self, signature: &QuoteSignature, digest_size: usize) -> Result<HashAlgorithm, Refusal> {
        let refuse = |detail: String| Refusal::new(Code::SignatureAlgorithm, detail);
        let bound = self.public_area.as_ref().and_then(|area| area.scheme).map(|scheme| scheme.hash);
        let by_size = match digest_size {
            32 => Some(AlgorithmId::SHA256),
            48 => Some(AlgorithmId::SHA384),
            64 => Some(AlgorithmId::SHA512),
            _ => None,
        };
        let Some(named) = signature.hash.or(bound).or(by_size) else {
            return Err(refuse(format!(
                "a bare signature, and a pcrDigest of {digest_size} bytes, which no accepted hash makes"
            )));
        };
        if let Some(bound) = bound.filter(|bound| *bound != named) {
            return Err(refuse(format!("signed with {named}, the key signs with {bound} only")));
        }
        match named.known() {
            Some(hash @ (HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)) => Ok(hash),
            _ => Err(refuse(format!("signed with {named}, expected SHA-256, SHA-384 or SHA-512"))),
        }
    }

    fn schemes(&self, signature: &QuoteSignature) -> Result<Vec<SignatureScheme>, Refusal> {
        use SignatureScheme::{Ecdsa, Rsapss, Rsassa};
        let possible = match self.parameters {
            KeyParameters::Rsa(_) => vec![Rsassa, Rsapss],
            KeyParameters::P256(_) | KeyParameters::P384(_) => vec![Ecdsa],
        };
        let bound = self.public_area.as_ref().and_then(|area| area.scheme).map(|scheme| scheme.scheme);
        let fits = |scheme: &SignatureScheme| {
            signature.scheme.is_none_or(|named| named == *scheme)
                && bound.is_none_or(|bound| bound == *scheme)
        };
        let schemes: Vec<SignatureScheme> = possible.into_iter().filter(fits).collect();
        if schemes.is_empty() {
            let named = signature.scheme.map_or("a bare signature", SignatureScheme::name);
            let key = bound.map_or_else(|| self.kind(), |bound| format!("bound to {}", bound.name()));
            return Err(Refusal::new(Code::SignatureAlgorithm, format!("{named}, but the key is {key}")));
        }
        Ok(schemes)
    }

    fn verify_as(&self, scheme: SignatureScheme, hash: HashAlgorithm, message: &[u8], value: &[u8]) -> bool {
        let by_ring = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, value).is_ok()
        };
        match (&self.parameters, scheme) {
            (KeyParameters::Rsa(key), SignatureScheme::Rsassa) => match hash {
                HashAlgorithm::Sha256 => by_ring(&ring_signature::RSA_PKCS1_2048_8192_SHA256, key),
                HashAlgorithm::Sha384 => by_ring(&ring_signature::RSA_PKCS1_2048_8192_SHA384, key),
                HashAlgorithm::Sha512 => by_ring(&ring_signature::RSA_PKCS1_2048_8192_SHA512, key),
                HashAlgorithm::Sha1 | HashAlgorithm::Sm3_256 => false,
            },
            (KeyParameters::Rsa(_), SignatureScheme::Rsapss) => self.verify_pss(hash, message, value),
            (KeyParameters::P256(key), SignatureScheme::Ecdsa) => match hash {
                HashAlgorithm::Sha256 => by_ring(&ring_signature::ECDSA_P256_SHA256_ASN1, key),
                HashAlgorithm::Sha384 => by_ring(&ring_signature::ECDSA_P256_SHA384_ASN1, key),
                _ => p256_prehashed(key, &Digest::of(hash, message), value),
            },
            (KeyParameters::P384(key), SignatureScheme::Ecdsa) => match hash {
                HashAlgorithm::Sha256 => by_ring(&ring_signature::ECDSA_P384_SHA256_ASN1, key),
                HashAlgorithm::Sha384 => by_ring(&ring_signature::ECDSA_P384_SHA384_ASN1, key),
                _ => p384_prehashed(key, &Digest::of(hash, message), value),
            },
            _ => false,
        }
    }

    /// TPMs differ in the length of the salt: as long as the digest (FIPS 186), or as long as fits (Library part 1,
    /// annex B.7).
    fn verify_pss(&self, hash: HashAlgorithm, message: &[u8], value: &[u8]) -> bool {
        let Some(key) = &self.rsa else { return false };
        let digest = Digest::of(hash, message);
        let longest = key.size().saturating_sub(hash.size()).saturating_sub(2);
        [hash.size(), longest].into_iter().any(|salt| {
            let checked = match hash {
                HashAlgorithm::Sha256 => {
                    key.verify(Pss::<sha2::Sha256>::new_with_salt(salt), digest.as_bytes(), value)
                }
                HashAlgorithm::Sha384 => {
                    key.verify(Pss::<sha2::Sha384>::new_with_salt(salt), digest.as_bytes(), value)
                }
                HashAlgorithm::Sha512 => {
                    key.verify(Pss::<sha2::Sha512>::new_with_salt(salt), digest.as_bytes(), value)
                }
                HashAlgorithm::Sha1 | HashAlgorithm::Sm3_256 => return false,
            };
            checked.is_ok()
        })
    }
}

/// What *ring* does not have: a hash longer than the curve.
fn p256_prehashed(key: &[u8], digest: &Digest, value: &[u8]) -> bool {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key);
    let signature = p256::ecdsa::Signature::from_der(value);
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify_prehash(digest.as_bytes(), &signature).is_ok())
}

fn p384_prehashed(key: &[u8], digest: &Digest, value: &[u8]) -> bool {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key);
    let signature = p384::ecdsa::Signature::from_der(value);
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify_prehash(digest.as_bytes(), &signature).is_ok())
}
