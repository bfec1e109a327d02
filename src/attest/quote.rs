//! `TPMS_ATTEST` of a quote (TPM 2.0 Library part 2, sections 10.12.12 and 10.12.1), big-endian throughout.

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::{AlgorithmId, PcrIndex};

/// `TPM_GENERATED_VALUE`: begins everything that a TPM itself states.
const TPM_GENERATED_VALUE: u32 = 0xFF54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
const TPM_ST_ATTEST_QUOTE: u16 = 0x8018;
/// Largest `TPMS_ATTEST` that is read, in bytes; the largest quote has some 300.
const MAX_ATTEST: usize = 4 << 10;
/// Largest `TPM2B_NAME`: algorithm and the largest digest, or a handle.
const MAX_NAME: u16 = 66;
/// Largest `TPM2B_DATA`: a `TPMT_HA`.
const MAX_DATA: u16 = 66;
/// `HASH_COUNT`: banks that a selection may name.
const MAX_BANKS: u32 = 16;
/// Bytes of a PCR bitmap: three in a PC, four at most.
const MAX_BITMAP: u8 = 4;

/// A quote: what the TPM signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote<'a> {
    /// `qualifiedSigner`: the qualified name of the signing key, as the TPM computes it.
    pub qualified_signer: &'a [u8],
    /// `extraData`: what the caller had signed along, the nonce.
    pub extra_data: &'a [u8],
    /// `clockInfo`.
    pub clock: ClockInfo,
    /// `firmwareVersion`, as the TPM's vendor counts. Obfuscated for keys outside of the endorsement and platform
    /// hierarchies, like [`ClockInfo`]'s counters.
    pub firmware_version: u64,
    /// `pcrSelect`, in the order in which the values were hashed.
    pub selection: Vec<PcrSelection>,
    /// `pcrDigest`: the hash, by the signature's algorithm, of the selected values one after another.
    pub pcr_digest: &'a [u8],
}

/// `TPMS_CLOCK_INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds that the TPM was powered.
    pub clock: u64,
    /// TPM resets: it grows with each boot.
    pub reset_count: u32,
    /// TPM restarts and resumes since the last reset.
    pub restart_count: u32,
    /// No larger clock was ever reported.
    pub safe: bool,
}

/// `TPMS_PCR_SELECTION`: PCRs of one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrSelection {
    /// The bank.
    pub bank: AlgorithmId,
    /// Ascending.
    pub pcrs: Vec<PcrIndex>,
}

/// Bytes that are no quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The magic number is not that of a TPM's own statements: anybody could have had it signed.
    #[error("magic is {0:#010x}, expected 0xff544347 (TPM_GENERATED_VALUE): no TPM states this")]
    NotGenerated(u32),
    /// Another kind of attestation.
    #[error("type is {0:#06x}, expected 0x8018 (TPM_ST_ATTEST_QUOTE): it is no quote")]
    NotAQuote(u16),
    /// Anything else.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

impl<'a> Quote<'a> {
    /// Reads a `TPMS_ATTEST`, to its last byte.
    ///
    /// # Errors
    /// [`QuoteError`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        let mut reader = Reader::new(bytes);
        if bytes.len() > MAX_ATTEST {
            let kind = ParseErrorKind::TooLarge { found: bytes.len() as u64, limit: MAX_ATTEST as u64 };
            return Err(reader.error("TPMS_ATTEST", kind).into());
        }
        let magic = reader.u32_be("magic")?;
        if magic != TPM_GENERATED_VALUE {
            return Err(QuoteError::NotGenerated(magic));
        }
        let kind = reader.u16_be("type")?;
        if kind != TPM_ST_ATTEST_QUOTE {
            return Err(QuoteError::NotAQuote(kind));
        }
        let quote = Self {
            qualified_signer: sized(&mut reader, "qualifiedSigner", MAX_NAME)?,
            extra_data: sized(&mut reader, "extraData", MAX_DATA)?,
            clock: ClockInfo::read(&mut reader)?,
            firmware_version: reader.u64_be("firmwareVersion")?,
            selection: read_selection(&mut reader)?,
            pcr_digest: sized(&mut reader, "pcrDigest", MAX_NAME)?,
        };
        reader.expect_end("TPMS_ATTEST")?;
        Ok(quote)
    }
}

impl ClockInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            clock: reader.u64_be("clock")?,
            reset_count: reader.u32_be("resetCount")?,
            restart_count: reader.u32_be("restartCount")?,
            safe: yes_no(reader, "safe")?,
        })
    }
}

/// `TPMI_YES_NO`.
fn yes_no(reader: &mut Reader<'_>, what: &'static str) -> Result<bool, ParseError> {
    let at = *reader;
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        found => {
            let kind = ParseErrorKind::Unexpected { found: found.into(), expected: "0 or 1 (TPMI_YES_NO)" };
            Err(at.error(what, kind))
        }
    }
}

/// A `TPM2B`: a 16-bit size, then as many bytes.
pub(super) fn sized<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
    limit: u16,
) -> Result<&'a [u8], ParseError> {
    let at = *reader;
    let size = reader.u16_be(what)?;
    if size > limit {
        let kind = ParseErrorKind::TooLarge { found: size.into(), limit: limit.into() };
        return Err(at.error(what, kind));
    }
    reader.take(size.into(), what)
}

/// `TPML_PCR_SELECTION`. A bank that is named twice is refused: nothing that we need asks for it, and what a PCR's value
/// is would depend on the reader.
fn read_selection(reader: &mut Reader<'_>) -> Result<Vec<PcrSelection>, ParseError> {
    let at = *reader;
    let count = reader.u32_be("pcrSelect.count")?;
    if count > MAX_BANKS {
        let kind = ParseErrorKind::TooLarge { found: count.into(), limit: MAX_BANKS.into() };
        return Err(at.error("pcrSelect.count", kind));
    }
    let mut selections: Vec<PcrSelection> = Vec::new();
    for _ in 0..count {
        let at = *reader;
        let bank = AlgorithmId(reader.u16_be("hash")?);
        if selections.iter().any(|other| other.bank == bank) {
            return Err(
                at.error("hash", ParseErrorKind::Invalid("names a bank that was already selected from"))
            );
        }
        selections.push(PcrSelection { bank, pcrs: read_bitmap(reader)? });
    }
    Ok(selections)
}

/// `sizeofSelect` and `pcrSelect`: PCR n is bit n%8 of byte n/8.
fn read_bitmap(reader: &mut Reader<'_>) -> Result<Vec<PcrIndex>, ParseError> {
    let at = *reader;
    let size = reader.u8("sizeofSelect")?;
    if size > MAX_BITMAP {
        let kind = ParseErrorKind::TooLarge { found: size.into(), limit: MAX_BITMAP.into() };
        return Err(at.error("sizeofSelect", kind));
    }
    let bitmap = reader.take(size.into(), "pcrSelect")?;
    let mut pcrs = Vec::new();
    let bits =
        bitmap.iter().flat_map(|byte| (0..8).map(move |bit| byte.checked_shr(bit).unwrap_or(0) & 1 == 1));
    for (number, _) in (0_u32..).zip(bits).filter(|(_, selected)| *selected) {
        match PcrIndex::try_from(number) {
            Ok(pcr) => pcrs.push(pcr),
            Err(_) => {
                let kind = ParseErrorKind::Unexpected { found: number.into(), expected: "PCRs 0 to 23" };
                return Err(at.error("pcrSelect", kind));
            }
        }
    }
    Ok(pcrs)
}
