//! PCR values as `tpm2_quote -o` writes them.
//!
//! `serialized` (the default): `TPML_PCR_SELECTION` and `TPML_DIGEST`s in the memory layout of a little-endian machine
//! (tpm2-tools `lib/pcr.c`, `pcr_fwrite_serialized`); `values`: the values only, in the order of the quote's selection.

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::source::{RegistersError, parse_registers};
use crate::tcg::{AlgorithmId, Digest, HashAlgorithm, PcrIndex, PcrValues};

use super::quote::PcrSelection;

/// `TPML_PCR_SELECTION` has 16 slots of `TPMS_PCR_SELECTION`, each 8 bytes with its padding.
const SELECTIONS: u32 = 16;
const SLOT: u64 = 8;
/// `TPML_DIGEST` has 8 slots of `TPM2B_DIGEST`, each a 16-bit size and 64 bytes.
const DIGESTS: u32 = 8;
const LARGEST: u64 = 64;
/// Lists: 16 banks of 24 PCRs in eights.
const MAX_LISTS: u32 = 48;

/// PCR values that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum PcrFileError {
    /// A structure is broken.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Text of a wrong form.
    #[error(transparent)]
    Text(#[from] RegistersError),
    /// Neither form fits.
    #[error(
        "{length} bytes are neither the serialized form of tpm2_quote, nor the {expected} bytes of the quoted PCRs, nor text"
    )]
    Form {
        /// Bytes that there are.
        length: usize,
        /// Bytes that the selection has.
        expected: usize,
    },
}

/// Reads PCR values in any form: serialized, values in the order of a quote's selection, JSON, `tpm2_pcrread`'s text.
///
/// # Errors
/// [`PcrFileError`].
pub fn read_pcr_values(bytes: &[u8], selection: &[PcrSelection]) -> Result<PcrValues, PcrFileError> {
    let expected = selected_size(selection);
    if Some(bytes.len()) == expected && expected != Some(0) {
        return Ok(read_plain(Reader::new(bytes), selection)?);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => {
            let values = parse_registers(text)?;
            if values.banks().next().is_none() {
                return Err(RegistersError::Format("no register values in it".to_owned()).into());
            }
            Ok(values)
        }
        _ if bytes.len() as u64 >= SLOT.saturating_mul(SELECTIONS.into()) => Ok(read_serialized_pcrs(bytes)?),
        _ => Err(PcrFileError::Form { length: bytes.len(), expected: expected.unwrap_or(0) }),
    }
}

/// Bytes of all selected values; `None` with a bank that we don't know.
fn selected_size(selection: &[PcrSelection]) -> Option<usize> {
    selection.iter().try_fold(0_usize, |sum, bank| {
        sum.checked_add(bank.bank.known()?.size().checked_mul(bank.pcrs.len())?)
    })
}

fn read_plain(mut reader: Reader<'_>, selection: &[PcrSelection]) -> Result<PcrValues, ParseError> {
    let mut values = PcrValues::default();
    for (bank, pcr) in selected(selection, &reader)? {
        values.set(pcr, take_digest(&mut reader, bank)?);
    }
    reader.expect_end("PCR values")?;
    Ok(values)
}

fn selected(
    selection: &[PcrSelection],
    reader: &Reader<'_>,
) -> Result<Vec<(HashAlgorithm, PcrIndex)>, ParseError> {
    let mut all = Vec::new();
    for bank in selection {
        let unknown =
            ParseErrorKind::Unexpected { found: bank.bank.0.into(), expected: "a known hash algorithm" };
        let algorithm = bank.bank.known().ok_or_else(|| reader.error("hash", unknown))?;
        all.extend(bank.pcrs.iter().map(|pcr| (algorithm, *pcr)));
    }
    Ok(all)
}

fn take_digest(reader: &mut Reader<'_>, bank: HashAlgorithm) -> Result<Digest, ParseError> {
    let at = *reader;
    let bytes = reader.take(bank.size() as u64, "digest")?;
    Digest::from_bytes(bank, bytes)
        .ok_or_else(|| at.error("digest", ParseErrorKind::Invalid("has another length")))
}

/// Reads the serialized form.
///
/// # Errors
/// Where it is not sound.
pub fn read_serialized_pcrs(bytes: &[u8]) -> Result<PcrValues, ParseError> {
    let mut reader = Reader::new(bytes);
    let selection = read_selections(&mut reader)?;
    let mut wanted = selected(&selection, &reader)?.into_iter();
    let mut values = PcrValues::default();
    let lists = limited(&mut reader, "count of TPML_DIGEST", MAX_LISTS)?;
    for _ in 0..lists {
        let count = limited(&mut reader, "TPML_DIGEST.count", DIGESTS)?;
        for slot in 0..DIGESTS {
            let at = reader;
            let size = reader.u16("TPM2B_DIGEST.size")?;
            let bytes = reader.take(LARGEST, "TPM2B_DIGEST.buffer")?;
            if slot >= count {
                continue;
            }
            let Some((bank, pcr)) = wanted.next() else {
                return Err(
                    at.error("TPM2B_DIGEST", ParseErrorKind::Invalid("is one more than was selected"))
                );
            };
            let digest = bytes.get(..usize::from(size)).and_then(|bytes| Digest::from_bytes(bank, bytes));
            let expected = "the size of the bank's digests";
            let wrong = ParseErrorKind::Unexpected { found: size.into(), expected };
            values.set(pcr, digest.ok_or_else(|| at.error("TPM2B_DIGEST.size", wrong))?);
        }
    }
    reader.expect_end("PCR values")?;
    if wanted.next().is_some() {
        return Err(
            reader.error("TPML_DIGEST", ParseErrorKind::Invalid("has fewer values than were selected"))
        );
    }
    Ok(values)
}

fn limited(reader: &mut Reader<'_>, what: &'static str, limit: u32) -> Result<u32, ParseError> {
    let at = *reader;
    let count = reader.u32(what)?;
    if count > limit {
        let kind = ParseErrorKind::TooLarge { found: count.into(), limit: limit.into() };
        return Err(at.error(what, kind));
    }
    Ok(count)
}

fn read_selections(reader: &mut Reader<'_>) -> Result<Vec<PcrSelection>, ParseError> {
    let count = limited(reader, "TPML_PCR_SELECTION.count", SELECTIONS)?;
    let mut selections = Vec::new();
    for slot in 0..SELECTIONS {
        let mut entry = reader.sub(SLOT, "TPMS_PCR_SELECTION")?;
        if slot >= count {
            continue;
        }
        let bank = AlgorithmId(entry.u16("hash")?);
        let size = entry.u8("sizeofSelect")?;
        let bitmap = entry.take(size.into(), "pcrSelect")?;
        let bits =
            bitmap.iter().flat_map(|byte| (0..8).map(move |bit| byte.checked_shr(bit).unwrap_or(0) & 1 == 1));
        let mut pcrs = Vec::new();
        for (number, _) in (0_u32..).zip(bits).filter(|(_, set)| *set) {
            let beyond = ParseErrorKind::Unexpected { found: number.into(), expected: "PCRs 0 to 23" };
            pcrs.push(PcrIndex::try_from(number).map_err(|_| entry.error("pcrSelect", beyond))?);
        }
        selections.push(PcrSelection { bank, pcrs });
    }
    Ok(selections)
}
