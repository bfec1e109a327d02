#![no_main]

#[path = "../targets/verify.rs"]
#[allow(dead_code)]
mod verify;

libfuzzer_sys::fuzz_target!(|data: &[u8]| verify::capture(data));
