#![no_main]

#[path = "../targets/policies.rs"]
mod policies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| policies::import(data));
