//! A verity superblock, and a small tree behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::source::Blob;
use premeasure::verity::{Superblock, check_tree};

fuzz_target!(|data: &[u8]| {
    let hashes = Blob::from_bytes(data);
    if let Ok(superblock) = Superblock::parse(&hashes) {
        if superblock.data_blocks.saturating_mul(superblock.data_block_size.into()) <= 1 << 20 {
            let _ = check_tree(&superblock, &Blob::from_bytes(vec![0; 1 << 20]), &hashes, &|_| ());
        }
    }
});
