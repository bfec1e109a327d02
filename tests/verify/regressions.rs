//! The fuzzers' seeds, and inputs that once found something: replayed on stable.

use std::fs;
use std::path::Path;

// The fuzz targets and this test run the same code.
#[path = "../../fuzz/targets/verify.rs"]
mod verify;

/// A fuzz target: its name, and what it does with an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 4] = [
    ("quote", verify::quote),
    ("attestation_key", verify::attestation_key),
    ("pcr_values", verify::pcr_values),
    ("evidence", verify::evidence),
];

#[test]
fn inputs_that_once_found_something_find_nothing_now() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut count = 0;
    for (target, run) in TARGETS {
        for folder in ["regressions", "seeds"] {
            let Ok(inputs) = fs::read_dir(fuzz.join(folder).join(target)) else { continue };
            for input in inputs {
                let bytes = fs::read(input.expect("an entry").path()).expect("an input");
                // Cut anywhere too.
                (0..=bytes.len()).for_each(|length| run(&bytes[..length]));
                count += 1;
            }
        }
    }
    assert!(count >= 10, "{count}");
}
