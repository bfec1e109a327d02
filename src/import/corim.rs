//! CoRIM (draft-ietf-rats-corim-11): each reference triple is an acceptable boot. Of a signed one the payload is read; its
//! signature is another matter.

use ciborium::Value as Cbor;

use super::{Boot, ImportError, PolicyValues, boots, content, pcr};
use crate::tcg::{Digest, HashAlgorithm};

const FORMAT: &str = "corim";

/// CBOR tags of the draft.
const COSE_SIGN1: u64 = 18;
const CORIM: u64 = 501;
const COMID: u64 = 506;

/// Reads every CoMID of a CoRIM.
pub(super) fn read(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    let corim = match decode("CoRIM", bytes)? {
        Cbor::Tag(COSE_SIGN1, sign1) => {
            let payload = array(&sign1).and_then(|parts| parts.get(2)).and_then(Cbor::as_bytes);
            decode("payload", payload.ok_or_else(|| bad("COSE_Sign1", "has no payload"))?)?
        }
        plain => plain,
    };
    let Cbor::Tag(CORIM, corim) = corim else { return Err(bad("CoRIM", "expected tag 501")) };
    let tags = member(&corim, 1).and_then(array).ok_or_else(|| bad("tags", "is missing"))?;
    let mut list = Vec::new();
    for tag in tags {
        let Cbor::Tag(COMID, comid) = tag else { continue };
        let comid = decode("CoMID", comid.as_bytes().ok_or_else(|| bad("CoMID", "expected bytes"))?)?;
        let triples = member(&comid, 4).and_then(|triples| member(triples, 0)).and_then(array);
        for (number, triple) in triples.into_iter().flatten().enumerate() {
            list.push(boot(number, triple)?);
        }
    }
    boots(FORMAT, list)
}

fn boot(number: usize, triple: &Cbor) -> Result<Boot, ImportError> {
    let place = format!("reference-triples[{number}]");
    let mut boot = Boot { name: place.clone(), ..Boot::default() };
    let measurements = array(triple).and_then(|parts| parts.get(1)).and_then(array);
    for measurement in measurements.ok_or_else(|| bad(&place, "has no measurements"))? {
        let index = member(measurement, 0).and_then(Cbor::as_integer).and_then(|key| u32::try_from(key).ok());
        let index = index.ok_or_else(|| bad(&place, "expected the number of a PCR as mkey"))?;
        let pcr = pcr(FORMAT, &place, &index.to_string())?;
        let digests = member(measurement, 1).and_then(|values| member(values, 2)).and_then(array);
        for digest in digests.ok_or_else(|| bad(&place, "has no digests"))? {
            let digest = named_digest(digest).ok_or_else(|| {
                bad(&place, "expected digests as pairs of 1, 7 or 8 (SHA-256, SHA-384, SHA-512) and bytes")
            })?;
            boot.add(FORMAT, &place, (pcr, digest))?;
        }
    }
    Ok(boot)
}

/// A digest with its number in IANA's Named Information registry.
fn named_digest(pair: &Cbor) -> Option<Digest> {
    let [number, bytes] = array(pair)? else { return None };
    let bank = match u8::try_from(number.as_integer()?).ok()? {
        1 => HashAlgorithm::Sha256,
        7 => HashAlgorithm::Sha384,
        8 => HashAlgorithm::Sha512,
        _ => return None,
    };
    Digest::from_bytes(bank, bytes.as_bytes()?)
}

fn decode(what: &str, bytes: &[u8]) -> Result<Cbor, ImportError> {
    ciborium::from_reader(bytes).map_err(|error| bad(what, &error.to_string()))
}

fn array(value: &Cbor) -> Option<&[Cbor]> {
    value.as_array().map(Vec::as_slice)
}

/// The member of a map with this number as its key.
fn member(value: &Cbor, key: u8) -> Option<&Cbor> {
    let key = Cbor::from(key);
    value.as_map()?.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
}

fn bad(place: &str, problem: &str) -> ImportError {
    content(FORMAT, place, problem)
}
