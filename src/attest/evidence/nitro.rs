//! The attestation document of AWS NitroTPM: COSE_Sign1 (RFC 9052) by ES384 over a CBOR map, with the chain inside.
//!
//! Documents of Nitro *Enclaves* are signed under the same root; they have `pcrs` instead of `nitrotpm_pcrs`, which is why
//! the name of that member is required.

use minicbor::Decoder;
use minicbor::data::Type;

use crate::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues};

/// COSE's number of ES384, negated and less one: the value -35.
const ES384: i64 = -35;
/// Largest document, in bytes; real ones have 5,000.
const MAX_DOCUMENT: usize = 64 << 10;
/// Certificates in `cabundle`; real ones have four.
const MAX_BUNDLE: u64 = 16;
/// Members of the map; real ones have nine.
const MAX_MEMBERS: u64 = 64;
/// Coordinates of a point on P-384, and the numbers of a signature, in bytes.
const P384_SIZE: usize = 48;

/// A document, read but not verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::attest) struct Document {
    /// `Sig_structure`: what was signed.
    pub(in crate::attest) signed: Vec<u8>,
    /// The two numbers of the signature.
    pub(in crate::attest) signature: (Vec<u8>, Vec<u8>),
    /// `module_id`.
    pub(in crate::attest) module: String,
    /// `timestamp`, in milliseconds since 1970.
    pub(in crate::attest) timestamp: u64,
    /// `nitrotpm_pcrs`, of SHA-384.
    pub(in crate::attest) values: PcrValues,
    /// `certificate`.
    pub(in crate::attest) certificate: Vec<u8>,
    /// `cabundle`.
    pub(in crate::attest) bundle: Vec<Vec<u8>>,
    /// `public_key`.
    pub(in crate::attest) public_key: Option<Vec<u8>>,
    /// `nonce`.
    pub(in crate::attest) nonce: Option<Vec<u8>>,
}

/// Why it can't be read.
type Problem = String;

impl Document {
    /// Reads a document to its last byte.
    pub(in crate::attest) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.len() > MAX_DOCUMENT {
            return Err(format!("{} bytes, the limit is {MAX_DOCUMENT}", bytes.len()));
        }
        let mut decoder = Decoder::new(bytes);
        if decoder.datatype().map_err(text)? == Type::Tag {
            let tag = decoder.tag().map_err(text)?.as_u64();
            if tag != 18 {
                return Err(format!("CBOR tag {tag}, expected 18 (COSE_Sign1)"));
            }
        }
        if decoder.array().map_err(text)? != Some(4) {
            return Err("no array of four members (COSE_Sign1)".to_owned());
        }
        let protected = decoder.bytes().map_err(text)?;
        require_es384(protected)?;
        decoder.skip().map_err(text)?; // the unprotected header says nothing that counts
        let payload = decoder.bytes().map_err(text)?;
        let signature = decoder.bytes().map_err(text)?;
        if decoder.position() != bytes.len() {
            return Err("bytes follow the document".to_owned());
        }
        let mut document = Self { signed: sig_structure(protected, payload), ..Self::default() };
        match signature.split_at_checked(P384_SIZE) {
            Some((r, s)) if s.len() == P384_SIZE => document.signature = (r.to_vec(), s.to_vec()),
            _ => return Err(format!("a signature of {} bytes, expected 96 (ES384)", signature.len())),
        }
        document.read_payload(payload)?;
        Ok(document)
    }

    fn read_payload(&mut self, payload: &[u8]) -> Result<(), Problem> {
        let mut decoder = Decoder::new(payload);
        let count = decoder.map().map_err(text)?;
        let mut seen: Vec<&str> = Vec::new();
        entries(&mut decoder, count, "payload", MAX_MEMBERS, |decoder| {
            let name = decoder.str().map_err(text)?;
            if seen.contains(&name) {
                return Err(format!("member {name:?} is there twice"));
            }
            seen.push(name);
            self.read_member(name, decoder)
        })?;
        if decoder.position() != payload.len() {
            return Err("bytes follow the payload".to_owned());
        }
        for required in ["digest", "nitrotpm_pcrs", "certificate", "cabundle", "timestamp"] {
            if !seen.contains(&required) {
                return Err(format!("the payload has no {required}: it is no document of a NitroTPM"));
            }
        }
        Ok(())
    }

    fn read_member(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Result<(), Problem> {
        match name {
            "module_id" => decoder.str().map_err(text)?.clone_into(&mut self.module),
            "timestamp" => self.timestamp = decoder.u64().map_err(text)?,
            "digest" => {
                let digest = decoder.str().map_err(text)?;
                if digest != "SHA384" {
                    return Err(format!("digest is {digest:?}, expected SHA384"));
                }
            }
            "nitrotpm_pcrs" => self.values = read_pcrs(decoder)?,
            "certificate" => self.certificate = decoder.bytes().map_err(text)?.to_vec(),
            "cabundle" => {
                let count = decoder.array().map_err(text)?;
                entries(decoder, count, "cabundle", MAX_BUNDLE, |decoder| {
                    self.bundle.push(decoder.bytes().map_err(text)?.to_vec());
                    Ok(())
                })?;
            }
            "public_key" => self.public_key = optional(decoder)?,
            "nonce" => self.nonce = optional(decoder)?,
            _ => decoder.skip().map_err(text)?,
        }
        Ok(())
    }
}

fn text(error: impl std::fmt::Display) -> Problem {
    error.to_string()
}

/// Goes over the entries of a map or list, of definite or indefinite length; not more than any real document has.
fn entries<'b>(
    decoder: &mut Decoder<'b>,
    count: Option<u64>,
    what: &str,
    limit: u64,
    mut entry: impl FnMut(&mut Decoder<'b>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut read = 0_u64;
    loop {
        match count {
            Some(count) if read >= count => return Ok(()),
            None if decoder.datatype().map_err(text)? == Type::Break => return decoder.skip().map_err(text),
            _ if read >= limit => return Err(format!("{what} has more than {limit} entries")),
            _ => entry(decoder)?,
        }
        read = read.saturating_add(1);
    }
}

/// The protected header is `{1: -35}` and nothing else: another member might be critical.
fn require_es384(protected: &[u8]) -> Result<(), Problem> {
    let mut decoder = Decoder::new(protected);
    let count = decoder.map().map_err(text)?;
    let (label, algorithm) = (decoder.i64().map_err(text)?, decoder.i64().map_err(text)?);
    if count != Some(1) || label != 1 || algorithm != ES384 || decoder.position() != protected.len() {
        return Err("the protected header is not {1: -35} (ES384)".to_owned());
    }
    Ok(())
}

/// `Sig_structure` (RFC 9052, section 4.4) with no external data.
fn sig_structure(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    // Writing into memory can't fail.
    let _ = encoder
        .array(4)
        .and_then(|encoder| encoder.str("Signature1"))
        .and_then(|encoder| encoder.bytes(protected))
        .and_then(|encoder| encoder.bytes(&[]))
        .and_then(|encoder| encoder.bytes(payload));
    encoder.into_writer()
}

fn read_pcrs(decoder: &mut Decoder<'_>) -> Result<PcrValues, Problem> {
    let count = decoder.map().map_err(text)?;
    let mut values = PcrValues::default();
    entries(decoder, count, "nitrotpm_pcrs", PcrIndex::COUNT.into(), |decoder| {
        let index = decoder.u32().map_err(text)?;
        let pcr = PcrIndex::try_from(index).map_err(text)?;
        let bytes = decoder.bytes().map_err(text)?;
        let digest = Digest::from_bytes(HashAlgorithm::Sha384, bytes);
        let digest = digest.ok_or_else(|| format!("PCR {pcr} has {} bytes, expected 48", bytes.len()))?;
        if values.get(HashAlgorithm::Sha384, pcr).is_some() {
            return Err(format!("PCR {pcr} is there twice"));
        }
        values.set(pcr, digest);
        Ok(())
    })?;
    Ok(values)
}

fn optional(decoder: &mut Decoder<'_>) -> Result<Option<Vec<u8>>, Problem> {
    if decoder.datatype().map_err(text)? == Type::Null {
        decoder.null().map_err(text)?;
        return Ok(None);
    }
    decoder.bytes().map(|bytes| Some(bytes.to_vec())).map_err(text)
}
