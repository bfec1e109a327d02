//! Logs of other projects, with the register values that their machines had.

use std::fs;
use std::path::PathBuf;

use premeasure::tcg::eventlog::{EventLog, RegisterKind, write_log};
use premeasure::tcg::{HashAlgorithm, PcrIndex};
use serde_json::Value;

/// The corpus, or a line that says that the test did not run.
pub(crate) fn corpus(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PREMEASURE_CORPUS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED {test}: PREMEASURE_CORPUS is not set");
    }
    folder
}

/// Name, bytes and truth of every log.
pub(crate) fn logs(corpus: &std::path::Path) -> Vec<(String, Vec<u8>, Value)> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(corpus.join("truth")).expect("truth") {
        let truth = fs::read(entry.expect("an entry").path()).expect("a truth file");
        let truth: Value = serde_json::from_slice(&truth).expect("JSON");
        let name = truth["log"].as_str().expect("log").to_owned();
        let bytes = fs::read(corpus.join("logs").join(&name)).expect("a log");
        logs.push((name, bytes, truth));
    }
    logs.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(logs.len(), 69);
    logs
}

#[test]
fn every_log_replays_to_its_truth_in_every_bank() {
    let Some(corpus) = corpus("every_log_replays_to_its_truth_in_every_bank") else { return };
    let (mut values, mut live) = (0, 0);
    for (name, bytes, truth) in logs(&corpus) {
        let log = EventLog::parse(&bytes[..]).unwrap_or_else(|broken| panic!("{name}: {broken}"));
        let replay = log.replay();
        let kind = if truth["kind"] == "cc" { RegisterKind::Mr } else { RegisterKind::Pcr };
        assert_eq!(log.register_kind(), kind, "{name}");
        assert_eq!(u64::from(log.len()), truth["events"].as_u64().expect("events"), "{name}");
        assert_eq!(log.end(), truth["log_end"].as_u64().expect("log_end"), "{name}");
        let start = replay.pcr0_start().map(|start| u64::from(start.last_byte()));
        assert_eq!(start, truth["pcr0_start"]["last_byte"].as_u64(), "{name}");
        let mut computed = serde_json::Map::new();
        for (bank, registers) in replay.values().banks() {
            let registers = registers.iter().map(|(pcr, value)| (pcr.to_string(), value.to_string().into()));
            computed.insert(bank.name().to_owned(), Value::Object(registers.collect()));
        }
        let mut banks = truth["banks"].as_object().expect("banks").clone();
        banks.retain(|_, registers| count(registers) > 0);
        assert_eq!(computed, banks, "{name}");
        values += truth["banks"].as_object().expect("banks").values().map(count).sum::<usize>();
        live += compare_live(&name, &log, &truth);
    }
    println!("{values} register values, {live} of them live");
    assert!(values > 1000 && live >= 264, "{values} {live}");
}

fn count(bank: &Value) -> usize {
    bank.as_object().expect("a bank").len()
}

/// Compares with what machines said; the values that went on after the log are listed in the truth.
fn compare_live(name: &str, log: &EventLog<'_>, truth: &Value) -> usize {
    let Some(banks) = truth["live_pcrs"]["banks"].as_object() else { return 0 };
    let differs = &truth["live_pcrs"]["differs_from_replay"];
    let never = &truth["live_pcrs"]["registers_never_extended"];
    let values = log.replay().values();
    let mut equal = 0;
    for (bank, registers) in banks {
        let algorithm: HashAlgorithm = bank.parse().expect("a bank");
        for (register, value) in registers.as_object().expect("registers") {
            let listed = never[bank].as_array().is_some_and(|list| list.contains(&register.as_str().into()));
            if listed || !differs[bank][register].is_null() {
                continue;
            }
            let pcr = PcrIndex::try_from(register.parse::<u32>().expect("a number")).expect("a PCR");
            let replayed = values.get(algorithm, pcr).map(|value| value.to_string());
            assert_eq!(replayed.as_deref(), value.as_str(), "{name} {bank} {register}");
            equal += 1;
        }
    }
    equal
}

#[test]
fn every_log_is_written_back_byte_for_byte() {
    let Some(corpus) = corpus("every_log_is_written_back_byte_for_byte") else { return };
    for (name, bytes, _) in logs(&corpus) {
        let log = EventLog::parse(&bytes[..]).expect("a sound log");
        assert!(write_log(&log) == bytes, "{name}");
    }
}
