//! Evidence in JSON: Azure's confidential VMs as Trustee and others pass it on (quote and HCL report), and lockboot's
//! vaportpm (GCP and AWS).

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

use super::hcl::HclReport;
use super::{Evidence, QuoteEvidence};
use crate::attest::key::read_certificates;
use crate::attest::quote::Quote;
use crate::source::parse_registers;
use crate::tcg::{Digest, PcrIndex, PcrValues};

type Problem = String;

pub(super) fn read(bytes: &[u8]) -> Result<Evidence<'static>, Problem> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if value.get("attestation").is_some() {
        return read_vaportpm(bytes);
    }
    // Some wrap the evidence and name the platform beside it.
    read_azure(value.get("evidence").unwrap_or(&value))
}

/// The members that count; there are two generations of names.
#[derive(Deserialize)]
struct Azure {
    #[serde(alias = "quote")]
    tpm_quote: AzureQuote,
    #[serde(alias = "report")]
    hcl_report: Option<Bytes>,
}

#[derive(Deserialize)]
struct AzureQuote {
    message: Bytes,
    signature: Bytes,
    pcrs: Vec<Bytes>,
}

/// Bytes as hexadecimal, as base64 in either alphabet, or as numbers.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Numbers(Vec<u8>),
        }
        let bytes = match Form::deserialize(deserializer)? {
            Form::Numbers(numbers) => Some(numbers),
            Form::Text(text) => {
                let bare = text.trim().trim_end_matches('=');
                let decoded = hex::decode(bare).ok();
                decoded
                    .or_else(|| URL_SAFE_NO_PAD.decode(bare).ok())
                    .or_else(|| STANDARD_NO_PAD.decode(bare).ok())
            }
        };
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("neither hexadecimal nor base64"))
    }
}

fn read_azure(value: &Value) -> Result<Evidence<'static>, Problem> {
    let azure: Azure = Azure::deserialize(value).map_err(|error| {
        format!(
            "neither a vTPM quote of Azure (tpm_quote, hcl_report) nor one of vaportpm (attestation): {error}"
        )
    })?;
    let message = azure.tpm_quote.message.0;
    let values = listed_values(&message, &azure.tpm_quote.pcrs)?;
    let mut evidence = Evidence { kind: "azure-vtpm", ..Evidence::default() };
    if let Some(report) = azure.hcl_report {
        let report = HclReport::read(&report.0)?;
        evidence.claimed_key = Some(report.attestation_key()?);
        evidence.notes.push(format!(
            "the HCL report ({}) binds the key by its report data; the hardware's signature over that report was not verified",
            report.hardware
        ));
    }
    evidence.quotes.push(QuoteEvidence {
        message: Cow::Owned(message),
        signature: Cow::Owned(azure.tpm_quote.signature.0),
        values: Some(values),
    });
    Ok(evidence)
}

/// PCRs 0 to 23 in order, of the one bank that is quoted. A quote that can't be read is refused as such, later.
fn listed_values(message: &[u8], list: &[Bytes]) -> Result<PcrValues, Problem> {
    let mut values = PcrValues::default();
    let Ok(quote) = Quote::read(message) else { return Ok(values) };
    let [selection] = quote.selection.as_slice() else {
        return Err(format!("a list of PCR values beside a quote of {} banks", quote.selection.len()));
    };
    let bank = selection.bank.known().ok_or_else(|| format!("a bank of {}", selection.bank))?;
    if list.len() > usize::from(PcrIndex::COUNT) {
        return Err(format!("{} PCR values, expected 24", list.len()));
    }
    for (pcr, bytes) in PcrIndex::all().zip(list) {
        let digest = Digest::from_bytes(bank, &bytes.0);
        values.set(pcr, digest.ok_or_else(|| format!("PCR {pcr} has {} bytes", bytes.0.len()))?);
    }
    Ok(values)
}

#[derive(Deserialize)]
struct Vaportpm {
    pcrs: Value,
    attestation: VaportpmAttestation,
}

#[derive(Deserialize)]
struct VaportpmAttestation {
    tpm: BTreeMap<String, VaportpmQuote>,
    #[serde(default)]
    gcp: Option<VaportpmGcp>,
    #[serde(default)]
    nitro: Option<VaportpmNitro>,
}

#[derive(Deserialize)]
struct VaportpmQuote {
    attest_data: Bytes,
    signature: Bytes,
}

#[derive(Deserialize)]
struct VaportpmGcp {
    ak_cert_chain: String,
}

#[derive(Deserialize)]
struct VaportpmNitro {
    document: Bytes,
}

fn read_vaportpm(bytes: &[u8]) -> Result<Evidence<'static>, Problem> {
    let read: Vaportpm = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let values = parse_registers(&read.pcrs.to_string()).map_err(|error| error.to_string())?;
    let mut evidence = Evidence { kind: "vaportpm", ..Evidence::default() };
    for quote in read.attestation.tpm.into_values() {
        evidence.quotes.push(QuoteEvidence {
            message: Cow::Owned(quote.attest_data.0),
            signature: Cow::Owned(quote.signature.0),
            values: Some(values.clone()),
        });
    }
    if let Some(gcp) = read.attestation.gcp {
        let chain = read_certificates(gcp.ak_cert_chain.as_bytes()).map_err(|error| error.to_string())?;
        let mut chain = chain.into_iter();
        evidence.certificate = chain.next();
        evidence.intermediates = chain.collect();
    }
    evidence.nitro = read.attestation.nitro.map(|nitro| nitro.document.0);
    Ok(evidence)
}
