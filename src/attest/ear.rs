//! The result as JSON: an EAT Attestation Result (draft-ietf-rats-ear) with the trustworthiness vector of AR4SI
//! (draft-ietf-rats-ar4si, section 2.3), unsigned, and what this verifier has to say beyond it below `premeasure`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::appraisal::{Appraisal, QuoteSummary, SignerSummary};
use super::judge::{PcrVerdict, Verdict};
use super::policy::Class;
use super::refusal::Code;
use super::time::Timestamp;
use crate::tcg::{Digest, PcrIndex};

/// Claims of the trustworthiness vector and the PCRs that they are made from (PFP, section 3.3.4, and the Linux TPM PCR
/// registry): value when all enforced ones match, value when one does not.
const CLAIMS: [(&str, &[u8], i8, i8); 3] = [
    // 2: genuine; 97: not recognized.
    ("hardware", &[0], 2, 97),
    // 3: only approved executables were loaded during the boot; 33: not recognized.
    ("executables", &[2, 4, 8, 9, 11], 3, 33),
    // 2: approved; 96: not supportable.
    ("configuration", &[1, 3, 5, 6, 7, 12, 13, 14, 15], 2, 96),
];

/// Cryptographic validation failed.
const CRYPTO_FAILED: i8 = 99;

#[derive(Serialize)]
struct JsonPcr<'a> {
    pcr: u8,
    class: Class,
    verdict: Verdict,
    #[serde(serialize_with = "digests", skip_serializing_if = "<[Digest]>::is_empty")]
    values: &'a [Digest],
    #[serde(serialize_with = "digests", skip_serializing_if = "<[Digest]>::is_empty")]
    expected: &'a [Digest],
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

// serde hands the field over by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn digests<S: serde::Serializer>(digests: &&[Digest], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(digests.iter().map(|digest| (digest.algorithm().name(), digest.to_string())))
}

/// The result as JSON. `issued` is when it was made.
#[must_use]
pub fn ear(appraisal: &Appraisal, issued: Timestamp) -> Value {
    let submodule = json!({
        "ear_status": status(appraisal),
        "ear_trustworthiness_vector": vector(appraisal),
        "ear_appraisal_policy_id": format!("urn:premeasure:policy:sha256:{}", appraisal.policy),
        "premeasure": details(appraisal),
    });
    json!({
        "eat_profile": "tag:github.com,2023:veraison/ear",
        "iat": issued.0,
        "ear_verifier_id": { "developer": "premeasure", "build": concat!("premeasure ", env!("CARGO_PKG_VERSION")) },
        "eat_nonce": URL_SAFE_NO_PAD.encode(&appraisal.nonce),
        "submods": { "tpm": submodule },
    })
}

fn status(appraisal: &Appraisal) -> &'static str {
    match (appraisal.refusals.is_empty(), appraisal.warnings.is_empty()) {
        (true, true) => "affirming",
        (true, false) => "warning",
        (false, _) => "contraindicated",
    }
}

fn vector(appraisal: &Appraisal) -> Value {
    let mut vector = serde_json::Map::new();
    let identity = match appraisal.refusals.first().map(|refusal| refusal.code) {
        _ if appraisal.signer.is_some() => 2,
        Some(Code::KeyUntrusted | Code::CertificateExpired | Code::KeyAttributes) => 97,
        _ => CRYPTO_FAILED,
    };
    vector.insert("instance-identity".to_owned(), identity.into());
    for (claim, pcrs, good, bad) in CLAIMS {
        let mut enforced = appraisal
            .pcrs
            .iter()
            .filter(|entry| entry.class == Class::Enforced && pcrs.contains(&entry.pcr.get()))
            .peekable();
        // 0: no claim is made.
        let value = match (enforced.peek().is_some(), appraisal.signer.is_some()) {
            (false, _) => 0,
            (true, false) => CRYPTO_FAILED,
            (true, true) if enforced.all(|entry| entry.verdict == Verdict::Match) => good,
            (true, true) => bad,
        };
        vector.insert(claim.to_owned(), value.into());
    }
    vector.into()
}

fn details(appraisal: &Appraisal) -> Value {
    let pcrs: Vec<JsonPcr<'_>> = appraisal.pcrs.iter().map(pcr).collect();
    let assumptions = &appraisal.assumptions;
    json!({
        "evidence": appraisal.evidence,
        "refusals": appraisal.refusals,
        "warnings": appraisal.warnings,
        "pcrs": pcrs,
        "boot": appraisal.boot,
        "banks": appraisal.banks.iter().map(|bank| bank.name()).collect::<Vec<_>>(),
        "logs": appraisal.logs,
        "nonce": hex::encode(&appraisal.nonce),
        "certificates_valid_at": appraisal.at.to_string(),
        "signer": appraisal.signer.as_ref().map(signer),
        "quotes": appraisal.quotes.iter().map(quote).collect::<Vec<_>>(),
        "policy": {
            "format": appraisal.policy_format,
            "sha256": appraisal.policy_source.to_string(),
            "assumptions": assumptions,
        },
        "notes": appraisal.notes,
    })
}

fn pcr(entry: &PcrVerdict) -> JsonPcr<'_> {
    JsonPcr {
        pcr: entry.pcr.get(),
        class: entry.class,
        verdict: entry.verdict,
        values: &entry.values,
        expected: &entry.expected,
        replayed: entry.replayed,
        detail: &entry.detail,
    }
}

fn signer(signer: &SignerSummary) -> Value {
    json!({
        "key": signer.kind,
        "fingerprint": format!("sha256:{}", signer.fingerprint),
        "trusted_by": if signer.chain.is_empty() { "pinned" } else { "certificate" },
        "chain": signer.chain,
        "name": signer.name.as_ref().map(hex::encode),
        "attributes_checked": signer.attributes_checked,
        "primary_of": signer.primary_of,
    })
}

fn quote(quote: &QuoteSummary) -> Value {
    let selection: Vec<Value> = quote
        .selection
        .iter()
        .map(|bank| {
            let pcrs: Vec<u8> = bank.pcrs.iter().copied().map(PcrIndex::get).collect();
            json!({ "bank": bank.bank.to_string(), "pcrs": pcrs })
        })
        .collect();
    json!({
        "signed_with": quote.signed_with,
        "selection": selection,
        "clock_ms": quote.clock.clock,
        "reset_count": quote.clock.reset_count,
        "restart_count": quote.clock.restart_count,
        "clock_safe": quote.clock.safe,
        "firmware_version": format!("{:016x}", quote.firmware_version),
    })
}
