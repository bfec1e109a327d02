//! Headers, image digest, certificate table and findings of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::inspect::{Options, inspect};
use premeasure::source::Blob;

fuzz_target!(|bytes: &[u8]| {
    let _ = inspect(&Blob::from_bytes(bytes), "fuzz", &Options::default(), &|_| ());
});
