//! What stubs of either look-up rule find in any bytes, in every profile.
#![no_main]

#[path = "../targets/pe.rs"]
#[allow(dead_code)]
mod pe;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pe::uki_sections(bytes));
