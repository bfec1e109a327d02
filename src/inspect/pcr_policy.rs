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

#[cfg(test)]
mod tests {
    use super::*;

    /// `.pcrpkey` of the UKI of boot i-pcrsig-ucode-257.
    const PEM: &str = include_str!("../../fixtures/pe/pcrpkey.pem");

    /// Witness: `pkfp` that `systemd-measure sign` 257 wrote for this key, and `openssl pkey -pubin -outform DER |
    /// sha256sum`.
    #[test]
    fn the_key_has_the_fingerprints_that_others_compute() {
        let key = pcr_public_key(PEM.as_bytes()).expect("a public key");
        assert_eq!(key.pkfp, "8f2eb19d6681914ded5dfed1c49f98d8e5303873e9b14bde3fe60ec6bfbec56d");
        assert_eq!(key.spki_sha256, "083cfdf3004871ca5ab459d73413d30d83b2e3e5158a52c67ee002f92fbe4a10");
        assert_eq!(pcr_public_key(&[PEM.as_bytes(), b"\0\0"].concat()), Ok(key));
    }

    #[test]
    fn what_is_no_key_is_said() {
        for text in ["", "ssh-rsa AAAA", "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n"] {
            assert!(pcr_public_key(text.as_bytes()).is_err(), "{text}");
        }
        assert!(pcr_public_key(PEM.replace("PUBLIC KEY", "CERTIFICATE").as_bytes()).is_err());
    }

    #[test]
    fn signatures_are_counted_per_bank() {
        let text = br#"{"sha256":[{"pcrs":[11],"pkfp":"aa","pol":"bb","sig":"cc"},{"pcrs":[11],"pkfp":"aa",
            "pol":"dd","sig":"ee","ref":"initrd"}],"sha1":[]}   "#;
        let banks = pcr_signatures(&[&text[..], b"\0\0"].concat()).expect("JSON");
        assert_eq!(banks.len(), 2);
        assert_eq!((banks[0].bank.as_str(), banks[0].signatures), ("sha1", 0));
        assert_eq!((banks[1].signatures, banks[1].pcrs.len(), banks[1].keys.len()), (2, 1, 1));
        assert!(pcr_signatures(b"    ").is_err());
    }
}
