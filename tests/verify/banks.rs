//! What a register's events are in a bank in which that register was not quoted: nothing.

use std::collections::BTreeSet;

use premeasure::attest::{Appraisal, Code, Policy, Selection};
use premeasure::import::{Accepts, Component, PolicyValues, Record};
use premeasure::tcg::eventlog::EventLog;
use premeasure::tcg::{Digest, DigestSet, HashAlgorithm, PcrIndex};

use crate::forge::{Forge, NONCE, boundaries, log, policy, verifier};

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;
const SHA384: HashAlgorithm = HashAlgorithm::Sha384;

/// Digests of PCR 4 in one bank, and of PCR 7 in both.
fn components(four: &[Digest]) -> Policy {
    let bytes = log();
    let log = EventLog::parse(&bytes[..]).expect("sound");
    let record =
        |pcr: u8, digests: DigestSet| Record { pcr: PcrIndex::new(pcr), digests, description: String::new() };
    let seven = log.events().filter(|event| event.register == 7 && event.event_type.0 != 3).map(|event| {
        record(7, [SHA256, SHA384].into_iter().filter_map(|bank| event.digests.get(bank)).collect())
    });
    let four = four.iter().map(|digest| record(4, [*digest].into_iter().collect()));
    let component = |name: &str, records: Vec<Record>| Component {
        name: name.to_owned(),
        variants: vec![records],
        optional: false,
    };
    let components = vec![component("four", four.collect()), component("seven", seven.collect())];
    let values = PolicyValues { format: "test", accepts: Accepts::Components(components) };
    let enforce: BTreeSet<PcrIndex> = [4, 7].map(PcrIndex::new).into();
    Policy::from_values(&values, Digest::zero(SHA256), &Selection { enforce, ..Selection::default() })
        .expect("a policy")
}

fn digests_of_pcr4(bank: HashAlgorithm) -> Vec<Digest> {
    let bytes = log();
    let log = EventLog::parse(&bytes[..]).expect("sound");
    let events = log.events().filter(|event| event.register == 4 && event.event_type.0 != 3);
    events.map(|event| event.digests.get(bank).expect("a digest")).collect()
}

/// The log with another SHA-384 digest in the last event of PCR 4.
fn with_last_of_pcr4(digest: Digest) -> Vec<u8> {
    let mut bytes = log();
    let is_four = |start: &&usize| bytes[**start..].starts_with(&[4, 0, 0, 0]);
    let starts = boundaries(&bytes);
    let start = *starts[..starts.len() - 1].iter().rfind(is_four).expect("PCR 4");
    let last = *digests_of_pcr4(SHA384).last().expect("one");
    let at = bytes[start..].windows(48).position(|window| window == last.as_bytes()).expect("its digest");
    bytes[start + at..start + at + 48].copy_from_slice(digest.as_bytes());
    bytes
}

fn quoted(selection: &[(HashAlgorithm, &[u8])], log: Vec<u8>, policy: Policy) -> Appraisal {
    let selection = selection.iter().map(|(bank, pcrs)| (*bank, pcrs.to_vec())).collect();
    let forge = Forge { selection, log: Some(log), ..Forge::honest() };
    verifier(policy).appraise(&forge.evidence(), NONCE)
}

/// The policy knows the last event of PCR 4 in SHA-384 only, and only PCR 7 was quoted in SHA-384: what the log claims for
/// PCR 4 there may be anything.
#[test]
fn a_digest_in_a_bank_that_was_not_quoted_for_the_register_is_no_proof() {
    let wanted = Digest::of(SHA384, b"the good kernel");
    let mut four = digests_of_pcr4(SHA256);
    *four.last_mut().expect("one") = wanted;
    let forged = quoted(&[(SHA256, &[4]), (SHA384, &[7])], with_last_of_pcr4(wanted), components(&four));
    let codes: Vec<_> = forged.refusals.iter().map(|refusal| (refusal.code, refusal.pcr)).collect();
    assert_eq!(codes, [(Code::EventMismatch, Some(PcrIndex::new(4)))], "{:#?}", forged.refusals);
    // Nor is what the log says the truth, when it is: the quote does not cover it.
    let mut four = digests_of_pcr4(SHA256);
    *four.last_mut().expect("one") = *digests_of_pcr4(SHA384).last().expect("one");
    let uncovered = quoted(&[(SHA256, &[4]), (SHA384, &[7])], log(), components(&four));
    assert!(uncovered.has(Code::EventMismatch));
    // With both banks quoted it is covered, and the invented one is not what the register holds.
    let both = &[(SHA256, &[4, 7][..]), (SHA384, &[4, 7][..])];
    let covered = quoted(both, log(), components(&four));
    assert!(covered.is_affirming(), "{:#?}", covered.refusals);
    let mut four = digests_of_pcr4(SHA256);
    *four.last_mut().expect("one") = wanted;
    let appraisal = quoted(both, with_last_of_pcr4(wanted), components(&four));
    assert!(appraisal.has(Code::LogMismatch), "{:#?}", appraisal.refusals);
    // Registers that are quoted in different banks are fine, each in its own.
    let apart = quoted(&[(SHA256, &[4]), (SHA384, &[7])], log(), components(&digests_of_pcr4(SHA256)));
    assert!(apart.is_affirming(), "{:#?}", apart.refusals);
}

/// A document has its events in all banks: those that the register was not quoted in don't count for it either way.
#[test]
fn documents_compare_events_in_the_banks_of_their_register() {
    let selection = || Selection { enforce: [4, 9].map(PcrIndex::new).into(), ..Selection::default() };
    let quote: &[(HashAlgorithm, &[u8])] = &[(SHA256, &[4]), (SHA384, &[9])];
    assert!(quoted(quote, log(), policy(&selection())).is_affirming());
    // Invented in a bank that nobody quoted for PCR 4: as in a quote of SHA-256 alone.
    let invented = with_last_of_pcr4(Digest::of(SHA384, b"invented"));
    for quote in [quote, &[(SHA256, &[4, 9])]] {
        let appraisal = quoted(quote, invented.clone(), policy(&selection()));
        assert!(appraisal.is_affirming(), "{:#?}", appraisal.refusals);
    }
    let appraisal = quoted(&[(SHA384, &[4, 9])], invented, policy(&selection()));
    assert!(appraisal.has(Code::LogMismatch), "{:#?}", appraisal.refusals);
}
