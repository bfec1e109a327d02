//! Checking a signature value with a public key: RSA and ECDSA, by *ring*, and by RustCrypto's curves where *ring* has no
//! such combination of curve and hash.

use der::asn1::ObjectIdentifier;
use der::{Decode, Reader as _, SliceReader, Tag, TagNumber, asn1::AnyRef};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_cert::spki::AlgorithmIdentifierRef;

use super::certificate::PublicKey;
use crate::tcg::{Digest, HashAlgorithm};

pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(crate) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(crate) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(crate) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

pub(crate) const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");

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
    by_hash(key, algorithm, hash_of(algorithm).or(digest), message, value)
}

/// `value` is `key`'s signature in a PKCS#7 message. OpenSSL's `PKCS7_signatureVerify` (1.0.2 to 3.x, `crypto/pkcs7/pk7_doit.c`), which
/// EDK2's `Pkcs7Verify` and shim get to by `PKCS7_verify`, takes the hash from `si->digest_alg` and hands it to
/// `EVP_VerifyFinal`; it does not look at `digest_enc_alg`. Whatever the message calls its signature, an RSA key checks it by
/// PKCS#1 v1.5, so that one made with RSASSA-PSS does not hold.
///
/// # Errors
/// [`KeyError`] when we can't tell.
pub(super) fn verify_signer(
    key: &PublicKey,
    algorithm: ObjectIdentifier,
    digest: Option<HashAlgorithm>,
    message: &[u8],
    value: &[u8],
) -> Result<bool, KeyError> {
    by_hash(key, algorithm, digest, message, value)
}

/// `algorithm` is named where the signature can't be checked.
fn by_hash(
    key: &PublicKey,
    algorithm: ObjectIdentifier,
    hash: Option<HashAlgorithm>,
    message: &[u8],
    value: &[u8],
) -> Result<bool, KeyError> {
    let holds = hash.and_then(|hash| with_hash(key, hash, message, value));
    holds.ok_or(KeyError { signature: algorithm, key: key.curve.unwrap_or(key.algorithm) })
}

/// `value` is `key`'s signature of a certificate; `parameters` are those of the algorithm, encoded.
///
/// # Errors
/// [`KeyError`] when we can't tell.
pub(super) fn verify_certificate(
    key: &PublicKey,
    (algorithm, parameters): (ObjectIdentifier, Option<&[u8]>),
    message: &[u8],
    value: &[u8],
) -> Result<bool, KeyError> {
    if algorithm != RSA_PSS {
        return verify(key, algorithm, None, message, value);
    }
    let hash = parameters.and_then(|parameters| pss_hash(parameters).ok().flatten());
    match (key.algorithm, hash.and_then(rsa_pss)) {
        (RSA, Some(scheme)) => Ok(UnparsedPublicKey::new(scheme, &key.bytes).verify(message, value).is_ok()),
        _ => Err(KeyError { signature: algorithm, key: key.algorithm }),
    }
}

/// `None` when there is no way to check it here.
fn with_hash(key: &PublicKey, hash: HashAlgorithm, message: &[u8], value: &[u8]) -> Option<bool> {
    let scheme = match (key.algorithm, key.curve) {
        (RSA, _) => rsa(hash),
        (EC, Some(curve)) => ecdsa(curve, hash),
        _ => None,
    };
    match (scheme, key.algorithm, key.curve) {
        (Some(scheme), ..) => Some(UnparsedPublicKey::new(scheme, &key.bytes).verify(message, value).is_ok()),
        (None, EC, Some(curve)) => on_curve(curve, &key.bytes, Digest::of(hash, message), value),
        _ => None,
    }
}

/// ECDSA with any hash. A hash that is shorter than the curve's order is a smaller number.
fn on_curve(curve: ObjectIdentifier, point: &[u8], digest: Digest, value: &[u8]) -> Option<bool> {
    macro_rules! holds {
        ($curve:ident, $size:literal) => {{
            let zeros = vec![0; usize::saturating_sub($size, digest.as_bytes().len())];
            let number = [&zeros, digest.as_bytes()].concat();
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(point);
            let value = $curve::ecdsa::Signature::from_der(value);
            key.is_ok_and(|key| value.is_ok_and(|value| key.verify_prehash(&number, &value).is_ok()))
        }};
    }
    match curve {
        P256 => Some(holds!(p256, 32)),
        P384 => Some(holds!(p384, 48)),
        P521 => Some(holds!(p521, 66)),
        _ => None,
    }
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

fn rsa_pss(hash: HashAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match hash {
        HashAlgorithm::Sha256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        HashAlgorithm::Sha384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        HashAlgorithm::Sha512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        HashAlgorithm::Sha1 | HashAlgorithm::Sm3_256 => None,
    }
}

/// `RSASSA-PSS-params` (RFC 8017, appendix A.2.3) as *ring* checks them: one hash for both, a salt of its length; `None` for all
/// others.
fn pss_hash(parameters: &[u8]) -> der::Result<Option<HashAlgorithm>> {
    let mut fields = SliceReader::new(AnyRef::from_der(parameters)?.value())?;
    let (mut hash, mut mask, mut salt) = (None, None, 20_u8);
    while !fields.is_finished() {
        let field: AnyRef<'_> = AnyRef::decode(&mut fields)?;
        let number = |number| Tag::ContextSpecific { constructed: true, number };
        match der::Tagged::tag(&field) {
            tag if tag == number(TagNumber::N0) => {
                hash = digest_of(AlgorithmIdentifierRef::from_der(field.value())?.oid);
            }
            tag if tag == number(TagNumber::N1) => {
                let function = AlgorithmIdentifierRef::from_der(field.value())?;
                let inner: Option<AlgorithmIdentifierRef<'_>> =
                    function.parameters.and_then(|parameters| parameters.decode_as().ok());
                mask = inner.filter(|_| function.oid == MGF1).and_then(|inner| digest_of(inner.oid));
            }
            tag if tag == number(TagNumber::N2) => salt = u8::from_der(field.value())?,
            _ => return Ok(None),
        }
    }
    Ok(hash.filter(|hash| mask == Some(*hash) && usize::from(salt) == hash.size()))
}

/// The SHA-2 algorithms of NIST's arc.
fn digest_of(algorithm: ObjectIdentifier) -> Option<HashAlgorithm> {
    match algorithm.to_string().as_str() {
        "2.16.840.1.101.3.4.2.1" => Some(HashAlgorithm::Sha256),
        "2.16.840.1.101.3.4.2.2" => Some(HashAlgorithm::Sha384),
        "2.16.840.1.101.3.4.2.3" => Some(HashAlgorithm::Sha512),
        _ => None,
    }
}
