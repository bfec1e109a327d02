//! A baseline profile of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = premeasure::baseline::from_profile(bytes);
});
