//! `TPMT_SIGNATURE`, and bare signatures as `tpm2_quote -f plain` writes them.

use der::Encode;
use der::asn1::{SequenceOf, UintRef};

use super::quote::sized;
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::AlgorithmId;

/// Largest signature, in bytes: RSA of 8192 bits.
const MAX_SIGNATURE: u16 = 1024;
/// Largest number of an ECDSA signature that is read, in bytes.
const MAX_SCALAR: u16 = 66;

/// `TPMI_ALG_SIG_SCHEME`, as far as quotes are signed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureScheme {
    /// `TPM_ALG_RSASSA`: PKCS#1 v1.5.
    Rsassa,
    /// `TPM_ALG_RSAPSS`.
    Rsapss,
    /// `TPM_ALG_ECDSA`.
    Ecdsa,
}

impl SignatureScheme {
    /// The scheme of a `TPM_ALG_ID`.
    #[must_use]
    pub fn of(id: u16) -> Option<Self> {
        match id {
            0x0014 => Some(Self::Rsassa),
            0x0016 => Some(Self::Rsapss),
            0x0018 => Some(Self::Ecdsa),
            _ => None,
        }
    }

    /// The name as tpm2-tools has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsassa => "rsassa",
            Self::Rsapss => "rsapss",
            Self::Ecdsa => "ecdsa",
        }
    }
}

/// A signature over a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteSignature {
    /// The scheme; a bare signature does not say.
    pub scheme: Option<SignatureScheme>,
    /// The hash; a bare signature does not say.
    pub hash: Option<AlgorithmId>,
    /// RSA: the number, big-endian, of the modulus' length. ECDSA: `ECDSA-Sig-Value` in DER.
    pub value: Vec<u8>,
}

impl QuoteSignature {
    /// Reads a `TPMT_SIGNATURE` to its last byte, or takes the bytes as a bare signature.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub fn read(bytes: &[u8]) -> Result<Self, ParseError> {
        let reader = Reader::new(bytes);
        if bytes.is_empty() || bytes.len() > usize::from(MAX_SIGNATURE).saturating_add(6) {
            let kind = ParseErrorKind::Unexpected {
                found: bytes.len() as u64,
                expected: "a TPMT_SIGNATURE or a bare signature, of 1 to 1030 bytes",
            };
            return Err(reader.error("signature length", kind));
        }
        // A bare RSA signature may begin like a TPMT_SIGNATURE, but its length does not fit one.
        Ok(read_tpmt(reader).unwrap_or_else(|_| Self { scheme: None, hash: None, value: bytes.to_vec() }))
    }
}

fn read_tpmt(mut reader: Reader<'_>) -> Result<QuoteSignature, ParseError> {
    let at = reader;
    let id = reader.u16_be("sigAlg")?;
    let unknown = ParseErrorKind::Unexpected { found: id.into(), expected: "RSASSA, RSAPSS or ECDSA" };
    let scheme = SignatureScheme::of(id).ok_or_else(|| at.error("sigAlg", unknown))?;
    let hash = Some(AlgorithmId(reader.u16_be("hash")?));
    let value = match scheme {
        SignatureScheme::Rsassa | SignatureScheme::Rsapss => {
            sized(&mut reader, "sig", MAX_SIGNATURE)?.to_vec()
        }
        SignatureScheme::Ecdsa => {
            let r = sized(&mut reader, "signatureR", MAX_SCALAR)?;
            let s = sized(&mut reader, "signatureS", MAX_SCALAR)?;
            ecdsa_der(r, s).ok_or_else(|| at.error("signatureR", ParseErrorKind::Invalid("is no number")))?
        }
    };
    reader.expect_end("TPMT_SIGNATURE")?;
    Ok(QuoteSignature { scheme: Some(scheme), hash, value })
}

/// `ECDSA-Sig-Value` (RFC 3279) of two big-endian numbers.
pub(super) fn ecdsa_der(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let mut sequence = SequenceOf::<UintRef<'_>, 2>::new();
    sequence.add(UintRef::new(r).ok()?).ok()?;
    sequence.add(UintRef::new(s).ok()?).ok()?;
    sequence.to_der().ok()
}
