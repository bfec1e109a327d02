//! A FAT volume: its folders two levels deep, and the files in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::disk::{FatVolume, Volume};
use premeasure::source::Blob;

fuzz_target!(|data: &[u8]| {
    let Ok(volume) = FatVolume::parse(&Blob::from_bytes(data), "volume") else { return };
    for entry in volume.list("\\").ok().flatten().unwrap_or_default().iter().take(32) {
        let _ = volume.open(&entry.name).map(|file| file.map(|file| file.read(1 << 20)));
        for inner in volume.list(&entry.name).ok().flatten().unwrap_or_default().iter().take(32) {
            let path = format!("{}\\{}", entry.name, inner.name);
            let _ = volume.open(&path).map(|file| file.map(|file| file.read(1 << 20)));
        }
    }
});
