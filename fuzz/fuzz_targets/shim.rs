//! The vendor keys and revocation levels of a shim of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::pe::PeImage;
use premeasure::secure_boot::{SecureBootVariables, Shim};
use premeasure::source::Blob;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = PeImage::parse(&Blob::from_bytes(bytes)) {
        if let Ok(Some(shim)) = Shim::of(&image) {
            let state = shim.state(&SecureBootVariables::default());
            let _ = shim.sbat_level(true, &state);
        }
    }
});
