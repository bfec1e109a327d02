//! The walk of a boot partition: loader.conf, entries, UKIs, companions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::source::Blob;
use premeasure::walk::{LoaderConf, Medium, Wishes, compare_versions, glob_matches, walk};

fuzz_target!(|data: &[u8]| {
    let _ = LoaderConf::parse(data, b"\"'");
    let text = String::from_utf8_lossy(data);
    if let Some((one, other)) = text.split_once('\n') {
        let (one, other) = (one.get(..200).unwrap_or(one), other.get(..200).unwrap_or(other));
        let _ = glob_matches(one, other);
        assert_eq!(compare_versions(one, other), compare_versions(other, one).reverse());
    }
    if let Ok(medium) = Medium::of_image(&Blob::from_bytes(data), None, None) {
        let _ = walk(&medium, &Wishes::default());
    }
});
