//! `attest.Attestation` of go-tpm-tools (`proto/attest.proto`, `proto/tpm.proto`): what `gotpm attest` writes.

use std::borrow::Cow;

use super::protobuf::{Field, fields, once};
use super::{Evidence, QuoteEvidence};
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::{AlgorithmId, Digest, PcrIndex, PcrValues};

/// Quotes and certificates of one attestation.
const MAX_LIST: usize = 16;

/// Reads the message.
pub(super) fn read(bytes: &[u8]) -> Result<Evidence<'_>, ParseError> {
    let mut evidence = Evidence { kind: "go-tpm-tools", ..Evidence::default() };
    let (mut area, mut log, mut canonical, mut certificate) = (None, None, None, None);
    fields(Reader::new(bytes), |number, field, at| {
        let Field::Bytes(mut value) = field else { return Ok(()) };
        match number {
            1 => once(&mut area, value.rest().to_vec(), "ak_pub", at),
            2 => {
                limited(evidence.quotes.len(), "quotes", at)?;
                evidence.quotes.push(read_quote(value)?);
                Ok(())
            }
            3 => once(&mut log, value.rest(), "event_log", at),
            5 => once(&mut canonical, value.rest(), "canonical_event_log", at),
            6 => once(&mut certificate, value.rest().to_vec(), "ak_cert", at),
            7 => {
                limited(evidence.intermediates.len(), "intermediate_certs", at)?;
                evidence.intermediates.push(value.rest().to_vec());
                Ok(())
            }
            _ => Ok(()),
        }
    })?;
    let filled = |bytes: &Vec<u8>| !bytes.is_empty();
    evidence.public_area = area.filter(filled);
    evidence.certificate = certificate.filter(filled);
    evidence.logs.extend(log.filter(|log| !log.is_empty()).map(Cow::Borrowed));
    if canonical.is_some_and(|log| !log.is_empty()) {
        evidence.notes.push(
            "its canonical event log was not looked at: it covers PCRs of the container launcher".to_owned(),
        );
    }
    Ok(evidence)
}

fn limited(count: usize, what: &'static str, at: &Reader<'_>) -> Result<(), ParseError> {
    if count < MAX_LIST {
        return Ok(());
    }
    Err(at.error(what, ParseErrorKind::TooLarge { found: count as u64, limit: MAX_LIST as u64 }))
}

/// `tpm.Quote`.
fn read_quote(reader: Reader<'_>) -> Result<QuoteEvidence<'_>, ParseError> {
    let (mut message, mut signature, mut values) = (None, None, None);
    fields(reader, |number, field, at| match (number, field) {
        (1, Field::Bytes(mut value)) => once(&mut message, value.rest(), "quote", at),
        (2, Field::Bytes(mut value)) => once(&mut signature, value.rest(), "raw_sig", at),
        (3, Field::Bytes(value)) => once(&mut values, read_pcrs(value)?, "pcrs", at),
        _ => Ok(()),
    })?;
    Ok(QuoteEvidence {
        message: Cow::Borrowed(message.unwrap_or_default()),
        signature: Cow::Borrowed(signature.unwrap_or_default()),
        values,
    })
}

/// `tpm.PCRs`: an algorithm and a map.
fn read_pcrs(reader: Reader<'_>) -> Result<PcrValues, ParseError> {
    let mut hash = None;
    let mut entries = Vec::new();
    fields(reader, |number, field, at| match (number, field) {
        (1, Field::Number(id)) => once(&mut hash, id, "hash", at),
        (2, Field::Bytes(value)) => {
            entries.push((read_entry(value)?, *at));
            Ok(())
        }
        _ => Ok(()),
    })?;
    let id = hash.unwrap_or(0);
    let bank = u16::try_from(id).ok().and_then(|id| AlgorithmId(id).known());
    let unknown = ParseErrorKind::Unexpected { found: id, expected: "a TPM_ALG_ID of a known hash" };
    let bank = bank.ok_or_else(|| reader.error("hash", unknown))?;
    let mut values = PcrValues::default();
    for ((index, value), at) in entries {
        let beyond = ParseErrorKind::Unexpected { found: index, expected: "PCRs 0 to 23" };
        let pcr = u32::try_from(index).ok().and_then(|index| PcrIndex::try_from(index).ok());
        let pcr = pcr.ok_or_else(|| at.error("pcrs.key", beyond))?;
        let wrong =
            ParseErrorKind::Unexpected { found: value.len() as u64, expected: "the digest size of the bank" };
        if values.get(bank, pcr).is_some() {
            return Err(at.error("pcrs.key", ParseErrorKind::Invalid("is there twice")));
        }
        values.set(pcr, Digest::from_bytes(bank, value).ok_or_else(|| at.error("pcrs.value", wrong))?);
    }
    Ok(values)
}

/// An entry of the map: a key that is left out is 0.
fn read_entry(reader: Reader<'_>) -> Result<(u64, &[u8]), ParseError> {
    let (mut key, mut value) = (None, None);
    fields(reader, |number, field, at| match (number, field) {
        (1, Field::Number(index)) => once(&mut key, index, "pcrs.key", at),
        (2, Field::Bytes(mut bytes)) => once(&mut value, bytes.rest(), "pcrs.value", at),
        _ => Ok(()),
    })?;
    Ok((key.unwrap_or(0), value.unwrap_or_default()))
}
