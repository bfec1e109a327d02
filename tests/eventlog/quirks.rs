//! The strict view: what it says of sound logs, of altered ones, and of firmware with known quirks.

use std::collections::{BTreeMap, BTreeSet};

use premeasure::tcg::check::{Finding, Level, QUIRKS, check};
use premeasure::tcg::timeline::BootLog;

use crate::corpus::{corpus, logs};
use crate::fixtures::boots;

fn codes(findings: &[Finding], level: Level) -> BTreeSet<&'static str> {
    findings.iter().filter(|finding| finding.level >= level).map(|finding| finding.code).collect()
}

#[test]
fn our_boots_give_no_cause_for_objection() {
    for boot in boots() {
        let bytes = std::fs::read(boot.join("eventlog.bin")).expect("a log");
        let findings = check(&BootLog::read(&bytes));
        assert!(findings.is_empty(), "{}: {findings:?}", boot.display());
    }
}

#[test]
fn every_quirk_is_shown_by_a_log() {
    let Some(corpus) = corpus("every_quirk_is_shown_by_a_log") else { return };
    let mut shown: BTreeMap<&'static str, String> = BTreeMap::new();
    for (name, bytes, _) in logs(&corpus) {
        for finding in check(&BootLog::read(&bytes)) {
            shown.entry(finding.code).or_insert_with(|| name.clone());
        }
    }
    let missing: Vec<&str> =
        QUIRKS.iter().map(|quirk| quirk.name).filter(|name| !shown.contains_key(name)).collect();
    assert!(missing.is_empty(), "{missing:?}; shown: {shown:#?}");
}

/// What upstream altered, or what firmware did wrong, is an error; nothing else is.
#[test]
fn errors_are_found_in_these_logs_and_no_others() {
    let Some(corpus) = corpus("errors_are_found_in_these_logs_and_no_others") else { return };
    let expected: BTreeMap<&str, &[&str]> = [
        ("hirs-sim-dumplog-altered.bin", &["digest-mismatch"][..]),
        ("intel-secl-uefi-altered.bin", &["digest-mismatch"]),
        ("lenovo-sr635-two-boots.bin", &["separator-duplicate"]),
        // Its actions name what was measured, as those of no other firmware do.
        ("openpower-skiboot.bin", &["digest-mismatch"]),
    ]
    .into();
    for (name, bytes, _) in logs(&corpus) {
        let found = codes(&check(&BootLog::read(&bytes)), Level::Error);
        let expected: BTreeSet<&str> =
            expected.get(name.as_str()).copied().unwrap_or_default().iter().copied().collect();
        assert_eq!(found, expected, "{name}");
    }
}

/// One bit of a separator's data, one of its digest, a second separator, a late version: each has its own word.
#[test]
fn each_change_of_a_sound_log_has_its_own_word() {
    let boot = boots().into_iter().find(|boot| boot.ends_with("t-tiny-257")).expect("the boot");
    let bytes = std::fs::read(boot.join("eventlog.bin")).expect("a log");
    let log = BootLog::read(&bytes);
    let firmware = log.as_firmware().expect("a firmware log");
    let separator = firmware.events().find(|event| event.event_type.0 == 4).expect("a separator");
    let version = firmware.events().find(|event| event.event_type.0 == 8).expect("a version");
    let record = |event: &premeasure::tcg::eventlog::Event<'_>| {
        let start = usize::try_from(event.offset).expect("an offset");
        start..usize::try_from(event.data_offset).expect("an offset") + event.data.len()
    };
    let data = usize::try_from(separator.data_offset).expect("an offset");
    let cases: [(&str, Vec<u8>); 5] = [
        ("digest-mismatch", changed(&bytes, data, 0x10)),
        ("separator-error", changed(&bytes, data, 0x01)),
        ("separator-duplicate", [&bytes[..], &bytes[record(&separator)]].concat()),
        ("after-separator", [&bytes[..], &bytes[record(&version)]].concat()),
        ("truncated", bytes[..bytes.len() - 1].to_vec()),
    ];
    for (code, bytes) in cases {
        let found = codes(&check(&BootLog::read(&bytes)), Level::Warning);
        assert!(found.contains(code), "{code}: {found:?}");
    }
}

fn changed(bytes: &[u8], at: usize, bit: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= bit;
    bytes
}
