//! The attestation key: from a TPM's public area, a public key or a certificate; and what it signed.

mod check;

use der::SliceReader;
use der::asn1::ObjectIdentifier;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;

use super::public_area::{KeyParameters, PublicArea};
use crate::bytes::ParseError;
use crate::secure_boot::certificate::{Certificate, PublicKey};
use crate::secure_boot::key::{EC, P256, P384, RSA};
use crate::tcg::{Digest, HashAlgorithm};

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
