//! Checking a signature value with a public key: RSA PKCS#1 v1.5 and ECDSA, by *ring*.

use der::asn1::ObjectIdentifier;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use super::certificate::PublicKey;
use crate::tcg::HashAlgorithm;

pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(crate) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(crate) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(crate) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// A signature that can't be checked here, though a firmware may be able to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signature algorithm {signature} with a key of type {key} can't be checked")]
pub(crate) struct KeyError {
    /// Object identifier of the signature's algorithm.
    pub(crate) signature: ObjectIdentifier,
    /// Object identifier of the key's algorithm, or of its curve.
    pub(crate) key: ObjectIdentifier,
}

/// `value` is `key`'s signature of `message`. `digest` is the hash algorithm where `algorithm` does not name one
/// (`SignerInfo` of PKCS#7 says `rsaEncryption`).
///
/// # Errors
/// [`KeyError`] when we can't tell.
pub(super) fn verify(
    key: &PublicKey,
    algorithm: ObjectIdentifier,
    digest: Option<HashAlgorithm>,
    message: &[u8],
    value: &[u8],
) -> Result<bool, KeyError> {
    let unknown = KeyError { signature: algorithm, key: key.curve.unwrap_or(key.algorithm) };
    let hash = hash_of(algorithm).or(digest).ok_or_else(|| unknown.clone())?;
    let algorithm = match (key.algorithm, key.curve) {
        (RSA, _) => rsa(hash),
        (EC, Some(curve)) => ecdsa(curve, hash),
        _ => None,
    };
    let algorithm = algorithm.ok_or(unknown)?;
    Ok(UnparsedPublicKey::new(algorithm, &key.bytes).verify(message, value).is_ok())
}

/// The hash that a signature algorithm names: RFC 8017 (PKCS#1 v1.5), RFC 5758 (ECDSA).
fn hash_of(algorithm: ObjectIdentifier) -> Option<HashAlgorithm> {
    Some(match algorithm.to_string().as_str() {
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => HashAlgorithm::Sha1,
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => HashAlgorithm::Sha256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => HashAlgorithm::Sha384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => HashAlgorithm::Sha512,
        _ => return None,
    })
}

/// Keys from 1024 bits on, as firmware takes them; SHA-384 only from 2048 bits on, which is all that *ring* has.
fn rsa(hash: HashAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match hash {
        HashAlgorithm::Sha1 => Some(&signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
        HashAlgorithm::Sha256 => Some(&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
        HashAlgorithm::Sha384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        HashAlgorithm::Sha512 => Some(&signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
        HashAlgorithm::Sm3_256 => None,
    }
}

fn ecdsa(curve: ObjectIdentifier, hash: HashAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match (curve, hash) {
        (P256, HashAlgorithm::Sha256) => Some(&signature::ECDSA_P256_SHA256_ASN1),
        (P256, HashAlgorithm::Sha384) => Some(&signature::ECDSA_P256_SHA384_ASN1),
        (P384, HashAlgorithm::Sha256) => Some(&signature::ECDSA_P384_SHA256_ASN1),
        (P384, HashAlgorithm::Sha384) => Some(&signature::ECDSA_P384_SHA384_ASN1),
        _ => None,
    }
}
