//! Quotes of a real TPM implementation, recorded: swtpm 0.7.1 through tpm2-tools 5.4 (`record.sh`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use premeasure::attest::{
    Anchors, Appraisal, AttestationKey, Code, Evidence, PublicArea, Quote, QuoteEvidence, Selection,
    Verifier, read_pcr_values, read_serialized_pcrs,
};
use premeasure::tcg::PcrIndex;
use serde::Deserialize;

use crate::forge::{NOW, log, observed, policy};
use crate::support::read_json;

#[derive(Deserialize)]
pub(crate) struct Recorded {
    pub(crate) nonce: String,
    pcrs: String,
    plain_pcrs: String,
    pub(crate) keys: BTreeMap<String, Parts>,
}

#[derive(Deserialize)]
pub(crate) struct Parts {
    pub(crate) public: String,
    pub(crate) message: String,
    pub(crate) signature: String,
    plain_message: String,
    plain_signature: String,
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hexadecimal")
}

pub(crate) fn recorded() -> Recorded {
    read_json(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify/quotes.json"))
}

fn appraise(key: AttestationKey, quote: QuoteEvidence<'_>, enforce: &[u8]) -> Appraisal {
    let enforce = enforce.iter().map(|pcr| PcrIndex::new(*pcr)).collect();
    let policy = policy(&Selection { enforce, ..Selection::default() });
    let verifier = Verifier { policy, pinned: Some(key), anchors: Anchors::default(), at: NOW };
    let log = Cow::Owned(log());
    verifier.appraise(&Evidence::of_quote(quote, vec![log]), &bytes(&recorded().nonce))
}

fn quote(message: &str, signature: &str, pcrs: &str) -> QuoteEvidence<'static> {
    let message = bytes(message);
    let selection = Quote::read(&message).expect("a quote").selection;
    let values = read_pcr_values(&bytes(pcrs), &selection).expect("values");
    QuoteEvidence {
        message: Cow::Owned(message),
        signature: Cow::Owned(bytes(signature)),
        values: Some(values),
    }
}

#[test]
fn quotes_of_every_kind_of_key_are_accepted() {
    let recorded = recorded();
    assert_eq!(recorded.keys.len(), 7);
    for (name, parts) in &recorded.keys {
        let key = || AttestationKey::read(&bytes(&parts.public)).expect("a key");
        let full = appraise(
            key(),
            quote(&parts.message, &parts.signature, &recorded.pcrs),
            &[4, 8, 9, 11, 12, 13, 14],
        );
        assert!(full.is_affirming(), "{name}: {:#?}", full.refusals);
        let signer = full.signer.expect("a signer");
        assert!(signer.attributes_checked);
        assert_eq!(signer.primary_of, Some("endorsement"), "{name}");
        let plain = quote(&parts.plain_message, &parts.plain_signature, &recorded.plain_pcrs);
        let plain = appraise(key(), plain, &[4, 9]);
        assert!(plain.is_affirming(), "{name}: {:#?}", plain.refusals);
    }
}

/// Witness: the values that the guest read from its TPM.
#[test]
fn both_forms_of_pcr_values_are_read() {
    let recorded = recorded();
    let values = read_serialized_pcrs(&bytes(&recorded.pcrs)).expect("values");
    let mut count = 0;
    for (bank, pcrs) in values.banks() {
        for (pcr, value) in pcrs {
            assert_eq!(observed().get(bank, *pcr), Some(*value));
            count += 1;
        }
    }
    assert_eq!(count, 10);
}

/// No signature fits another message, key or hash.
#[test]
fn signatures_do_not_fit_anything_else() {
    let recorded = recorded();
    for (name, parts) in &recorded.keys {
        for (other, others) in recorded.keys.iter().filter(|(other, _)| *other != name) {
            let key = AttestationKey::read(&bytes(&parts.public)).expect("a key");
            let appraisal = appraise(
                key,
                quote(&others.message, &others.signature, &recorded.pcrs),
                &[4, 8, 9, 11, 12, 13, 14],
            );
            let refused = appraisal.has(Code::SignatureInvalid) || appraisal.has(Code::SignatureAlgorithm);
            assert!(refused, "{other} by {name}: {:?}", appraisal.refusals);
        }
    }
}

/// Every bit of the message and of the signature counts.
#[test]
fn changed_bytes_are_noticed() {
    let recorded = recorded();
    let parts = &recorded.keys["ecc256:ecdsa-sha256"];
    let enforced = Selection { enforce: [PcrIndex::new(4)].into(), ..Selection::default() };
    let pinned = Some(AttestationKey::read(&bytes(&parts.public)).expect("a key"));
    let verifier = Verifier { policy: policy(&enforced), pinned, anchors: Anchors::default(), at: NOW };
    let good = quote(&parts.message, &parts.signature, &recorded.pcrs);
    for at in 0..good.message.len() {
        let mut changed = good.clone();
        changed.message.to_mut()[at] ^= 0x10;
        let evidence = Evidence::of_quote(changed, Vec::new());
        assert!(!verifier.appraise(&evidence, &bytes(&recorded.nonce)).is_affirming(), "message byte {at}");
    }
    for at in 0..good.signature.len() {
        let mut changed = good.clone();
        changed.signature.to_mut()[at] ^= 0x10;
        let evidence = Evidence::of_quote(changed, Vec::new());
        assert!(!verifier.appraise(&evidence, &bytes(&recorded.nonce)).is_affirming(), "signature byte {at}");
    }
}

/// A key that may sign what it is given would sign a forged quote.
#[test]
fn keys_that_are_no_attestation_keys() {
    let recorded = recorded();
    let parts = &recorded.keys["rsa2048:rsassa-sha256"];
    let public = bytes(&parts.public);
    // TPM2B size, type, nameAlg, then objectAttributes.
    for (bit, at, name) in
        [(0x01, 7, "restricted"), (0x04, 7, "sign"), (0x02, 9, "fixedTPM"), (0x10, 9, "fixedParent")]
    {
        let mut changed = public.clone();
        changed[at] ^= bit;
        let key = AttestationKey::read(&changed).expect("a key");
        let appraisal = appraise(
            key,
            quote(&parts.message, &parts.signature, &recorded.pcrs),
            &[4, 8, 9, 11, 12, 13, 14],
        );
        assert!(appraisal.has(Code::KeyAttributes), "{name}: {:?}", appraisal.refusals);
        assert!(appraisal.refusals[0].detail.contains(name), "{name}: {:?}", appraisal.refusals);
    }
    assert!(PublicArea::read(&public[..public.len() - 1]).is_err());
    assert!(PublicArea::read(&[&public[..], &[0]].concat()).is_err());
}
