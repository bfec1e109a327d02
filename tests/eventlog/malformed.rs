//! Malformed logs: each must yield what the corpus' CASES.md says.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use premeasure::tcg::PcrValues;
use premeasure::tcg::check::{Level, check};
use premeasure::tcg::event_data::{Context, decode};
use premeasure::tcg::timeline::{self, BootLog};
use serde_json::Value;

use crate::corpus::corpus;

/// Register values, by bank and register.
type Flat = BTreeMap<(String, u8), String>;

struct Read {
    error: Option<String>,
    values: Flat,
    objections: usize,
    undecodable: usize,
}

#[test]
fn every_malformed_log_yields_what_it_must() {
    let Some(corpus) = corpus("every_malformed_log_yields_what_it_must") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new("python3").arg(corpus.join("malformed/make.py")).arg(folder.path()).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED every_malformed_log_yields_what_it_must: python3 does not run the generator");
        return;
    }
    let cases = std::fs::read(folder.path().join("cases.json")).expect("cases.json");
    let cases: Vec<Value> = serde_json::from_slice(&cases).expect("JSON");
    let bases: BTreeMap<&str, Read> = [
        ("agile", "gce-rhel8-sb-on.bin"),
        ("sha1", "gce-debian10-sha1-sb-on.bin"),
        ("cc", "ccel-gce-cos-113.bin"),
    ]
    .into_iter()
    .map(|(base, log)| (base, read(&std::fs::read(corpus.join("logs").join(log)).expect("a base"))))
    .collect();
    let mut faults = Vec::new();
    let mut count = 0;
    for case in &cases {
        let text = |member: &str| case[member].as_str().expect("a string");
        let Some(base) = bases.get(text("base")) else { continue };
        let bytes = std::fs::read(folder.path().join(text("file"))).expect("a case");
        let start = Instant::now();
        let found = read(&bytes);
        let late = start.elapsed() > Duration::from_secs(1);
        if late || !is_met(text("must"), text("detail"), base, &found) {
            faults.push(format!(
                "{} must be {}: {}; {:?}",
                text("file"),
                text("must"),
                text("detail"),
                found.error
            ));
        }
        count += 1;
    }
    println!("{count} malformed logs");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 300, "{count}");
}

fn read(bytes: &[u8]) -> Read {
    let log = BootLog::read(bytes);
    let error = log.error.as_ref().map(ToString::to_string);
    let objections = check(&log).iter().filter(|finding| finding.level == Level::Error).count();
    let undecodable = log.as_firmware().map_or(0, |log| {
        log.events()
            .filter(|event| decode(event.event_type, event.data, Context::default()).problem.is_some())
            .count()
    });
    let logs = [log];
    let (replay, _) = timeline::replay(&logs).expect("one log has one kind of registers");
    Read { error, values: flat(&replay.values()), objections, undecodable }
}

fn flat(values: &PcrValues) -> Flat {
    let mut flat = Flat::new();
    for (bank, registers) in values.banks() {
        for (register, value) in registers {
            flat.insert((bank.name().to_owned(), register.get()), value.to_string());
        }
    }
    flat
}

fn is_met(must: &str, detail: &str, base: &Read, found: &Read) -> bool {
    match must {
        "error" => found.error.is_some(),
        "same" => found.error.is_none() && found.values == base.values,
        "changed" => found.error.is_none() && differs_as_said(detail, base, found),
        "reported" => {
            found.error.is_none() && found.values == base.values && found.objections > base.objections
        }
        "undecoded" => {
            found.error.is_none() && found.values == base.values && found.undecodable > base.undecodable
        }
        "any" => true,
        other => panic!("unknown word {other}"),
    }
}

/// The detail names one register, or says that none was extended.
fn differs_as_said(detail: &str, base: &Read, found: &Read) -> bool {
    if detail.starts_with("no measurement") {
        // The first record of the SHA-1 log is no header but EV_S_CRTM_VERSION: PCR 0 has one event.
        let measured = base.values.keys().all(|(bank, _)| bank == "sha1");
        return found.values.is_empty() || (measured && found.values.keys().all(|(_, pcr)| *pcr == 0));
    }
    let register = detail.split("register ").nth(1).expect("a register");
    let digits: String = register.chars().take_while(char::is_ascii_digit).collect();
    let register: u8 = digits.parse().expect("a number");
    let keys = base.values.keys().chain(found.values.keys());
    let changed: Vec<u8> =
        keys.filter(|key| base.values.get(*key) != found.values.get(*key)).map(|key| key.1).collect();
    !changed.is_empty() && changed.iter().all(|other| *other == register)
}
