//! Keys that certificates vouch for. `certificates/make.py` made them.

use std::path::Path;

use premeasure::attest::{
    Anchors, Appraisal, AttestationKey, Code, Selection, Timestamp, Verifier, read_certificates,
};

use crate::forge::{Forge, NONCE, NOW, policy};
use crate::support::read;

fn file(name: &str) -> Vec<u8> {
    read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify/certificates").join(name))
}

fn appraise(anchor: &str, leaf: &str, between: &[&str], at: Timestamp) -> Appraisal {
    let mut anchors = Anchors::default();
    anchors.add(&file(anchor)).expect("an anchor");
    let verifier = Verifier { policy: policy(&Selection::default()), pinned: None, anchors, at };
    let mut evidence = Forge::honest().evidence();
    evidence.certificate = read_certificates(&file(leaf)).expect("a certificate").pop();
    let pool = between.iter().map(|name| read_certificates(&file(name)).expect("certificates"));
    evidence.intermediates = pool.flatten().collect();
    verifier.appraise(&evidence, NONCE)
}

#[track_caller]
fn refused(appraisal: &Appraisal, code: Code) {
    let codes: Vec<Code> = appraisal.refusals.iter().map(|refusal| refusal.code).collect();
    assert_eq!(codes, [code], "{:#?}", appraisal.refusals);
}

#[test]
fn a_chain_to_a_given_certificate_is_followed() {
    let appraisal = appraise("root.pem", "ak.pem", &["middle.pem"], NOW);
    assert!(appraisal.is_affirming(), "{:#?}", appraisal.refusals);
    assert_eq!(appraisal.signer.expect("a signer").chain, ["AK", "Middle", "Root"]);
    // Any certificate of the chain will do as the trusted one, also the key's own.
    assert!(appraise("middle.pem", "ak.pem", &[], NOW).is_affirming());
    assert!(appraise("ak.pem", "ak.pem", &[], NOW).is_affirming());
    // Others beside it don't matter.
    assert!(
        appraise("root.pem", "ak.pem", &["rogue-root.pem", "too-deep.pem", "middle.pem"], NOW).is_affirming()
    );
}

#[test]
fn chains_that_lead_nowhere() {
    refused(&appraise("root.pem", "ak.pem", &[], NOW), Code::KeyUntrusted);
    // What evidence brings along is never trusted by itself.
    refused(&appraise("root.pem", "ak-of-rogue.pem", &["rogue-root.pem"], NOW), Code::KeyUntrusted);
    refused(
        &appraise("root.pem", "ak-under-leaf.pem", &["ak-other-key.pem", "middle.pem"], NOW),
        Code::KeyUntrusted,
    );
    refused(
        &appraise("root.pem", "ak-too-deep.pem", &["too-deep.pem", "middle.pem"], NOW),
        Code::KeyUntrusted,
    );
    refused(&appraise("root.pem", "ak-unknown-critical.pem", &["middle.pem"], NOW), Code::KeyUntrusted);
}

#[test]
fn certificates_are_valid_for_a_time() {
    refused(&appraise("root.pem", "ak-old.pem", &["middle.pem"], NOW), Code::CertificateExpired);
    let later = Timestamp(NOW.0 + 40 * 31_557_600);
    refused(&appraise("root.pem", "ak.pem", &["middle.pem"], later), Code::CertificateExpired);
    let earlier: Timestamp = "2025-12-31T23:59:59Z".parse().expect("a time");
    refused(&appraise("root.pem", "ak.pem", &["middle.pem"], earlier), Code::CertificateExpired);
}

#[test]
fn the_certificate_of_another_key() {
    refused(&appraise("root.pem", "ak-other-key.pem", &["middle.pem"], NOW), Code::SignatureInvalid);
    let mut anchors = Anchors::default();
    anchors.add(&file("root.pem")).expect("an anchor");
    let pinned = Some(Forge::honest().key());
    let verifier = Verifier { policy: policy(&Selection::default()), pinned, anchors, at: NOW };
    let mut evidence = Forge::honest().evidence();
    refused(&verifier.appraise(&evidence, NONCE), Code::KeyUntrusted);
    evidence.intermediates = read_certificates(&file("middle.pem")).expect("a certificate");
    evidence.certificate = read_certificates(&file("ak-other-key.pem")).expect("a certificate").pop();
    refused(&verifier.appraise(&evidence, NONCE), Code::KeyUntrusted);
    evidence.certificate = read_certificates(&file("ak.pem")).expect("a certificate").pop();
    assert!(verifier.appraise(&evidence, NONCE).is_affirming());
}

/// A certificate says what its key is for, and only one for attestation keys vouches for one.
#[test]
fn certificates_for_something_else() {
    for (leaf, said) in [
        ("ak-web-server.pem", "extKeyUsage is 1.3.6.1.5.5.7.3.1"),
        ("ak-endorsement.pem", "extKeyUsage is 2.23.133.8.1"),
        ("ak-encipherment.pem", "keyUsage is there without digitalSignature"),
        ("ak-authority.pem", "basicConstraints says cA"),
    ] {
        let appraisal = appraise("root.pem", leaf, &["middle.pem"], NOW);
        refused(&appraisal, Code::KeyUntrusted);
        assert!(appraisal.refusals[0].detail.contains(said), "{:?}", appraisal.refusals);
        // Nor when it is pinned, or trusted itself.
        refused(&appraise(leaf, leaf, &[], NOW), Code::KeyUntrusted);
        let pinned = AttestationKey::read(&file(leaf)).ok();
        let policy = policy(&Selection::default());
        let verifier = Verifier { policy, pinned, anchors: Anchors::default(), at: NOW };
        refused(&verifier.appraise(&Forge::honest().evidence(), NONCE), Code::KeyUntrusted);
    }
    // The two usages of Azure's certificates; those of Google and AWS have none, like ak.pem.
    for leaf in ["ak-tcg.pem", "ak-any.pem"] {
        let appraisal = appraise("root.pem", leaf, &["middle.pem"], NOW);
        assert!(appraisal.is_affirming(), "{leaf}: {:#?}", appraisal.refusals);
    }
}
