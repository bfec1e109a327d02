//! Logs that no firmware wrote, though they replay to what was quoted.

use std::collections::BTreeMap;

use premeasure::attest::{Code, Evidence, Policy, Selection, Verdict, Verifier};
use premeasure::import::{Accepts, PolicyValues};
use premeasure::tcg::eventlog::EventLog;
use premeasure::tcg::{Digest, HashAlgorithm, PcrIndex};

use crate::forge::{Forge, NONCE, boundaries, log, policy, record, verifier};
use crate::support::boots::BOOTS;
use crate::support::{read, say};

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;
const EV_NO_ACTION: u32 = 3;

/// A machine that quotes what this log replays to, and a verifier that wants just that of PCRs 0 to 7.
fn faithful(log: Vec<u8>, bank: HashAlgorithm) -> (Verifier, Evidence<'static>) {
    let values = EventLog::parse(&log[..]).expect("sound").replay().values();
    let of_firmware = (0..8).map(PcrIndex::new);
    let known: BTreeMap<PcrIndex, Digest> =
        of_firmware.filter_map(|pcr| Some((pcr, values.get(bank, pcr)?))).collect();
    let lists = known.iter().map(|(pcr, value)| (*pcr, [*value].into())).collect();
    let values_of = PolicyValues { format: "test", accepts: Accepts::PerPcr(lists) };
    let selection = Selection { allow_sha1: true, ..Selection::default() };
    let policy = Policy::from_values(&values_of, Digest::zero(SHA256), &selection).expect("a policy");
    let pcrs = known.keys().map(|pcr| pcr.get()).collect();
    let forge = Forge {
        selection: vec![(bank, pcrs)],
        claimed: Some(values.clone()),
        values,
        log: Some(log),
        ..Forge::honest()
    };
    (verifier(policy), forge.evidence())
}

#[track_caller]
fn refused(log: Vec<u8>, pcr: u8, said: &str) {
    let (verifier, evidence) = faithful(log, SHA256);
    let appraisal = verifier.appraise(&evidence, NONCE);
    let codes: Vec<_> = appraisal.refusals.iter().map(|refusal| (refusal.code, refusal.pcr)).collect();
    assert_eq!(codes, [(Code::EventContradicts, Some(PcrIndex::new(pcr)))], "{:#?}", appraisal.refusals);
    assert!(appraisal.refusals[0].detail.contains(said), "{}", appraisal.refusals[0].detail);
}

/// The place of the first record of a PCR and type, and of its data.
fn find(bytes: &[u8], pcr: u32, kind: u32) -> (usize, usize) {
    let log = EventLog::parse(bytes).expect("sound");
    let event = log.events().find(|event| event.register == pcr && event.event_type.0 == kind);
    let (start, length) = event.map(|event| (event.offset as usize, event.data.len())).expect("an event");
    let end = boundaries(bytes).into_iter().find(|end| *end > start).expect("its end");
    (start, end - length)
}

/// A record that extends nothing, as firmware writes it: with digests of zeros.
fn no_action(pcr: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = record(pcr, EV_NO_ACTION, b"", data);
    let end = bytes.len() - data.len() - 4;
    let mut at = 12;
    for size in [20, 32, 48, 64] {
        bytes[at + 2..at + 2 + size].fill(0);
        at += 2 + size;
    }
    assert_eq!(at, end);
    bytes
}

fn with_record(record: &[u8]) -> Vec<u8> {
    let bytes = log();
    let first = boundaries(&bytes)[1];
    [&bytes[..first], record, &bytes[first..]].concat()
}

#[test]
fn a_record_that_extends_nothing_has_no_digest() {
    let (verifier, evidence) = faithful(with_record(&no_action(4, b"a note")), SHA256);
    assert!(verifier.appraise(&evidence, NONCE).is_affirming());
    refused(with_record(&record(4, EV_NO_ACTION, b"bootkit", b"bootkit")), 4, "is EV_NO_ACTION");
}

#[test]
fn a_boot_starts_in_one_locality() {
    let bytes = log();
    let existing = bytes.windows(15).filter(|window| window == b"StartupLocality").count();
    assert_eq!(existing, 0);
    let locality = no_action(0, b"StartupLocality\0\0");
    let (verifier, evidence) = faithful(with_record(&locality), SHA256);
    assert!(verifier.appraise(&evidence, NONCE).is_affirming());
    refused(with_record(&[&locality[..], &locality].concat()), 0, "second StartupLocality");
}

/// Separators, variables, actions, the partition table: their digest is over the data that the log shows.
#[test]
fn data_that_its_digest_is_not_of() {
    let honest = log();
    for (pcr, kind) in [(4, 4), (0, 4), (7, 0x8000_0001), (4, 0x8000_0007), (5, 0x8000_0006)] {
        let (_, data) = find(&honest, pcr, kind);
        let mut forged = honest.clone();
        forged[data..data + 4].fill(0xFF);
        refused(forged, pcr as u8, "is not the hash of the event's data");
    }
}

/// Where the PCR does not count it is told; where a capture's data was masked there is nothing to compare.
#[test]
fn contradictions_that_do_not_refuse() {
    let mut forged = log();
    let (start, data) = find(&forged, 4, 4);
    forged[data..data + 4].fill(0xFF);
    let forge = Forge { log: Some(forged.clone()), ..Forge::honest() };
    let selection = Selection { enforce: [9, 11].map(PcrIndex::new).into(), ..Selection::default() };
    let appraisal = verifier(policy(&selection)).appraise(&forge.evidence(), NONCE);
    assert!(appraisal.is_affirming(), "{:#?}", appraisal.refusals);
    let entry = appraisal.pcrs.iter().find(|entry| entry.pcr.get() == 4).expect("PCR 4");
    assert_eq!(entry.verdict, Verdict::Mismatch);
    assert!(entry.detail.starts_with("event-contradicts: record "), "{}", entry.detail);
    let number = boundaries(&forged).iter().position(|at| *at == start).expect("a record") as u64;
    let (verifier, mut evidence) = faithful(forged, SHA256);
    assert!(verifier.appraise(&evidence, NONCE).has(Code::EventContradicts));
    evidence.masked_events.insert((0, number));
    assert!(verifier.appraise(&evidence, NONCE).is_affirming());
}

/// Logs of real machines, with all that firmware does: none is refused for it but those that were altered by hand.
#[test]
fn honest_logs_do_not_contradict_themselves() {
    let mut logs: Vec<(String, Vec<u8>)> =
        BOOTS.iter().map(|boot| (boot.case.to_owned(), read(boot.record("eventlog.bin")))).collect();
    match std::env::var_os("PREMEASURE_CORPUS").map(std::path::PathBuf::from) {
        Some(corpus) => {
            for entry in std::fs::read_dir(corpus.join("logs")).expect("logs").flatten() {
                logs.push((entry.file_name().to_string_lossy().into_owned(), read(entry.path())));
            }
        }
        None => say("SKIPPED the logs of other machines: PREMEASURE_CORPUS is not set"),
    }
    let (mut looked_at, mut altered) = (0, 0);
    for (name, bytes) in logs {
        let Ok(log) = EventLog::parse(&bytes[..]) else { continue };
        let values = log.replay().values();
        for bank in [HashAlgorithm::Sha1, SHA256] {
            if (0..8).all(|pcr| values.get(bank, PcrIndex::new(pcr)).is_none()) {
                continue;
            }
            let (verifier, evidence) = faithful(bytes.clone(), bank);
            let appraisal = verifier.appraise(&evidence, NONCE);
            let contradicts = appraisal.has(Code::EventContradicts);
            assert!(!contradicts || name.contains("altered"), "{name}: {:#?}", appraisal.refusals);
            looked_at += 1;
            altered += usize::from(contradicts);
        }
    }
    assert!(looked_at >= 30, "{looked_at}");
    say(&format!("{looked_at} honest logs and banks, {altered} altered ones"));
}
