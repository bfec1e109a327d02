//! Public keys from PEM, and what they verify.

use ed25519_dalek::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use p256::ecdsa::signature::Verifier as _;
use rsa::pkcs1::EncodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;

use super::{SignError, SignatureAlgorithm};
use crate::tcg::{Digest, HashAlgorithm};

/// Smallest RSA modulus.
pub(super) const MIN_RSA_BYTES: usize = 256;

/// A public key.
#[derive(Debug, Clone)]
pub enum PublicKey {
    /// ECDSA on P-256.
    P256(p256::ecdsa::VerifyingKey),
    /// ECDSA on P-384.
    P384(p384::ecdsa::VerifyingKey),
    /// Ed25519.
    Ed25519(ed25519_dalek::VerifyingKey),
    /// RSA.
    Rsa(Box<rsa::PublicKey>),
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in PEM.
    ///
    /// # Errors
    /// [`SignError::PublicKey`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, SignError> {
        let text = std::str::from_utf8(pem).map_err(|_| SignError::PublicKey("no text".to_owned()))?;
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(text) {
            return Ok(Self::P256(key));
        }
        if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_pem(text) {
            return Ok(Self::P384(key));
        }
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(text) {
            return Ok(Self::Ed25519(key));
        }
        let key = rsa::PublicKey::from_public_key_pem(text)
            .map_err(|error| SignError::PublicKey(error.to_string()))?;
        Self::rsa(key)
    }

    /// An RSA key from its modulus and public exponent, big-endian.
    ///
    /// # Errors
    /// [`SignError::PublicKey`].
    #[cfg(feature = "pkcs11")]
    pub(super) fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, SignError> {
        let number = rsa::BoxedUint::from_be_slice_vartime;
        let key = rsa::PublicKey::new(number(modulus), number(exponent))
            .map_err(|error| SignError::PublicKey(error.to_string()))?;
        Self::rsa(key)
    }

    fn rsa(key: rsa::PublicKey) -> Result<Self, SignError> {
        if key.size() < MIN_RSA_BYTES {
            return Err(SignError::PublicKey("RSA keys below 2048 bits are refused".to_owned()));
        }
        Ok(Self::Rsa(Box::new(key)))
    }

    /// How its signatures are made.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        match self {
            Self::P256(_) => SignatureAlgorithm::EcdsaP256Sha256,
            Self::P384(_) => SignatureAlgorithm::EcdsaP384Sha384,
            Self::Ed25519(_) => SignatureAlgorithm::Ed25519,
            Self::Rsa(_) => SignatureAlgorithm::RsaPssSha256,
        }
    }

    /// SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`SignError::PublicKey`].
    pub fn to_der(&self) -> Result<Vec<u8>, SignError> {
        let document = match self {
            Self::P256(key) => key.to_public_key_der(),
            Self::P384(key) => key.to_public_key_der(),
            Self::Ed25519(key) => key.to_public_key_der(),
            Self::Rsa(key) => key.to_public_key_der(),
        };
        document
            .map(|document| document.as_bytes().to_vec())
            .map_err(|error| SignError::PublicKey(error.to_string()))
    }

    /// SHA-256 of [`Self::to_der`].
    ///
    /// # Errors
    /// [`SignError::PublicKey`].
    pub fn fingerprint(&self) -> Result<Digest, SignError> {
        Ok(Digest::of(HashAlgorithm::Sha256, &self.to_der()?))
    }

    /// SHA-256 of the RSAPublicKey (PKCS #1), in hexadecimal: systemd's `pubkey_fingerprint` over OpenSSL's
    /// `i2d_PublicKey`.
    ///
    /// # Errors
    /// [`SignError::NotRsa`].
    pub fn rsa_fingerprint(&self) -> Result<String, SignError> {
        let Self::Rsa(key) = self else { return Err(SignError::NotRsa(self.algorithm().name())) };
        let der = key.to_pkcs1_der().map_err(|error| SignError::PublicKey(error.to_string()))?;
        Ok(Digest::of(HashAlgorithm::Sha256, der.as_bytes()).to_string())
    }

    /// Verifies a signature of [`super::Signer::sign`].
    ///
    /// # Errors
    /// [`SignError::Invalid`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignError> {
        let invalid = |_| SignError::Invalid;
        match self {
            Self::P256(key) => {
                let signature = p256::ecdsa::DerSignature::from_bytes(signature).map_err(invalid)?;
                key.verify(message, &signature).map_err(invalid)
            }
            Self::P384(key) => {
                let signature = p384::ecdsa::DerSignature::from_bytes(signature).map_err(invalid)?;
                key.verify(message, &signature).map_err(invalid)
            }
            // Without the malleable encodings that plain verification lets through.
            Self::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_slice(signature).map_err(invalid)?;
                key.verify_strict(message, &signature).map_err(invalid)
            }
            Self::Rsa(key) => {
                key.pss_verify::<sha2::Sha256>(message, signature).map_err(|_| SignError::Invalid)
            }
        }
    }

    /// Verifies a signature of [`super::Signer::sign_rsa_pkcs1_sha256`].
    ///
    /// # Errors
    /// [`SignError::Invalid`], [`SignError::NotRsa`].
    pub fn verify_rsa_pkcs1_sha256(&self, message: &[u8], signature: &[u8]) -> Result<(), SignError> {
        match self {
            Self::Rsa(key) => {
                key.pkcs1v15_verify::<sha2::Sha256>(message, signature).map_err(|_| SignError::Invalid)
            }
            _ => Err(SignError::NotRsa(self.algorithm().name())),
        }
    }
}
