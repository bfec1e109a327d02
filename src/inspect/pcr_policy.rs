//! `.pcrpkey` and `.pcrsig`: the key and the signatures of a signed PCR policy (systemd-measure(1)).

use std::collections::{BTreeMap, BTreeSet};

use der::{Decode, SliceReader};
use serde::{Deserialize, Serialize};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::tcg::{Digest, HashAlgorithm};

/// The key of `.pcrpkey`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PcrPublicKey {
    /// SHA-256 over the DER `SubjectPublicKeyInfo`.
    pub spki_sha256: String,
    /// SHA-256 over the key alone (RSA: `RSAPublicKey`, OpenSSL's `i2d_PublicKey`): the `pkfp` of `.pcrsig`.
    pub pkfp: String,
}

/// The signatures of one bank in `.pcrsig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PcrSignatureBank {
    /// The bank, as written.
    pub bank: String,
    /// How many signatures there are: one per phase of the boot and variant of the image.
    pub signatures: usize,
    /// The PCRs that they are about.
    pub pcrs: BTreeSet<u32>,
    /// The keys that they were made with (`pkfp`).
    pub keys: BTreeSet<String>,
}

/// Reads `.pcrpkey`: a public key in PEM.
pub(super) fn pcr_public_key(bytes: &[u8]) -> Result<PcrPublicKey, String> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let (label, der) = der::pem::decode_vec(text).map_err(|error| format!("not a PEM file: {error}"))?;
    if label != "PUBLIC KEY" {
        return Err(format!("holds a {label}, expected a PUBLIC KEY"));
    }
    let read = || -> der::Result<Vec<u8>> {
        let info: SubjectPublicKeyInfoRef<'_> =
            SubjectPublicKeyInfoRef::decode(&mut SliceReader::new(&der)?)?;
        // A bit string of whole bytes; what is in it depends on the algorithm.
        Ok(info.subject_public_key.raw_bytes().to_vec())
    };
    let key = read().map_err(|error| format!("no SubjectPublicKeyInfo: {error}"))?;
    Ok(PcrPublicKey {
        spki_sha256: Digest::of(HashAlgorithm::Sha256, &der).to_string(),
        pkfp: Digest::of(HashAlgorithm::Sha256, &key).to_string(),
    })
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    pcrs: Vec<u32>,
    #[serde(default)]
    pkfp: Option<String>,
}

/// Reads `.pcrsig`: JSON, bank by bank. ukify pads it with spaces, older tools with zero bytes.
pub(super) fn pcr_signatures(bytes: &[u8]) -> Result<Vec<PcrSignatureBank>, String> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let banks: BTreeMap<String, Vec<Entry>> =
        serde_json::from_slice(text).map_err(|error| format!("not the JSON of systemd-measure: {error}"))?;
    let summary = banks.into_iter().map(|(bank, entries)| PcrSignatureBank {
        bank,
        signatures: entries.len(),
        pcrs: entries.iter().flat_map(|entry| entry.pcrs.iter().copied()).collect(),
        keys: entries.into_iter().filter_map(|entry| entry.pkfp).collect(),
    });
    Ok(summary.collect())
}
