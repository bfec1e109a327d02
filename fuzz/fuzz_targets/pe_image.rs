//! Headers, image digest, certificate table and findings of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::inspect::{Options, inspect};
use premeasure::source::Blob;

fuzz_target!(|bytes: &[u8]| {
    // Hashing a section's zero fill takes longest by far: one input in sixteen is enough.
    let options = Options { section_digests: bytes.len() % 16 == 0, ..Options::default() };
    let _ = inspect(&Blob::from_bytes(bytes), "fuzz", &options, &|_| ());
});
