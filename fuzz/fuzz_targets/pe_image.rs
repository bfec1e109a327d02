//! Headers, image digest, certificate table and findings of any bytes.
#![no_main]

#[path = "../targets/pe.rs"]
#[allow(dead_code)]
mod pe;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pe::pe_image(bytes));
