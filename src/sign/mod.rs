//! Signatures over documents and policies: offline, with a key at hand, and outside what they sign.
//!
//! Algorithms are those of the Sigstore algorithm registry for key-based signing: ECDSA P-256 with SHA-256, ECDSA P-384
//! with SHA-384, Ed25519, RSASSA-PSS with SHA-256. Envelopes: [`dsse`], cosign's detached signature and Sigstore bundle
//! ([`sigstore`]).

pub mod dsse;
mod key;
#[cfg(feature = "pkcs11")]
mod pkcs11;
#[cfg(feature = "pkcs11")]
mod pkcs11_uri;
mod public;
pub mod sigstore;

pub use key::{PrivateKey, Signer};
#[cfg(feature = "pkcs11")]
pub use pkcs11::TokenKey;
#[cfg(feature = "pkcs11")]
pub use pkcs11_uri::KeyUri;
pub use public::PublicKey;

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 over SHA-256, DER.
    EcdsaP256Sha256,
    /// ECDSA on P-384 over SHA-384, DER.
    EcdsaP384Sha384,
    /// Ed25519 over the message itself.
    Ed25519,
    /// RSASSA-PSS with SHA-256, a salt of 32 bytes.
    RsaPssSha256,
}

impl SignatureAlgorithm {
    /// The name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ECDSA P-256 with SHA-256",
            Self::EcdsaP384Sha384 => "ECDSA P-384 with SHA-384",
            Self::Ed25519 => "Ed25519",
            Self::RsaPssSha256 => "RSASSA-PSS with SHA-256",
        }
    }
}

/// A key that can't be used, or a signature that is not there or not good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// No private key in a form that is read.
    #[error(
        "no private key: expected PEM with PRIVATE KEY, ENCRYPTED PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY, found {found}"
    )]
    NoPrivateKey {
        /// The PEM label, or what else was there.
        found: String,
    },
    /// A private key of an algorithm that is not supported, or damaged.
    #[error("the private key can't be read: {0}")]
    PrivateKey(String),
    /// The passphrase is wrong.
    #[error("the private key can't be decrypted: wrong passphrase?")]
    Passphrase,
    /// The passphrase can't be had.
    #[error("the private key is encrypted: {0}")]
    NoPassphrase(String),
    /// No public key.
    #[error(
        "the public key can't be read: {0}; expected PEM with PUBLIC KEY, ECDSA on P-256 or P-384, Ed25519 or RSA of at least 2048 bits"
    )]
    PublicKey(String),
    /// The operation needs RSA.
    #[error("this needs an RSA key, the key is for {0}")]
    NotRsa(&'static str),
    /// A PKCS #11 module or token, or the URI that names a key on it.
    #[error("PKCS #11: {0}")]
    Token(String),
    /// The library refused.
    #[error("signing failed: {0}")]
    Failed(String),
    /// The signature does not fit.
    #[error("the signature is not valid for this key and content")]
    Invalid,
    /// An envelope that can't be read.
    #[error("{what}: {problem}")]
    Envelope {
        /// Which envelope or member.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
}
