//! Everything that must not be believed, each with its reason.

use premeasure::attest::{Appraisal, Class, Code, Policy, PolicyError, Selection, Verdict};
use premeasure::import::{Accepts, Boot, BootValue, PolicyValues};
use premeasure::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues};

use crate::forge::{Forge, NONCE, boundaries, log, observed, policy, record, verifier};

const EV_NO_ACTION: u32 = 3;
const EV_SEPARATOR: u32 = 4;
const EV_VARIABLE: u32 = 0x8000_0001;
const UNKNOWN_TYPE: u32 = 0x8000_7777;
const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

fn codes(appraisal: &Appraisal) -> Vec<&'static str> {
    let mut codes: Vec<&str> = appraisal.refusals.iter().map(|refusal| refusal.code.name()).collect();
    codes.dedup();
    codes
}

#[track_caller]
fn refused(forge: &Forge, code: Code) {
    let appraisal = forge.appraise();
    assert!(!appraisal.is_affirming());
    assert_eq!(codes(&appraisal), [code.name()], "{:#?}", appraisal.refusals);
}

/// What all others differ from in one point.
#[test]
fn an_honest_quote_is_accepted() {
    let appraisal = Forge::honest().appraise();
    assert!(appraisal.is_affirming(), "{:#?}", appraisal.refusals);
    assert!(appraisal.warnings.is_empty());
    let enforced: Vec<u8> = appraisal
        .pcrs
        .iter()
        .filter(|entry| entry.class == Class::Enforced)
        .map(|entry| {
            assert_eq!((entry.verdict, entry.replayed), (Verdict::Match, Some(true)), "PCR {}", entry.pcr);
            entry.pcr.get()
        })
        .collect();
    assert_eq!(enforced, [4, 8, 9, 11, 12, 13, 14, 15]);
}

#[test]
fn the_log_alone_gives_the_values() {
    let forge = Forge { claimed: None, ..Forge::honest() };
    assert!(forge.appraise().is_affirming(), "{:#?}", forge.appraise().refusals);
    refused(&Forge { log: None, ..forge }, Code::PcrsMissing);
}

#[test]
fn a_replayed_nonce() {
    refused(&Forge { nonce: vec![0x5B; 32], ..Forge::honest() }, Code::NonceMismatch);
    refused(&Forge { nonce: NONCE[..31].to_vec(), ..Forge::honest() }, Code::NonceMismatch);
    refused(&Forge { nonce: [NONCE, &[0]].concat(), ..Forge::honest() }, Code::NonceMismatch);
    // An empty nonce on both sides is no nonce.
    let empty = Forge { nonce: Vec::new(), ..Forge::honest() };
    let appraisal = verifier(policy(&Selection::default())).appraise(&empty.evidence(), &[]);
    assert!(appraisal.has(Code::NonceMismatch));
}

#[test]
fn structures_that_no_tpm_makes() {
    refused(&Forge { magic: 0xFF54_4348, ..Forge::honest() }, Code::QuoteNotGenerated);
    refused(&Forge { kind: 0x8017, ..Forge::honest() }, Code::QuoteType);
    refused(&Forge { trailing: vec![0], ..Forge::honest() }, Code::QuoteMalformed);
    let pcrs = vec![4, 8, 9, 11, 12, 13, 14, 15];
    let twice = vec![(SHA256, pcrs.clone()), (SHA256, pcrs)];
    refused(&Forge { selection: twice, ..Forge::honest() }, Code::QuoteMalformed);
}

#[test]
fn a_substituted_key() {
    refused(&Forge { scalar: [8; 32], ..Forge::honest() }, Code::SignatureInvalid);
    // What the evidence says about the key is no trust anchor: neither another one's name for an honest quote, nor both.
    let other = Forge { scalar: [8; 32], ..Forge::honest() };
    for forge in [Forge::honest(), other.clone()] {
        let mut evidence = forge.evidence();
        evidence.claimed_key = Some(Box::new(other.key()));
        let appraisal = verifier(policy(&Selection::default())).appraise(&evidence, NONCE);
        assert_eq!(codes(&appraisal), ["evidence-unbound"]);
    }
    // A message that was changed after it was signed.
    let forge = Forge::honest();
    let mut evidence = forge.evidence();
    let quote = evidence.quotes.first_mut().expect("one");
    let at = quote.message.len() - 1;
    quote.message.to_mut()[at] ^= 1;
    let appraisal = verifier(policy(&Selection::default())).appraise(&evidence, NONCE);
    assert_eq!(codes(&appraisal), ["signature-invalid"]);
}

#[test]
fn values_that_were_not_quoted() {
    let mut claimed = observed();
    claimed.set(PcrIndex::new(11), Digest::zero(SHA256));
    refused(&Forge { claimed: Some(claimed), ..Forge::honest() }, Code::PcrDigestMismatch);
    let mut fewer = PcrValues::default();
    fewer.set(PcrIndex::new(4), observed().get(SHA256, PcrIndex::new(4)).expect("PCR 4"));
    refused(&Forge { claimed: Some(fewer), ..Forge::honest() }, Code::PcrsMissing);
}

/// Right values beside a quote that does not cover them prove nothing.
#[test]
fn a_wrong_selection() {
    let selection = vec![(SHA256, vec![4, 8, 9, 12, 13, 14, 15])];
    let appraisal = Forge { selection, ..Forge::honest() }.appraise();
    assert_eq!(codes(&appraisal), ["pcr-not-quoted"]);
    assert_eq!(appraisal.refusals[0].pcr, Some(PcrIndex::new(11)));
    let nothing = Forge { selection: vec![(SHA256, Vec::new())], ..Forge::honest() };
    assert!(!nothing.appraise().is_affirming());
    let no_bank = Forge { selection: Vec::new(), ..Forge::honest() };
    assert!(!no_bank.appraise().is_affirming());
}

#[test]
fn sha1_only() {
    let selection = vec![(HashAlgorithm::Sha1, vec![4, 8, 9, 11, 12, 13, 14, 15])];
    refused(&Forge { selection, ..Forge::honest() }, Code::BankWeak);
}

#[test]
fn a_bank_that_the_policy_does_not_have() {
    let selection = vec![(HashAlgorithm::Sha512, vec![4, 8, 9, 11, 12, 13, 14, 15])];
    refused(&Forge { selection, ..Forge::honest() }, Code::BankNotInPolicy);
}

/// A good value in one bank does not make up for a bad one in another.
#[test]
fn banks_that_contradict_each_other() {
    let pcrs = vec![4, 8, 9, 11, 12, 13, 14, 15];
    let mut forge = Forge::honest();
    forge.selection = vec![(SHA256, pcrs.clone()), (HashAlgorithm::Sha384, pcrs)];
    assert!(forge.appraise().is_affirming());
    forge.values.set(PcrIndex::new(12), Digest::of(HashAlgorithm::Sha384, b"an addon"));
    forge.claimed = Some(forge.values.clone());
    forge.log = None;
    refused(&forge, Code::PcrMismatch);
}

#[test]
fn a_swapped_log() {
    let other = crate::support::read(crate::support::fixture("boots/t3-tiny-262/eventlog.bin"));
    refused(&Forge { log: Some(other), ..Forge::honest() }, Code::LogMismatch);
}

#[test]
fn a_truncated_log() {
    let whole = log();
    let ends = boundaries(&whole);
    let mut at_records = 0;
    for end in ends.iter().skip(1).take(ends.len() - 2) {
        let appraisal = Forge { log: Some(whole[..*end].to_vec()), ..Forge::honest() }.appraise();
        // Cutting off events of PCRs that don't count changes nothing.
        if !appraisal.is_affirming() {
            assert_eq!(codes(&appraisal), ["log-mismatch"], "{end}");
            at_records += 1;
        }
        refused(&Forge { log: Some(whole[..*end - 1].to_vec()), ..Forge::honest() }, Code::LogMalformed);
    }
    assert!(at_records > 20, "{at_records}");
}

/// Events behind the log that were never extended; and such that were, however they call themselves.
#[test]
fn appended_events() {
    for kind in [EV_SEPARATOR, 0xD, UNKNOWN_TYPE] {
        let longer = [log(), record(11, kind, b"evil", b"evil")].concat();
        refused(&Forge { log: Some(longer.clone()), ..Forge::honest() }, Code::LogMismatch);
        refused(&Forge::of_log(longer), Code::PcrMismatch);
    }
}

/// Types accept nothing: what a lenient verifier would skip counts like any other event. And a log that calls an event
/// something else than it is was not written by the firmware.
#[test]
fn relabelled_event_types() {
    let bytes = log();
    let mut renamed_events = 0;
    for start in boundaries(&bytes).into_iter().skip(1) {
        let Some(pcr) = bytes.get(start..start + 4) else { continue };
        if pcr != [4, 0, 0, 0] && pcr != [11, 0, 0, 0] {
            continue;
        }
        let mut hidden = bytes.clone();
        hidden[start + 4..start + 8].copy_from_slice(&EV_NO_ACTION.to_le_bytes());
        refused(&Forge { log: Some(hidden), ..Forge::honest() }, Code::LogMismatch);
        for kind in [UNKNOWN_TYPE, 0x8000_0005] {
            let mut renamed = bytes.clone();
            renamed[start + 4..start + 8].copy_from_slice(&kind.to_le_bytes());
            let forge = Forge { log: Some(renamed), ..Forge::honest() };
            refused(&forge, Code::EventRelabelled);
            let refusal = forge.appraise().refusals.swap_remove(0);
            assert_eq!(refusal.pcr.map(PcrIndex::get), Some(pcr[0]));
            renamed_events += 1;
        }
    }
    assert!(renamed_events > 20, "{renamed_events}");
    let first = boundaries(&bytes)[1];
    let evil = record(4, UNKNOWN_TYPE, b"bootkit", b"");
    let inserted = [&bytes[..first], &evil, &bytes[first..]].concat();
    refused(&Forge::of_log(inserted), Code::PcrMismatch);
}

/// What is relabelled in a PCR that does not count is told, and does not refuse.
#[test]
fn relabelled_events_of_pcrs_that_do_not_count() {
    let mut bytes = log();
    let event = boundaries(&bytes).into_iter().find(|start| bytes[*start..].starts_with(&[11, 0, 0, 0]));
    let event = event.expect("PCR 11");
    bytes[event + 4..event + 8].copy_from_slice(&UNKNOWN_TYPE.to_le_bytes());
    let forge = Forge { log: Some(bytes), ..Forge::honest() };
    let aside = |selection: Selection| verifier(policy(&selection)).appraise(&forge.evidence(), NONCE);
    let enforce = || [4, 9].map(PcrIndex::new).into();
    let ignored = aside(Selection { enforce: enforce(), ..Selection::default() });
    assert!(ignored.is_affirming() && ignored.warnings.is_empty());
    let entry = ignored.pcrs.iter().find(|entry| entry.pcr.get() == 11).expect("PCR 11");
    assert_eq!(entry.verdict, Verdict::Mismatch);
    assert!(entry.detail.starts_with("event-relabelled: its event 1 "), "{}", entry.detail);
    let warn = [PcrIndex::new(11)].into();
    let warned = aside(Selection { enforce: enforce(), warn, ..Selection::default() });
    assert!(warned.is_affirming());
    assert_eq!(warned.warnings[0].code, Code::EventRelabelled);
}

/// An event more in a PCR that does not count: extended, only written down, or of a PCR that was not even quoted.
#[test]
fn appended_events_of_pcrs_that_do_not_count_are_told() {
    let longer = [log(), record(12, 0xD, b"an addon", b"")].concat();
    let enforce = Selection { enforce: [4, 9, 11].map(PcrIndex::new).into(), ..Selection::default() };
    let told = |forge: &Forge| {
        let appraisal = verifier(policy(&enforce)).appraise(&forge.evidence(), NONCE);
        assert!(appraisal.is_affirming(), "{:#?}", appraisal.refusals);
        let json = premeasure::attest::ear(&appraisal, crate::forge::NOW);
        let pcrs = json["submods"]["tpm"]["premeasure"]["pcrs"].as_array().expect("PCRs").clone();
        pcrs.into_iter().find(|entry| entry["pcr"] == 12).expect("PCR 12")
    };
    let extended = told(&Forge::of_log(longer.clone()));
    assert_eq!((&extended["class"], &extended["verdict"]), (&"ignored".into(), &"mismatch".into()));
    assert!(extended["detail"].as_str().expect("text").contains("is one more than expected"), "{extended}");
    let written = told(&Forge { log: Some(longer.clone()), ..Forge::honest() });
    assert_eq!((&written["verdict"], &written["replayed"]), (&"mismatch".into(), &false.into()));
    assert!(written["detail"].as_str().expect("text").starts_with("log-mismatch: "), "{written}");
    let selection = vec![(SHA256, vec![4, 9, 11])];
    let unquoted = told(&Forge { selection, log: Some(longer), ..Forge::honest() });
    assert_eq!(unquoted["verdict"], "not-quoted");
    assert!(unquoted["detail"].as_str().expect("text").contains("which no quote covers"), "{unquoted}");
}

/// Separators that are doubled, that report an error, or that come before what they should end.
#[test]
fn separator_tricks() {
    let bytes = log();
    let starts = boundaries(&bytes);
    let at = |wanted_pcr: u32, wanted_type: u32| {
        let fits = |start: &&usize| {
            bytes[**start..**start + 8] == [wanted_pcr, wanted_type].map(u32::to_le_bytes).concat()
        };
        starts.iter().take(starts.len() - 1).skip(1).position(|start| fits(&start)).expect("there is one") + 1
    };
    let number = at(4, EV_SEPARATOR);
    let (start, end) = (starts[number], starts[number + 1]);
    let separator = bytes[start..end].to_vec();
    let without = [&bytes[..start], &bytes[end..]].concat();
    refused(&Forge::of_log(without.clone()), Code::PcrMismatch);
    refused(&Forge::of_log([&bytes[..end], &separator, &bytes[end..]].concat()), Code::PcrMismatch);
    refused(&Forge::of_log([without, separator].concat()), Code::PcrMismatch);
    let error = record(4, EV_SEPARATOR, &[0, 0, 0, 1], &[0, 0, 0, 1]);
    refused(&Forge::of_log([&bytes[..start], &error, &bytes[end..]].concat()), Code::PcrMismatch);
    // The data says one thing, the digest another.
    let lie = record(4, EV_SEPARATOR, b"bootkit", &[0; 4]);
    refused(&Forge::of_log([&bytes[..start], &lie, &bytes[end..]].concat()), Code::PcrMismatch);
}

/// A second SecureBoot variable: readers differ in which one they believe.
#[test]
fn duplicated_variables() {
    let pcr = PcrIndex::new(7);
    let value = BootValue { digests: observed().get(SHA256, pcr).into_iter().collect(), warn_only: false };
    let boot = Boot { name: "recorded".to_owned(), values: [(pcr, value)].into() };
    let values = PolicyValues { format: "test", accepts: Accepts::Boots(vec![boot]) };
    let policy = Policy::from_values(&values, Digest::zero(SHA256), &Selection::default()).expect("a policy");
    let bytes = log();
    let starts = boundaries(&bytes);
    let variable = [7, EV_VARIABLE].map(u32::to_le_bytes).concat();
    let start = *starts.iter().find(|start| bytes[**start..].starts_with(&variable)).expect("SecureBoot");
    let end = *starts.iter().find(|end| **end > start).expect("more");
    let twice = [&bytes[..end], &bytes[start..end], &bytes[end..]].concat();
    let verifier = verifier(policy);
    assert!(verifier.appraise(&Forge::honest().evidence(), NONCE).is_affirming());
    assert_eq!(codes(&verifier.appraise(&Forge::of_log(twice.clone()).evidence(), NONCE)), ["pcr-mismatch"]);
    let only_logged = Forge { log: Some(twice), ..Forge::honest() };
    assert_eq!(codes(&verifier.appraise(&only_logged.evidence(), NONCE)), ["log-mismatch"]);
}

/// PCR 4 of one boot with PCR 9 of another: no machine boots so.
#[test]
fn boots_that_are_mixed() {
    let boot = |name: &str, four: &[u8], nine: &[u8]| {
        let value = |data: &[u8]| BootValue {
            digests: [Digest::of(SHA256, data)].into_iter().collect(),
            warn_only: false,
        };
        let values = [(PcrIndex::new(4), value(four)), (PcrIndex::new(9), value(nine))].into();
        Boot { name: name.to_owned(), values }
    };
    let boots = vec![boot("a", b"a4", b"a9"), boot("b", b"b4", b"b9")];
    let values = PolicyValues { format: "test", accepts: Accepts::Boots(boots) };
    let policy = Policy::from_values(&values, Digest::zero(SHA256), &Selection::default()).expect("a policy");
    let machine = |four: &[u8], nine: &[u8]| {
        let mut values = observed();
        values.set(PcrIndex::new(4), Digest::of(SHA256, four));
        values.set(PcrIndex::new(9), Digest::of(SHA256, nine));
        let forge = Forge { claimed: Some(values.clone()), values, log: None, ..Forge::honest() };
        verifier(policy.clone()).appraise(&forge.evidence(), NONCE)
    };
    assert_eq!(machine(b"b4", b"b9").boot.as_deref(), Some("b"));
    assert_eq!(codes(&machine(b"a4", b"b9")), ["boots-mixed", "pcr-mismatch"]);
    assert_eq!(codes(&machine(b"a4", b"c9")), ["pcr-mismatch"]);
}

#[test]
fn policies_that_decide_nothing() {
    let document = crate::support::read(crate::forge::document());
    let loaded = premeasure::export::load("reference.json", &document).expect("a document");
    let all: std::collections::BTreeSet<PcrIndex> = PcrIndex::all().collect();
    let ignored = Policy::from_document(&loaded, &Selection { ignore: all, ..Selection::default() });
    assert_eq!(ignored.expect_err("nothing is enforced"), PolicyError::AllIgnored);
    let enforce = [PcrIndex::new(7)].into();
    let unknown = Policy::from_document(&loaded, &Selection { enforce, ..Selection::default() });
    let error = unknown.expect_err("PCR 7 is not known");
    assert!(error.remedy().contains("--variables"), "{}", error.remedy());
    let empty = PolicyValues { format: "test", accepts: Accepts::Boots(Vec::new()) };
    let empty = Policy::from_values(&empty, Digest::zero(SHA256), &Selection::default());
    assert_eq!(empty.expect_err("no boot"), PolicyError::Empty);
}

/// A deviation in a PCR that is only warned about is reported, and does not refuse.
#[test]
fn warned_pcrs_do_not_refuse() {
    let longer = [log(), record(12, 0xD, b"an addon", b"")].concat();
    let forge = Forge::of_log(longer);
    refused(&forge, Code::PcrMismatch);
    let selection = Selection {
        enforce: [4, 9, 11].map(PcrIndex::new).into(),
        warn: [PcrIndex::new(12)].into(),
        ..Selection::default()
    };
    let appraisal = verifier(policy(&selection)).appraise(&forge.evidence(), NONCE);
    assert!(appraisal.is_affirming());
    assert_eq!(
        appraisal.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>(),
        [Code::PcrMismatch]
    );
}
