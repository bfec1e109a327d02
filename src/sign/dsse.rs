//! Dead Simple Signing Envelope (secure-systems-lab/dsse, version 1).

use serde::Deserialize;

use super::{PublicKey, SignError, Signer};
use crate::export::{Json, base64, from_base64, json_list, json_object};
use crate::reference::KIND;

/// Payload type of an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Payload type of a reference document.
pub const REFERENCE: &str = "application/vnd.premeasure.reference.v1+json";

/// An envelope.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Envelope {
    /// Standard or URL-safe base64.
    payload: String,
    /// What the payload is.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Signature {
    sig: String,
}

/// Payload types of what was exported from a document: JSON, or anything else.
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// The type of a payload. Documents and in-toto statements say themselves what they are; a policy must not pass for either.
#[must_use]
pub fn payload_type(payload: &[u8]) -> &'static str {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "_type", default)]
        statement: String,
        #[serde(default)]
        kind: String,
    }
    match serde_json::from_slice::<Head>(payload) {
        Ok(head) if head.statement.starts_with("https://in-toto.io/Statement/") => IN_TOTO,
        Ok(head) if head.kind == KIND => REFERENCE,
        _ if serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok() => JSON,
        _ => BYTES,
    }
}

/// Pre-authentication encoding: what is signed.
fn encode(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

/// Signs a payload.
///
/// # Errors
/// The signer's.
pub fn sign(payload: &[u8], signer: &dyn Signer) -> Result<String, SignError> {
    Ok(envelope(payload, signer)?.pretty())
}

pub(super) fn envelope(payload: &[u8], signer: &dyn Signer) -> Result<Json, SignError> {
    let payload_type = payload_type(payload);
    let signature = signer.sign(&encode(payload_type, payload))?;
    let key = signer.public_key()?.fingerprint()?;
    Ok(json_object([
        ("payload", base64(payload).into()),
        ("payloadType", payload_type.into()),
        (
            "signatures",
            json_list([json_object([("keyid", key.to_string().into()), ("sig", base64(&signature).into())])]),
        ),
    ]))
}

impl Envelope {
    /// Reads an envelope.
    ///
    /// # Errors
    /// [`SignError::Envelope`].
    pub fn parse(text: &[u8]) -> Result<Self, SignError> {
        serde_json::from_slice(text)
            .map_err(|error| SignError::Envelope { what: "DSSE envelope", problem: error.to_string() })
    }

    /// The payload, once one of the signatures is the key's. Key ids are hints that nobody may rely on, so each
    /// signature is tried.
    ///
    /// # Errors
    /// [`SignError::Invalid`], [`SignError::Envelope`].
    pub fn verify(&self, key: &PublicKey) -> Result<Vec<u8>, SignError> {
        let bad = |what: &'static str| SignError::Envelope { what, problem: "is not base64".to_owned() };
        let payload = from_base64(&self.payload).ok_or_else(|| bad("DSSE payload"))?;
        let message = encode(&self.payload_type, &payload);
        for signature in &self.signatures {
            let signature = from_base64(&signature.sig).ok_or_else(|| bad("DSSE signatures[].sig"))?;
            if key.verify(&message, &signature).is_ok() {
                return Ok(payload);
            }
        }
        Err(SignError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Witness: the example of the DSSE protocol document, section "Pre-Authentication Encoding".
    #[test]
    fn the_encoding_is_that_of_the_specification() {
        assert_eq!(
            encode("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
