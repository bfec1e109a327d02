//! One quote: its structure, its signature, the nonce, and the values under its digest.

use std::borrow::Cow;

use subtle::ConstantTimeEq as _;

use super::appraisal::QuoteSummary;
use super::evidence::QuoteEvidence;
use super::key::AttestationKey;
use super::log::Replayed;
use super::public_area::PublicArea;
use super::quote::{PcrSelection, Quote, QuoteError};
use super::refusal::{Code, Refusal};
use super::signature::QuoteSignature;
use crate::tcg::{AlgorithmId, Digest, HashAlgorithm, Hasher, PcrValues};

/// The values that a quote covers, when it is this key's and the values beside it are those that were quoted. Whether the key
/// is to be trusted, and whether the quote is a new one, is left to [`Verifier`](super::Verifier).
///
/// # Errors
/// Why a verifier would refuse the quote, whatever it trusts.
pub fn check_quote(evidence: &QuoteEvidence<'_>, key: &AttestationKey) -> Result<PcrValues, Refusal> {
    let nonce = Quote::read(&evidence.message).map(|quote| quote.extra_data.to_vec()).unwrap_or_default();
    let mut values = PcrValues::default();
    prove_quote(evidence, key, &nonce, &[], &mut values)?;
    Ok(values)
}

/// A signed quote: the values that it covers go into `proven`.
pub(super) fn prove_quote(
    evidence: &QuoteEvidence<'_>,
    key: &AttestationKey,
    nonce: &[u8],
    logs: &[Cow<'_, [u8]>],
    proven: &mut PcrValues,
) -> Result<(QuoteSummary, Option<&'static str>), Refusal> {
    let quote =
        Quote::read(&evidence.message).map_err(|error| Refusal::new(code_of(&error), error.to_string()))?;
    let signature = QuoteSignature::read(&evidence.signature)
        .map_err(|error| Refusal::new(Code::SignatureMalformed, error.to_string()))?;
    let (scheme, hash) = key.verify(&evidence.message, &signature, quote.pcr_digest.len())?;
    // From here on the quote is what the key's holder signed.
    require_nonce(quote.extra_data, nonce, "the quote")?;
    let values = match &evidence.values {
        Some(values) => values.clone(),
        None => replayed_values(logs, &quote.selection)?,
    };
    let from_log = evidence.values.is_none();
    let digest = digest_of_selection(&quote.selection, &values, hash)?;
    if !bool::from(digest.as_bytes().ct_eq(quote.pcr_digest)) {
        let (code, what) = if from_log {
            (
                Code::LogMismatch,
                "the log does not replay to the quoted PCRs; with --pcrs the PCRs that differ can be named",
            )
        } else {
            (Code::PcrDigestMismatch, "the PCR values are not those that were quoted")
        };
        return Err(Refusal::new(code, what));
    }
    for selection in &quote.selection {
        let Some(bank) = selection.bank.known() else { continue };
        for pcr in &selection.pcrs {
            if let Some(value) = values.get(bank, *pcr) {
                proven.set(*pcr, value);
            }
        }
    }
    let hierarchy = key.public_area.as_ref().and_then(|area| primary_of(area, quote.qualified_signer));
    let summary = QuoteSummary {
        clock: quote.clock,
        firmware_version: quote.firmware_version,
        signed_with: format!("{} with {hash}", scheme.name()),
        selection: quote.selection,
    };
    Ok((summary, hierarchy))
}

/// Compared in constant time; an empty nonce is none.
pub(super) fn require_nonce(found: &[u8], nonce: &[u8], what: &str) -> Result<(), Refusal> {
    if bool::from(found.ct_eq(nonce)) && !nonce.is_empty() {
        return Ok(());
    }
    let detail = format!("{what} is over {}, asked for was {}", hex_or_none(found), hex_or_none(nonce));
    Err(Refusal::new(Code::NonceMismatch, detail))
}

fn code_of(error: &QuoteError) -> Code {
    match error {
        QuoteError::NotGenerated(_) => Code::QuoteNotGenerated,
        QuoteError::NotAQuote(_) => Code::QuoteType,
        QuoteError::Parse(_) => Code::QuoteMalformed,
    }
}

fn hex_or_none(bytes: &[u8]) -> String {
    if bytes.is_empty() { "no nonce".to_owned() } else { hex::encode(bytes) }
}

/// What the logs say about the quoted PCRs.
fn replayed_values(logs: &[Cow<'_, [u8]>], selection: &[PcrSelection]) -> Result<PcrValues, Refusal> {
    if logs.is_empty() {
        return Err(Refusal::new(Code::PcrsMissing, "there are neither PCR values nor a log"));
    }
    let banks: Vec<HashAlgorithm> = selection.iter().filter_map(|bank| bank.bank.known()).collect();
    let logs: Vec<&[u8]> = logs.iter().map(AsRef::as_ref).collect();
    let log = Replayed::read(&logs, None, &banks)?;
    let mut values = PcrValues::default();
    for (bank, pcrs) in selection.iter().filter_map(|entry| Some((entry.bank.known()?, &entry.pcrs))) {
        for pcr in pcrs {
            if let Some(value) = log.value(bank, *pcr) {
                values.set(*pcr, value);
            }
        }
    }
    Ok(values)
}

/// The hash over the selected values, one after another in the quote's order.
fn digest_of_selection(
    selection: &[PcrSelection],
    values: &PcrValues,
    hash: HashAlgorithm,
) -> Result<Digest, Refusal> {
    let mut hasher = Hasher::new(hash);
    for PcrSelection { bank, pcrs } in selection {
        for pcr in pcrs {
            let value = bank.known().and_then(|bank| values.get(bank, *pcr));
            let missing = || {
                Refusal::of_pcr(
                    Code::PcrsMissing,
                    *pcr,
                    format!("its {bank} value was quoted, but is not there"),
                )
            };
            hasher.update(value.ok_or_else(missing)?.as_bytes());
        }
    }
    Ok(hasher.finish())
}

/// The hierarchy whose primary key this is: then `qualifiedSigner` is `H(handle || name)` (Library part 1, section 16),
/// which proves that the public area, with its attributes, is that of the key that signed.
fn primary_of(area: &PublicArea, qualified_signer: &[u8]) -> Option<&'static str> {
    const HIERARCHIES: [(u32, &str); 4] = [
        (0x4000_000B, "endorsement"),
        (0x4000_0001, "owner"),
        (0x4000_000C, "platform"),
        (0x4000_0007, "null"),
    ];
    let algorithm: AlgorithmId = area.name_algorithm;
    let hash = algorithm.known()?;
    let name = area.name()?;
    HIERARCHIES.into_iter().find_map(|(handle, hierarchy)| {
        let mut hasher = Hasher::new(hash);
        hasher.update(&handle.to_be_bytes());
        hasher.update(&name);
        let mut qualified = algorithm.0.to_be_bytes().to_vec();
        qualified.extend_from_slice(hasher.finish().as_bytes());
        (qualified == qualified_signer).then_some(hierarchy)
    })
}
