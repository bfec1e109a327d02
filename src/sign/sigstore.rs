//! cosign's detached signature, and the Sigstore bundle for a key instead of a certificate.
//!
//! Layouts as in cosign's `sign-blob` and `dev.sigstore.bundle.v1.Bundle` (media type version 0.3). There is no
//! transparency log: verifiers have to be told not to ask for one.

use serde::Deserialize;

use super::dsse;
use super::{PublicKey, SignError, SignatureAlgorithm, Signer};
use crate::export::{base64, from_base64, json_list, json_object};
use crate::tcg::{Digest, HashAlgorithm};

/// The bundle's media type.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// cosign's `.sig` file: the signature over the file's bytes in base64.
///
/// # Errors
/// The signer's.
pub fn sign_blob(message: &[u8], signer: &dyn Signer) -> Result<String, SignError> {
    Ok(base64(&signer.sign(message)?) + "\n")
}

/// Verifies a `.sig` file.
///
/// # Errors
/// [`SignError::Invalid`], [`SignError::Envelope`].
pub fn verify_blob(message: &[u8], signature: &[u8], key: &PublicKey) -> Result<(), SignError> {
    let text = std::str::from_utf8(signature).unwrap_or_default();
    let signature = from_base64(text.trim())
        .ok_or_else(|| SignError::Envelope { what: "signature", problem: "is not base64".to_owned() })?;
    key.verify(message, &signature)
}

/// What a bundle holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A signature over the file's bytes.
    Message,
    /// A DSSE envelope with the file as payload.
    Dsse,
}

/// Signs a file into a bundle.
///
/// # Errors
/// The signer's.
pub fn sign_bundle(message: &[u8], content: Content, signer: &dyn Signer) -> Result<String, SignError> {
    let hint = base64(signer.public_key()?.fingerprint()?.as_bytes());
    let material = json_object([
        ("publicKey", json_object([("hint", hint.into())])),
        ("tlogEntries", json_list::<&str>([])),
    ]);
    let content = match content {
        Content::Dsse => ("dsseEnvelope", dsse::envelope(message, signer)?),
        Content::Message => {
            let (name, algorithm) = message_digest(signer.algorithm());
            let digest = Digest::of(algorithm, message);
            let digest =
                json_object([("algorithm", name.into()), ("digest", base64(digest.as_bytes()).into())]);
            let signature = base64(&signer.sign(message)?);
            ("messageSignature", json_object([("messageDigest", digest), ("signature", signature.into())]))
        }
    };
    Ok(json_object([("mediaType", MEDIA_TYPE.into()), ("verificationMaterial", material), content]).pretty())
}

fn message_digest(algorithm: SignatureAlgorithm) -> (&'static str, HashAlgorithm) {
    match algorithm {
        SignatureAlgorithm::EcdsaP384Sha384 => ("SHA2_384", HashAlgorithm::Sha384),
        _ => ("SHA2_256", HashAlgorithm::Sha256),
    }
}

/// A bundle.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bundle {
    #[serde(rename = "mediaType")]
    media_type: String,
    #[serde(rename = "messageSignature")]
    message_signature: Option<MessageSignature>,
    #[serde(rename = "dsseEnvelope")]
    dsse_envelope: Option<dsse::Envelope>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct MessageSignature {
    signature: String,
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// [`SignError::Envelope`].
    pub fn parse(text: &[u8]) -> Result<Self, SignError> {
        let bundle: Self = serde_json::from_slice(text)
            .map_err(|error| SignError::Envelope { what: "Sigstore bundle", problem: error.to_string() })?;
        if !bundle.media_type.starts_with("application/vnd.dev.sigstore.bundle") {
            let problem = format!("is '{}', expected {MEDIA_TYPE}", bundle.media_type);
            return Err(SignError::Envelope { what: "Sigstore bundle: mediaType", problem });
        }
        Ok(bundle)
    }

    /// Verifies the key's signature over a file. Certificates and log entries are not looked at: the key is what is
    /// trusted.
    ///
    /// # Errors
    /// [`SignError::Invalid`], [`SignError::Envelope`].
    pub fn verify(&self, message: &[u8], key: &PublicKey) -> Result<(), SignError> {
        match (&self.message_signature, &self.dsse_envelope) {
            (Some(signature), None) => verify_blob(message, signature.signature.as_bytes(), key),
            (None, Some(envelope)) if envelope.verify(key)? == message => Ok(()),
            (None, Some(_)) => Err(SignError::Envelope {
                what: "DSSE payload",
                problem: "is another file than the one given".to_owned(),
            }),
            _ => Err(SignError::Envelope {
                what: "Sigstore bundle",
                problem: "has to have either messageSignature or dsseEnvelope".to_owned(),
            }),
        }
    }
}
