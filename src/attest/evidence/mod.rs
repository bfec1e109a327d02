//! Evidence of every kind, taken apart. All of it is hostile, and none of it is a trust anchor.

mod capture;
mod go_tpm_tools;
mod hcl;
mod json;
pub(super) mod nitro;
mod protobuf;

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::key::AttestationKey;
use super::refusal::{Code, Refusal};
use crate::capture::is_capture;
use crate::tcg::PcrValues;

/// Largest evidence, in bytes, unless it is a capture, which has a limit of its own: IMA's log is in it.
const MAX_EVIDENCE: usize = 16 << 20;

/// What a machine sent.
#[derive(Debug, Clone, Default)]
pub struct Evidence<'a> {
    /// The kind, by a stable word.
    pub kind: &'static str,
    /// Quotes: of one key, over one nonce.
    pub quotes: Vec<QuoteEvidence<'a>>,
    /// Logs of the boot.
    pub logs: Vec<Cow<'a, [u8]>>,
    /// Events, by log and number, whose data was masked when the log was captured: their data is not compared with their
    /// digests, which count all the same.
    pub masked_events: BTreeSet<(usize, u64)>,
    /// The public area that the quote's key is said to have.
    pub public_area: Option<Vec<u8>>,
    /// The key that is said to have signed.
    pub claimed_key: Option<Box<AttestationKey>>,
    /// The certificate of the quote's key, in DER.
    pub certificate: Option<Vec<u8>>,
    /// Certificates that may stand between that and a trusted one, in DER.
    pub intermediates: Vec<Vec<u8>>,
    /// An attestation document of AWS NitroTPM.
    pub nitro: Option<Vec<u8>>,
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

    /// Reads evidence of any kind: go-tpm-tools' protobuf, AWS NitroTPM's document (also in base64), JSON of Azure's
    /// confidential VMs and of vaportpm, captures.
    ///
    /// # Errors
    /// [`Code::EvidenceMalformed`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let malformed = |detail: String| Refusal { code: Code::EvidenceMalformed, pcr: None, detail };
        match bytes.trim_ascii_start().first() {
            Some(b'{') if is_capture(bytes) => capture::read(bytes).map_err(malformed),
            _ if bytes.len() > MAX_EVIDENCE => {
                Err(malformed(format!("{} bytes, evidence has at most {MAX_EVIDENCE}", bytes.len())))
            }
            Some(b'{') => json::read(bytes).map_err(malformed),
            // An array of four, or tag 18 in front of it.
            Some(0x84 | 0xD2) => Ok(Self::of_nitro(bytes.to_vec())),
            // The key of field 1, ak_pub; a line feed is no white space here.
            _ if bytes.first() == Some(&0x0A) => {
                go_tpm_tools::read(bytes).map_err(|error| malformed(error.to_string()))
            }
            _ => match crate::export::from_base64(String::from_utf8_lossy(bytes).trim()) {
                Some(document) if matches!(document.first(), Some(0x84 | 0xD2)) => Ok(Self::of_nitro(document)),
                _ => Err(malformed(
                    "of no known kind: expected go-tpm-tools' attestation, AWS NitroTPM's document, JSON of an Azure or GCP \
                     vTPM, or a capture"
                        .to_owned(),
                )),
            },
        }
    }

    fn of_nitro(document: Vec<u8>) -> Self {
        Self { kind: "nitro-tpm", nitro: Some(document), ..Self::default() }
    }
}
