//! The attestation key: from a TPM's public area, a public key or a certificate; and what it signed.

use der::SliceReader;
use der::asn1::ObjectIdentifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use ring::signature::{self as ring_signature, UnparsedPublicKey, VerificationAlgorithm};
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::pss::Pss;
use rsa::traits::PublicKeyParts as _;

use super::public_area::{KeyParameters, PublicArea};
use super::refusal::{Code, Refusal};
use super::signature::{QuoteSignature, SignatureScheme};
use crate::bytes::ParseError;
use crate::secure_boot::certificate::{Certificate, PublicKey};
use crate::secure_boot::key::{EC, P256, P384, RSA};
use crate::tcg::{AlgorithmId, Digest, HashAlgorithm};

/// Smallest RSA key, in bits.
pub(super) const MIN_RSA_BITS: usize = 2048;
/// Largest file that is read as a key, in bytes.
const MAX_KEY_FILE: usize = 64 << 10;

/// An attestation key.
#[derive(Debug, Clone)]
pub struct AttestationKey {
    parameters: KeyParameters,
    /// The RSA key, made ready for PSS.
    rsa: Option<Box<rsa::PublicKey>>,
    /// The public area, where the key came with one.
    pub(super) public_area: Option<PublicArea>,
    /// The certificate, in DER, where the key came with one.
    pub(super) certificate: Option<Vec<u8>>,
}

/// A file that is no attestation key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyReadError {
    /// Looks like a TPM's structure, but is not sound.
    #[error(
        "no attestation key: {0}; expected TPM2B_PUBLIC, TPMT_PUBLIC, PEM (PUBLIC KEY, CERTIFICATE) or a certificate in DER"
    )]
    PublicArea(#[from] ParseError),
    /// PEM or DER that can't be read.
    #[error("no attestation key: {0}")]
    Encoding(String),
    /// A key of another kind.
    #[error("the key is of type {0}, expected RSA of at least 2048 bits, or ECDSA on P-256 or P-384")]
    Unsupported(String),
}

impl AttestationKey {
    /// Reads a key from any of its forms.
    ///
    /// # Errors
    /// [`KeyReadError`].
    pub fn read(bytes: &[u8]) -> Result<Self, KeyReadError> {
        if bytes.len() > MAX_KEY_FILE {
            return Err(KeyReadError::Encoding(format!("the file has more than {MAX_KEY_FILE} bytes")));
        }
        let text = bytes.trim_ascii_start();
        if text.starts_with(b"-----") {
            return Self::read_pem(text);
        }
        if bytes.first() == Some(&0x30) {
            return Self::from_certificate(bytes).or_else(|_| Self::from_spki(bytes));
        }
        Self::from_public_area(PublicArea::read(bytes)?)
    }

    fn read_pem(text: &[u8]) -> Result<Self, KeyReadError> {
        let (label, der) = der::pem::decode_vec(text).or_else(|_| first_pem(text))?;
        match label {
            "CERTIFICATE" => Self::from_certificate(&der),
            "PUBLIC KEY" => Self::from_spki(&der),
            other => Err(KeyReadError::Encoding(format!(
                "PEM label '{other}', expected PUBLIC KEY or CERTIFICATE"
            ))),
        }
    }

    /// The key of a certificate in DER. Whether anybody trusts it is not looked at.
    ///
    /// # Errors
    /// [`KeyReadError`].
    pub fn from_certificate(der: &[u8]) -> Result<Self, KeyReadError> {
        let wrong = |error: der::Error| KeyReadError::Encoding(format!("certificate: {error}"));
        let certificate = Certificate::parse(der).map_err(wrong)?;
        let mut key = Self::from_public_key(certificate.key())?;
        key.certificate = Some(certificate.der.clone());
        Ok(key)
    }

    fn from_spki(der: &[u8]) -> Result<Self, KeyReadError> {
        let wrong = |error: der::Error| KeyReadError::Encoding(format!("SubjectPublicKeyInfo: {error}"));
        let key = SliceReader::new(der).and_then(|mut reader| PublicKey::read(&mut reader)).map_err(wrong)?;
        Self::from_public_key(&key)
    }

    /// The certificate, in DER, where the key came with one.
    #[must_use]
    pub fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// The key of a public area.
    ///
    /// # Errors
    /// [`KeyReadError::Unsupported`].
    pub fn from_public_area(area: PublicArea) -> Result<Self, KeyReadError> {
        let mut key = Self::from_parameters(area.parameters.clone())?;
        key.public_area = Some(area);
        Ok(key)
    }

    pub(super) fn from_public_key(key: &PublicKey) -> Result<Self, KeyReadError> {
        let bytes = key.bytes.clone();
        Self::from_parameters(match (key.algorithm, key.curve) {
            (RSA, _) => KeyParameters::Rsa(bytes),
            (EC, Some(P256)) => KeyParameters::P256(bytes),
            (EC, Some(P384)) => KeyParameters::P384(bytes),
            (algorithm, curve) => {
                let name: ObjectIdentifier = curve.unwrap_or(algorithm);
                return Err(KeyReadError::Unsupported(name.to_string()));
            }
        })
    }

    pub(super) fn from_parameters(parameters: KeyParameters) -> Result<Self, KeyReadError> {
        let off_curve = |_| KeyReadError::Encoding("the point is not on the curve".to_owned());
        let mut rsa = None;
        match &parameters {
            KeyParameters::Rsa(der) => {
                let key = rsa::PublicKey::from_pkcs1_der(der)
                    .map_err(|error| KeyReadError::Encoding(format!("RSAPublicKey: {error}")))?;
                if key.size().saturating_mul(8) < MIN_RSA_BITS {
                    return Err(KeyReadError::Unsupported(format!("RSA of {} bytes", key.size())));
                }
                rsa = Some(Box::new(key));
            }
            KeyParameters::P256(point) => {
                p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(off_curve)?;
            }
            KeyParameters::P384(point) => {
                p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(off_curve)?;
            }
        }
        Ok(Self { parameters, rsa, public_area: None, certificate: None })
    }

    /// An uncompressed point on P-256 or P-384, told by its length.
    pub(super) fn from_point(point: &[u8]) -> Option<Self> {
        let parameters = match (point.len(), point.first()) {
            (65, Some(4)) => KeyParameters::P256(point.to_vec()),
            (97, Some(4)) => KeyParameters::P384(point.to_vec()),
            _ => return None,
        };
        Self::from_parameters(parameters).ok()
    }

    /// Both are the same key, whatever they came with.
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.parameters == other.parameters
    }

    /// SHA-256 of the key: of the `RSAPublicKey` in DER, or of the uncompressed point.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let (KeyParameters::Rsa(bytes) | KeyParameters::P256(bytes) | KeyParameters::P384(bytes)) =
            &self.parameters;
        Digest::of(HashAlgorithm::Sha256, bytes)
    }

    /// What kind of key it is, for people.
    #[must_use]
    pub fn kind(&self) -> String {
        match &self.parameters {
            KeyParameters::Rsa(_) => {
                let bits = self.rsa.as_ref().map_or(0, |key| key.size().saturating_mul(8));
                format!("RSA {bits}")
            }
            KeyParameters::P256(_) => "ECDSA P-256".to_owned(),
            KeyParameters::P384(_) => "ECDSA P-384".to_owned(),
        }
    }

    /// Verifies a signature over `message`, a `TPMS_ATTEST` whose `pcrDigest` has `digest_size` bytes. Gives the hash that
    /// it was signed with.
    ///
    /// # Errors
    /// [`Code::SignatureAlgorithm`] and [`Code::SignatureInvalid`].
    pub(super) fn verify(
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

/// The first of several PEM blocks: a certificate's file may have its chain behind it.
fn first_pem(text: &[u8]) -> Result<(&str, Vec<u8>), KeyReadError> {
    let wrong = |why: String| KeyReadError::Encoding(format!("PEM: {why}"));
    let text = std::str::from_utf8(text).map_err(|error| wrong(error.to_string()))?;
    let end = text.find("-----END ").and_then(|at| {
        let line = text.get(at..)?.find('\n').unwrap_or(text.len().saturating_sub(at));
        at.checked_add(line)
    });
    let first = end.and_then(|end| text.get(..end)).ok_or_else(|| wrong("it has no end".to_owned()))?;
    der::pem::decode_vec(first.trim_end().as_bytes()).map_err(|error| wrong(error.to_string()))
}

/// All certificates of a file, in DER: PEM with any number of them, or one in DER.
///
/// # Errors
/// [`KeyReadError::Encoding`].
pub fn read_certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, KeyReadError> {
    let text = bytes.trim_ascii_start();
    if !text.starts_with(b"-----") {
        Certificate::parse(bytes).map_err(|error| KeyReadError::Encoding(format!("certificate: {error}")))?;
        return Ok(vec![bytes.to_vec()]);
    }
    let text = std::str::from_utf8(text).map_err(|error| KeyReadError::Encoding(error.to_string()))?;
    let mut certificates = Vec::new();
    for block in
        text.split_inclusive("-----END CERTIFICATE-----").filter(|block| block.contains("-----BEGIN"))
    {
        let start = block.find("-----BEGIN").and_then(|at| block.get(at..)).unwrap_or_default();
        match first_pem(start.as_bytes())? {
            ("CERTIFICATE", der) => certificates.push(der),
            (other, _) => {
                return Err(KeyReadError::Encoding(format!("PEM label '{other}', expected CERTIFICATE")));
            }
        }
    }
    Ok(certificates)
}

impl From<der::Error> for KeyReadError {
    fn from(error: der::Error) -> Self {
        Self::Encoding(error.to_string())
    }
}
