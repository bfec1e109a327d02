//! A partition table, both copies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::disk::Gpt;
use premeasure::source::Blob;

fuzz_target!(|data: &[u8]| {
    if let Ok(table) = Gpt::parse(&Blob::from_bytes(data)) {
        let _ = table.measured_bytes();
        for partition in &table.partitions {
            let _ = table.content(partition);
        }
    }
});
