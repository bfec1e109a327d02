//! A PKCS#7 message of any bytes.
#![no_main]

#[path = "../targets/pe.rs"]
#[allow(dead_code)]
mod pe;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pe::pe_signature(bytes));
