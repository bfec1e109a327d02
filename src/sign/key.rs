//! Private keys from PEM.

use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use p256::ecdsa::signature::Signer as _;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use zeroize::Zeroizing;

use super::{PublicKey, SignError, SignatureAlgorithm};

/// Something that signs.
pub trait Signer {
    /// How it signs.
    fn algorithm(&self) -> SignatureAlgorithm;

    /// Its public half.
    ///
    /// # Errors
    /// When a device does not give it out.
    fn public_key(&self) -> Result<PublicKey, SignError>;

    /// Signs a message, hashing it as the algorithm says.
    ///
    /// # Errors
    /// [`SignError::Failed`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// Signs with RSASSA-PKCS1-v1_5 and SHA-256, which TPM policies are signed with.
    ///
    /// # Errors
    /// [`SignError::NotRsa`].
    fn sign_rsa_pkcs1_sha256(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A private key in memory. The libraries wipe it when it is dropped.
pub enum PrivateKey {
    /// ECDSA on P-256.
    P256(p256::ecdsa::SigningKey),
    /// ECDSA on P-384.
    P384(p384::ecdsa::SigningKey),
    /// Ed25519.
    Ed25519(Box<ed25519_dalek::SigningKey>),
    /// RSA, of at least 2048 bits.
    Rsa(Box<rsa::PrivateKey>),
}

impl PrivateKey {
    /// Reads a key. `passphrase` is asked only when the key is encrypted.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn from_pem(
        pem: &[u8],
        passphrase: &mut dyn FnMut() -> Result<Zeroizing<String>, SignError>,
    ) -> Result<Self, SignError> {
        let text = std::str::from_utf8(pem).map_err(|_| none("no text"))?;
        let start = text.find("-----BEGIN ").ok_or_else(|| none("no PEM"))?;
        let text = text.get(start..).unwrap_or_default();
        // openssl ecparam -genkey writes the curve's parameters first.
        let text = match text.strip_prefix("-----BEGIN EC PARAMETERS-----") {
            Some(rest) => rest.find("-----BEGIN ").and_then(|next| rest.get(next..)).unwrap_or_default(),
            None => text,
        };
        let label = text
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.split_once("-----"))
            .map(|(label, _)| label);
        match label {
            Some("PRIVATE KEY") => Self::from_pkcs8(document(text)?.as_bytes()),
            Some("ENCRYPTED PRIVATE KEY") => Self::from_encrypted(document(text)?.as_bytes(), passphrase),
            Some("EC PRIVATE KEY") => Self::from_sec1(text),
            Some("RSA PRIVATE KEY") if text.contains("Proc-Type:") => Err(none(
                "RSA PRIVATE KEY in OpenSSL's old encryption; openssl pkcs8 -topk8 -in KEY writes the present form",
            )),
            Some("RSA PRIVATE KEY") => {
                rsa::PrivateKey::from_pkcs1_pem(text).map_err(|error| broken(&error)).and_then(Self::rsa)
            }
            Some(label @ ("ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY")) => {
                Err(none(&format!(
                    "{label}: cosign's own encryption; sign with cosign, or use a key of openssl genpkey"
                )))
            }
            label => Err(none(label.unwrap_or("no PEM"))),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, SignError> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(|error| broken(&error))?;
        match info.algorithm.oid.to_string().as_str() {
            "1.2.840.10045.2.1" => {
                let curve = info.algorithm.parameters_oid().map_err(|error| broken(&error))?;
                match curve.to_string().as_str() {
                    "1.2.840.10045.3.1.7" => p256::ecdsa::SigningKey::from_pkcs8_der(der)
                        .map(Self::P256)
                        .map_err(|error| broken(&error)),
                    "1.3.132.0.34" => p384::ecdsa::SigningKey::from_pkcs8_der(der)
                        .map(Self::P384)
                        .map_err(|error| broken(&error)),
                    other => Err(broken(&format!("the curve {other} is not supported; P-256 and P-384 are"))),
                }
            }
            "1.3.101.112" => ed25519_dalek::SigningKey::from_pkcs8_der(der)
                .map(|key| Self::Ed25519(Box::new(key)))
                .map_err(|error| broken(&error)),
            "1.2.840.113549.1.1.1" => {
                rsa::PrivateKey::from_pkcs8_der(der).map_err(|error| broken(&error)).and_then(Self::rsa)
            }
            other => Err(broken(&format!("the algorithm {other} is not supported"))),
        }
    }

    fn from_encrypted(
        der: &[u8],
        passphrase: &mut dyn FnMut() -> Result<Zeroizing<String>, SignError>,
    ) -> Result<Self, SignError> {
        let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| broken(&error))?;
        let plain = info.decrypt(passphrase()?.as_bytes()).map_err(|_| SignError::Passphrase)?;
        Self::from_pkcs8(plain.as_bytes())
    }

    /// SEC 1: the curve stands inside, so that of the right length is tried.
    fn from_sec1(text: &str) -> Result<Self, SignError> {
        if let Ok(key) = p256::SecretKey::from_sec1_pem(text) {
            return Ok(Self::P256(key.into()));
        }
        match p384::SecretKey::from_sec1_pem(text) {
            Ok(key) => Ok(Self::P384(key.into())),
            Err(_) => Err(broken(&"an EC PRIVATE KEY that is neither on P-256 nor on P-384")),
        }
    }

    fn rsa(key: rsa::PrivateKey) -> Result<Self, SignError> {
        use rsa::traits::PublicKeyParts as _;
        if key.size() < super::public::MIN_RSA_BYTES {
            return Err(broken(&"RSA keys below 2048 bits are refused"));
        }
        Ok(Self::Rsa(Box::new(key)))
    }
}

impl Signer for PrivateKey {
    fn algorithm(&self) -> SignatureAlgorithm {
        match self {
            Self::P256(_) => SignatureAlgorithm::EcdsaP256Sha256,
            Self::P384(_) => SignatureAlgorithm::EcdsaP384Sha384,
            Self::Ed25519(_) => SignatureAlgorithm::Ed25519,
            Self::Rsa(_) => SignatureAlgorithm::RsaPssSha256,
        }
    }

    fn public_key(&self) -> Result<PublicKey, SignError> {
        Ok(match self {
            Self::P256(key) => PublicKey::P256(*key.verifying_key()),
            Self::P384(key) => PublicKey::P384(*key.verifying_key()),
            Self::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()),
            Self::Rsa(key) => PublicKey::Rsa(Box::new(key.to_public_key())),
        })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = |error: p256::ecdsa::Error| SignError::Failed(error.to_string());
        match self {
            // The nonces are deterministic (RFC 6979).
            Self::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.try_sign(message).map_err(failed)?;
                Ok(signature.as_bytes().to_vec())
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::DerSignature = key.try_sign(message).map_err(failed)?;
                Ok(signature.as_bytes().to_vec())
            }
            Self::Ed25519(key) => Ok(key.try_sign(message).map_err(failed)?.to_bytes().to_vec()),
            // Blinded with the system's random numbers.
            Self::Rsa(key) => {
                key.pss_sign::<sha2::Sha256>(message).map_err(|error| SignError::Failed(error.to_string()))
            }
        }
    }

    fn sign_rsa_pkcs1_sha256(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            // Blinded with the system's random numbers.
            Self::Rsa(key) => key
                .pkcs1v15_sign::<sha2::Sha256>(message)
                .map_err(|error| SignError::Failed(error.to_string())),
            _ => Err(SignError::NotRsa(self.algorithm().name())),
        }
    }
}

fn document(text: &str) -> Result<SecretDocument, SignError> {
    SecretDocument::from_pem(text).map(|(_, document)| document).map_err(|error| broken(&error))
}

fn none(found: &str) -> SignError {
    SignError::NoPrivateKey { found: found.to_owned() }
}

fn broken(error: &dyn std::fmt::Display) -> SignError {
    SignError::PrivateKey(error.to_string())
}
