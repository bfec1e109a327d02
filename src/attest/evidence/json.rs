//! Evidence in JSON: Azure's confidential VMs as Trustee and others pass it on (quote and HCL report), and lockboot's
//! vaportpm (GCP and AWS).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::hcl::HclReport;
use super::{Evidence, QuoteEvidence};
use crate::attest::key::read_certificates;
use crate::attest::quote::Quote;
use crate::source::parse_registers;
use crate::tcg::{Digest, PcrIndex, PcrValues};

type Problem = String;

/// Which of the forms it is. Nothing else of it is kept.
#[derive(Deserialize)]
struct Head {
    attestation: Option<IgnoredAny>,
    evidence: Option<IgnoredAny>,
}

/// Some wrap the evidence and name the platform beside it.
#[derive(Deserialize)]
struct Wrapped {
    evidence: Azure,
}

pub(super) fn read(bytes: &[u8]) -> Result<Evidence<'static>, Problem> {
    let head: Head = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if head.attestation.is_some() {
        return read_vaportpm(bytes);
    }
    let azure = match head.evidence {
        Some(_) => serde_json::from_slice::<Wrapped>(bytes).map(|wrapped| wrapped.evidence),
        None => serde_json::from_slice::<Azure>(bytes),
    };
    read_azure(azure.map_err(|error| {
        format!(
            "neither a vTPM quote of Azure (tpm_quote, hcl_report) nor one of vaportpm (attestation): {error}"
        )
    })?)
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
    pcrs: List,
}

/// Bytes as hexadecimal, as base64 in either alphabet, or as numbers.
struct Bytes(Vec<u8>);

/// Most bytes in one member, and most members of a list.
const MAX_BYTES: usize = 1 << 20;

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes as hexadecimal, base64 or a list of numbers")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        let bare = text.trim().trim_end_matches('=');
        let decoded = hex::decode(bare).ok();
        let decoded = decoded
            .or_else(|| URL_SAFE_NO_PAD.decode(bare).ok())
            .or_else(|| STANDARD_NO_PAD.decode(bare).ok());
        decoded.map(Bytes).ok_or_else(|| E::custom("neither hexadecimal nor base64"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Bytes, A::Error> {
        limited(sequence, MAX_BYTES).map(Bytes)
    }
}

/// PCRs 0 to 23.
struct List(Vec<Bytes>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of PCR values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<List, A::Error> {
        limited(sequence, usize::from(PcrIndex::COUNT)).map(List)
    }
}

/// The elements, unless there are more than may be.
fn limited<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    mut sequence: A,
    limit: usize,
) -> Result<Vec<T>, A::Error> {
    let mut elements = Vec::new();
    while let Some(element) = sequence.next_element()? {
        if elements.len() >= limit {
            return Err(de::Error::custom(format!("more than {limit} elements")));
        }
        elements.push(element);
    }
    Ok(elements)
}

fn read_azure(azure: Azure) -> Result<Evidence<'static>, Problem> {
    let message = azure.tpm_quote.message.0;
    let values = listed_values(&message, &azure.tpm_quote.pcrs.0)?;
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
    for (pcr, bytes) in PcrIndex::all().zip(list) {
        let digest = Digest::from_bytes(bank, &bytes.0);
        values.set(pcr, digest.ok_or_else(|| format!("PCR {pcr} has {} bytes", bytes.0.len()))?);
    }
    Ok(values)
}

#[derive(Deserialize)]
struct Vaportpm<'a> {
    #[serde(borrow)]
    pcrs: &'a RawValue,
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
    let read: Vaportpm<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let values = parse_registers(read.pcrs.get()).map_err(|error| error.to_string())?;
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
