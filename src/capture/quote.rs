//! The quote in a capture: what the TPM signed, whose signature it is, and the values under it.

use serde::{Deserialize, Serialize};

use super::{ParseCaptureError, Texts, texts_of, values_of};
use crate::attest::{AttestationKey, KeyReadError, Quote, QuoteEvidence, Refusal, check_quote};
use crate::export::{base64, from_base64};
use crate::tcg::{PcrIndex, PcrValues};

/// A quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedQuote {
    /// `TPMS_ATTEST`, base64.
    pub message: String,
    /// `TPMT_SIGNATURE`, or a bare signature, base64.
    pub signature: String,
    /// The attestation key as it was given: `TPM2B_PUBLIC`, `TPMT_PUBLIC`, PEM or certificate; base64.
    pub key: String,
    /// The values under the quote, by bank and PCR, hexadecimal.
    pub pcrs: Texts,
}

/// The parts, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteParts {
    /// `TPMS_ATTEST`.
    pub message: Vec<u8>,
    /// `TPMT_SIGNATURE`, or a bare signature.
    pub signature: Vec<u8>,
    /// The key, in any form that [`AttestationKey::read`] takes.
    pub key: Vec<u8>,
    /// The values under the quote.
    pub values: PcrValues,
}

/// Files that make no quote.
#[derive(Debug, thiserror::Error)]
pub enum CapturedQuoteError {
    /// The key.
    #[error("{0}")]
    Key(#[from] KeyReadError),
    /// The parts do not belong together.
    #[error("{}: {}", .0.code.name(), .0.detail)]
    Apart(Refusal),
}

impl CapturedQuote {
    /// Takes the parts of a quote together; values that it does not cover are left out. Parts that do not belong together
    /// would be refused by every verifier, and are here.
    ///
    /// # Errors
    /// [`CapturedQuoteError`].
    pub fn of(parts: &QuoteParts) -> Result<Self, CapturedQuoteError> {
        let key = AttestationKey::read(&parts.key)?;
        let evidence = QuoteEvidence {
            message: parts.message.as_slice().into(),
            signature: parts.signature.as_slice().into(),
            values: Some(parts.values.clone()),
        };
        let covered = check_quote(&evidence, &key).map_err(CapturedQuoteError::Apart)?;
        Ok(Self {
            message: base64(&parts.message),
            signature: base64(&parts.signature),
            key: base64(&parts.key),
            pcrs: texts_of(&covered),
        })
    }

    pub(super) fn parts(&self) -> Result<QuoteParts, ParseCaptureError> {
        let decoded =
            |text: &str, name: &'static str| from_base64(text).ok_or(ParseCaptureError::Quote(name));
        Ok(QuoteParts {
            message: decoded(&self.message, "message")?,
            signature: decoded(&self.signature, "signature")?,
            key: decoded(&self.key, "key")?,
            values: values_of(&self.pcrs)?,
        })
    }

    /// What it tells about the machine.
    pub(super) fn contents(&self) -> Vec<String> {
        let Ok(parts) = self.parts() else { return Vec::new() };
        let Ok(quote) = Quote::read(&parts.message) else { return Vec::new() };
        let selection: Vec<String> = quote
            .selection
            .iter()
            .map(|bank| {
                let pcrs: Vec<String> =
                    bank.pcrs.iter().copied().map(PcrIndex::get).map(|pcr| pcr.to_string()).collect();
                format!("{}:{}", bank.bank, pcrs.join(","))
            })
            .collect();
        let covers = format!(
            "a quote of {}, over the nonce {}, with its signature and the values under it",
            selection.join("+"),
            hex::encode(quote.extra_data)
        );
        let key = AttestationKey::read(&parts.key).ok();
        let name = key
            .as_ref()
            .map_or_else(String::new, |key| format!(" {} sha256:{}", key.kind(), key.fingerprint()));
        let certificate = match key.and_then(|key| key.certificate().map(<[u8]>::len)) {
            Some(_) => ", its certificate with the names in it",
            None => "",
        };
        let identifies = format!(
            "the quote tells which TPM this is, and can't be masked: attestation key{name}{certificate}, its qualified name, clock \
             ({} ms), resets ({}), restarts ({}), firmware version {:016x}",
            quote.clock.clock, quote.clock.reset_count, quote.clock.restart_count, quote.firmware_version
        );
        vec![covers, identifies]
    }
}
