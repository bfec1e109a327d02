#![no_main]

#[path = "../targets/logs.rs"]
#[allow(dead_code)]
mod logs;

libfuzzer_sys::fuzz_target!(|data: &[u8]| logs::cel_cbor(data));
