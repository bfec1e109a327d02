//! The fuzzers' seeds, and inputs that once found something: replayed on stable.

use crate::support::fuzz_inputs::{Target, replay_inputs};

// The fuzz targets and this test run the same code.
#[path = "../../fuzz/targets/verify.rs"]
mod verify;

const TARGETS: [Target; 5] = [
    ("quote", verify::quote),
    ("attestation_key", verify::attestation_key),
    ("pcr_values", verify::pcr_values),
    ("evidence", verify::evidence),
    ("capture", verify::capture),
];

#[test]
fn inputs_that_once_found_something_find_nothing_now() {
    // Cut anywhere too.
    let count = replay_inputs(&TARGETS, |run, bytes| {
        (0..=bytes.len()).for_each(|length| run(&bytes[..length]));
    });
    assert!(count >= 10, "{count}");
}
