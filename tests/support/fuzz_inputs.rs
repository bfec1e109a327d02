//! The fuzzers' seeds, and inputs that once found something: replayed on stable.

use std::fs;
use std::path::Path;

/// A fuzz target: its name, and what it does with an input.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Hands every stored input of these targets to `replay`, and says how many there were.
pub(crate) fn replay_inputs(targets: &[Target], replay: impl Fn(fn(&[u8]), &[u8])) -> usize {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut count = 0;
    for (target, run) in targets {
        for folder in ["regressions", "seeds"] {
            let Ok(inputs) = fs::read_dir(fuzz.join(folder).join(target)) else { continue };
            for input in inputs {
                replay(*run, &fs::read(input.expect("an entry").path()).expect("an input"));
                count += 1;
            }
        }
    }
    count
}
