//! `TPMT_PUBLIC` and `TPM2B_PUBLIC` of an attestation key (Library part 2, section 12.2.4).

use der::Encode;
use der::asn1::{SequenceOf, UintRef};

use super::quote::sized;
use super::signature::SignatureScheme;
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::{AlgorithmId, Digest};

const TPM_ALG_RSA: u16 = 0x0001;
const TPM_ALG_ECC: u16 = 0x0023;
const TPM_ALG_NULL: u16 = 0x0010;
const TPM_ECC_NIST_P256: u16 = 0x0003;
const TPM_ECC_NIST_P384: u16 = 0x0004;
/// Largest structure that is read, in bytes.
const MAX_PUBLIC: usize = 2 << 10;
/// RFC 8017's F4: what a zero exponent stands for.
const DEFAULT_EXPONENT: u32 = 65_537;

/// `TPMA_OBJECT` bits that make a key one that only states what the TPM itself knows, in the order of the report.
const REQUIRED: [(u32, &str); 5] = [
    (1 << 1, "fixedTPM"),
    (1 << 4, "fixedParent"),
    (1 << 5, "sensitiveDataOrigin"),
    (1 << 16, "restricted"),
    (1 << 18, "sign"),
];
const DECRYPT: u32 = 1 << 17;

/// The public area of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicArea {
    /// `nameAlg`.
    pub name_algorithm: AlgorithmId,
    /// `objectAttributes`.
    pub attributes: u32,
    /// The key.
    pub parameters: KeyParameters,
    /// The scheme and hash that the key is bound to; `None` for `TPM_ALG_NULL`.
    pub scheme: Option<Scheme>,
    /// The whole `TPMT_PUBLIC`.
    encoded: Vec<u8>,
}

/// The public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyParameters {
    /// `RSAPublicKey` in DER.
    Rsa(Vec<u8>),
    /// Uncompressed point on P-256.
    P256(Vec<u8>),
    /// Uncompressed point on P-384.
    P384(Vec<u8>),
}

/// `TPMT_ASYM_SCHEME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// How it signs.
    pub scheme: SignatureScheme,
    /// With which hash.
    pub hash: AlgorithmId,
}

impl PublicArea {
    /// Reads a `TPM2B_PUBLIC` or `TPMT_PUBLIC`, to its last byte.
    ///
    /// # Errors
    /// Where it is neither, or a key that can't sign quotes here.
    pub fn read(bytes: &[u8]) -> Result<Self, ParseError> {
        let reader = Reader::new(bytes);
        if bytes.len() > MAX_PUBLIC {
            let kind = ParseErrorKind::TooLarge { found: bytes.len() as u64, limit: MAX_PUBLIC as u64 };
            return Err(reader.error("TPM2B_PUBLIC", kind));
        }
        // The size of a TPM2B_PUBLIC is never 1 or 0x23, the types that a TPMT_PUBLIC begins with: both are shorter than
        // the shortest key.
        let mut sized_area = reader;
        let size = sized_area.u16_be("size")?;
        if usize::from(size) == sized_area.remaining() {
            Self::read_area(sized_area)
        } else {
            Self::read_area(reader)
        }
    }

    fn read_area(mut reader: Reader<'_>) -> Result<Self, ParseError> {
        let encoded = reader.peek().to_vec();
        let at = reader;
        let kind = reader.u16_be("type")?;
        let name_algorithm = AlgorithmId(reader.u16_be("nameAlg")?);
        let attributes = reader.u32_be("objectAttributes")?;
        sized(&mut reader, "authPolicy", 64)?;
        let (parameters, scheme) = match kind {
            TPM_ALG_RSA => read_rsa(&mut reader)?,
            TPM_ALG_ECC => read_ecc(&mut reader)?,
            found => {
                let expected = "TPM_ALG_RSA (1) or TPM_ALG_ECC (0x23)";
                return Err(at.error("type", ParseErrorKind::Unexpected { found: found.into(), expected }));
            }
        };
        reader.expect_end("TPMT_PUBLIC")?;
        Ok(Self { name_algorithm, attributes, parameters, scheme, encoded })
    }

    /// `nameAlg || H(TPMT_PUBLIC)`; `None` when the hash is none that we compute.
    #[must_use]
    pub fn name(&self) -> Option<Vec<u8>> {
        let digest = Digest::of(self.name_algorithm.known()?, &self.encoded);
        let mut name = self.name_algorithm.0.to_be_bytes().to_vec();
        name.extend_from_slice(digest.as_bytes());
        Some(name)
    }

    /// What is missing for an attestation key, in words; empty for a good one.
    #[must_use]
    pub fn objections(&self) -> Vec<String> {
        let missing = REQUIRED.iter().filter(|(bit, _)| self.attributes & bit == 0);
        let mut objections: Vec<String> = missing.map(|(_, name)| format!("{name} is not set")).collect();
        if self.attributes & DECRYPT != 0 {
            objections.push("decrypt is set".to_owned());
        }
        objections
    }
}

/// `TPMT_SYM_DEF_OBJECT`: only restricted decryption keys have one.
fn no_symmetric(reader: &mut Reader<'_>) -> Result<(), ParseError> {
    let at = *reader;
    match reader.u16_be("symmetric")? {
        TPM_ALG_NULL => Ok(()),
        found => {
            let expected = "TPM_ALG_NULL (0x10): with a symmetric algorithm it is a storage key";
            Err(at.error("symmetric", ParseErrorKind::Unexpected { found: found.into(), expected }))
        }
    }
}

fn read_scheme(reader: &mut Reader<'_>) -> Result<Option<Scheme>, ParseError> {
    let at = *reader;
    let id = reader.u16_be("scheme")?;
    if id == TPM_ALG_NULL {
        return Ok(None);
    }
    let unknown =
        ParseErrorKind::Unexpected { found: id.into(), expected: "RSASSA, RSAPSS, ECDSA or TPM_ALG_NULL" };
    let scheme = SignatureScheme::of(id).ok_or_else(|| at.error("scheme", unknown))?;
    Ok(Some(Scheme { scheme, hash: AlgorithmId(reader.u16_be("scheme.hashAlg")?) }))
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<(KeyParameters, Option<Scheme>), ParseError> {
    no_symmetric(reader)?;
    let scheme = read_scheme(reader)?;
    let at = *reader;
    reader.u16_be("keyBits")?;
    let exponent = match reader.u32_be("exponent")? {
        0 => DEFAULT_EXPONENT,
        exponent => exponent,
    };
    let modulus = sized(reader, "unique", 1024)?;
    let key = rsa_public_key(modulus, exponent);
    let key = key.ok_or_else(|| at.error("unique", ParseErrorKind::Invalid("is no modulus")))?;
    Ok((KeyParameters::Rsa(key), scheme))
}

/// `RSAPublicKey` (RFC 8017, A.1.1).
pub(super) fn rsa_public_key(modulus: &[u8], exponent: u32) -> Option<Vec<u8>> {
    let exponent = exponent.to_be_bytes();
    let mut sequence = SequenceOf::<UintRef<'_>, 2>::new();
    sequence.add(UintRef::new(modulus).ok()?).ok()?;
    sequence.add(UintRef::new(&exponent).ok()?).ok()?;
    sequence.to_der().ok()
}

fn read_ecc(reader: &mut Reader<'_>) -> Result<(KeyParameters, Option<Scheme>), ParseError> {
    no_symmetric(reader)?;
    let scheme = read_scheme(reader)?;
    let at = *reader;
    let curve = reader.u16_be("curveID")?;
    let kdf = reader.u16_be("kdf")?;
    if kdf != TPM_ALG_NULL {
        reader.u16_be("kdf.hashAlg")?;
    }
    let x = sized(reader, "unique.x", 66)?;
    let y = sized(reader, "unique.y", 66)?;
    let key = match curve {
        TPM_ECC_NIST_P256 => point(x, y, 32).map(KeyParameters::P256),
        TPM_ECC_NIST_P384 => point(x, y, 48).map(KeyParameters::P384),
        found => {
            let expected = "TPM_ECC_NIST_P256 (3) or TPM_ECC_NIST_P384 (4)";
            return Err(at.error("curveID", ParseErrorKind::Unexpected { found: found.into(), expected }));
        }
    };
    let wrong = ParseErrorKind::Invalid("has more bytes than the curve");
    Ok((key.ok_or_else(|| at.error("unique", wrong))?, scheme))
}

/// An uncompressed point (SEC 1, section 2.3.3); a TPM may leave leading zeros out.
pub(super) fn point(x: &[u8], y: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for number in [x, y] {
        let padding = size.checked_sub(number.len())?;
        point.extend(std::iter::repeat_n(0, padding));
        point.extend_from_slice(number);
    }
    Some(point)
}
