//! Keys in a file of any bytes: signed writes, signature lists, certificates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::secure_boot::read_key_file;
use premeasure::uefi::guid::Guid;

fuzz_target!(|bytes: &[u8]| {
    let _ = read_key_file(bytes, Some(Guid::ZERO));
});
