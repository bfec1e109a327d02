//! Container images: an archive of an OCI layout or of `docker save`, and its layers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::disk::{TreeVolume, Volume};
use premeasure::source::Blob;
use premeasure::source::oci::{Tree, open_archive};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(layout)) = open_archive(&Blob::from_bytes(data)) {
        if let Ok(tree) = Tree::read(&layout, &|_| true, 1 << 20) {
            let volume = TreeVolume::new(tree.into(), "", "fuzz");
            let _ = volume.list("boot").map(|entries| entries.map(|all| all.len()));
            let _ = volume.open("efi/EFI/BOOT/BOOTX64.EFI");
        }
    }
});
