//! Images in other formats: qcow2, VHD, VMDK, compressed streams and archives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::source::{Blob, unpack};

fuzz_target!(|data: &[u8]| {
    if let Ok(unpacked) = unpack(&Blob::from_bytes(data), 1 << 20) {
        let length = unpacked.content.len().min(1 << 20);
        let _ = unpacked.content.slice(0, length).map(|part| part.read(1 << 20));
    }
});
