//! Inputs that a fuzzer once found something with, and the fuzzers' seeds: replayed on stable.

use std::fs;
use std::path::Path;

use crate::fuzz_inputs::{Target, replay_inputs};

// The fuzz targets and this test run the same code.
#[path = "../../fuzz/targets/logs.rs"]
mod logs;

const TARGETS: [Target; 8] = [
    ("event_log", logs::event_log),
    ("event_data", logs::event_data),
    ("boot_log", logs::boot_log),
    ("cel_json", logs::cel_json),
    ("cel_cbor", logs::cel_cbor),
    ("cel_tlv", logs::cel_tlv),
    ("ima", logs::ima),
    ("registers", logs::registers),
];

#[test]
fn inputs_that_once_found_something_find_nothing_now() {
    let count = replay_inputs(&TARGETS, |run, bytes| run(bytes));
    assert!(count > 80, "{count}");
}

/// What a careless reader does not survive: each boot's log cut at every byte of its first records.
#[test]
fn logs_cut_anywhere_are_read_up_to_there() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/boots/t-tiny-257/eventlog.bin");
    let bytes = fs::read(log).expect("a log");
    for length in 0..bytes.len().min(3000) {
        logs::event_log(&bytes[..length]);
        logs::boot_log(&bytes[..length]);
    }
}
