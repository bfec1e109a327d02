//! `tpm2_eventlog` of tpm2-tools: another reading of the same logs.
//!
//! Known disagreements of version 5.4:
//! - it starts PCR 0 at zeros, whatever StartupLocality or an H-CRTM event say, and extends the digests of
//!   `EV_NO_ACTION` records, which are zeros: PCR 0 of such logs differs;
//! - it refuses CC event logs whose header names register 1, padding that is no record, and headers with a digest;
//! - it prints registers that no event extends.

use std::collections::BTreeMap;
use std::process::Command;

use premeasure::tcg::eventlog::EventLog;

use crate::corpus::{corpus, logs};
use crate::fixtures::boots;

type Registers = BTreeMap<(String, u32), String>;

/// What `tpm2_eventlog` computes; `None` where it can't read the log.
fn tpm2_eventlog(bytes: &[u8]) -> Option<Registers> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.bin");
    std::fs::write(&path, bytes).expect("written");
    let output = Command::new("tpm2_eventlog").arg(&path).output().expect("the tool runs");
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut registers = Registers::new();
    let mut bank = String::new();
    for line in text.split("\npcrs:\n").nth(1)?.lines() {
        match line.split_once(':') {
            Some((name, "")) => bank = name.trim().to_owned(),
            Some((register, value)) => {
                let value = value.trim().trim_start_matches("0x").to_lowercase();
                registers.insert((bank.clone(), register.trim().parse().ok()?), value);
            }
            None => {}
        }
    }
    Some(registers)
}

/// Registers that both have, and those that differ.
fn compare(log: &EventLog<'_>, other: &Registers) -> (usize, Vec<(String, u32)>) {
    let (mut equal, mut differ) = (0, Vec::new());
    for (bank, registers) in log.replay().values().banks() {
        for (pcr, value) in registers {
            let key = (bank.name().to_owned(), u32::from(pcr.get()));
            match other.get(&key) {
                Some(theirs) if *theirs == value.to_string() => equal += 1,
                _ => differ.push(key),
            }
        }
    }
    (equal, differ)
}

fn is_missing(test: &str) -> bool {
    let missing = Command::new("tpm2_eventlog").arg("--version").output().is_err();
    if missing {
        eprintln!("SKIPPED {test}: tpm2_eventlog is not installed (Debian: tpm2-tools)");
    }
    missing
}

#[test]
fn tpm2_eventlog_agrees_on_our_boots() {
    if is_missing("tpm2_eventlog_agrees_on_our_boots") {
        return;
    }
    let mut compared = 0;
    for boot in boots() {
        let bytes = std::fs::read(boot.join("eventlog.bin")).expect("a log");
        let log = EventLog::parse(&bytes[..]).expect("a sound log");
        let other = tpm2_eventlog(&bytes).expect("the tool reads it");
        let (equal, differ) = compare(&log, &other);
        assert!(differ.is_empty(), "{}: {differ:?}", boot.display());
        compared += equal;
    }
    println!("{compared} registers equal");
    assert!(compared > 16 * 4 * 9, "{compared}");
}

#[test]
fn tpm2_eventlog_disagrees_only_where_it_is_known_to() {
    let name = "tpm2_eventlog_disagrees_only_where_it_is_known_to";
    let Some(corpus) = corpus(name) else { return };
    if is_missing(name) {
        return;
    }
    let (mut read, mut compared) = (0, 0);
    for (name, bytes, _) in logs(&corpus) {
        let log = EventLog::parse(&bytes[..]).expect("a sound log");
        let Some(other) = tpm2_eventlog(&bytes) else { continue };
        let (equal, differ) = compare(&log, &other);
        let no_action_in_pcr0 = log
            .events()
            .skip(1)
            .any(|event| event.register == 0 && event.event_type == premeasure::tcg::EventType::NO_ACTION);
        let excused = log.replay().pcr0_start().is_some() || no_action_in_pcr0;
        assert!(differ.iter().all(|(_, pcr)| *pcr == 0 && excused), "{name}: {differ:?}");
        read += 1;
        compared += equal;
    }
    println!("tpm2_eventlog reads {read} of 69 logs, {compared} registers equal");
    assert!(read > 40 && compared > 800, "{read} {compared}");
}
