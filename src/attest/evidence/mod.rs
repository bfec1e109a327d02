//! Evidence of every kind, taken apart. All of it is hostile, and none of it is a trust anchor.

use std::borrow::Cow;

use crate::tcg::PcrValues;

/// What a machine sent.
#[derive(Debug, Clone, Default)]
pub struct Evidence<'a> {
    /// The kind, by a stable word.
    pub kind: &'static str,
    /// Quotes: of one key, over one nonce.
    pub quotes: Vec<QuoteEvidence<'a>>,
    /// Logs of the boot.
    pub logs: Vec<Cow<'a, [u8]>>,
    /// The public area that the quote's key is said to have.
    pub public_area: Option<Vec<u8>>,
    /// The certificate of the quote's key, in DER.
    pub certificate: Option<Vec<u8>>,
    /// Certificates that may stand between that and a trusted one, in DER.
    pub intermediates: Vec<Vec<u8>>,
    /// What was found about the evidence while it was read, for people.
    pub notes: Vec<String>,
}

/// A quote with its signature and the values that it is said to cover.
#[derive(Debug, Clone, Default)]
pub struct QuoteEvidence<'a> {
    /// `TPMS_ATTEST`: the signed bytes.
    pub message: Cow<'a, [u8]>,
    /// `TPMT_SIGNATURE`, or a bare signature.
    pub signature: Cow<'a, [u8]>,
    /// PCR values; without them the log has to account for every quoted PCR.
    pub values: Option<PcrValues>,
}

impl<'a> Evidence<'a> {
    /// The files that `tpm2_quote` writes.
    #[must_use]
    pub fn of_quote(quote: QuoteEvidence<'a>, logs: Vec<Cow<'a, [u8]>>) -> Self {
        Self { kind: "tpm2-quote", quotes: vec![quote], logs, ..Self::default() }
    }
}
