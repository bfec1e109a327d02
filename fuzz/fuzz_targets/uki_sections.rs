//! What stubs of either look-up rule find in any bytes, in every profile.
#![no_main]

use libfuzzer_sys::fuzz_target;
use premeasure::pe::PeImage;
use premeasure::source::Blob;
use premeasure::uki::{ImageRole, LoaderInfo, SectionLookup, SectionSet, profile_count};

fuzz_target!(|bytes: &[u8]| {
    let Ok(image) = PeImage::parse(&Blob::from_bytes(bytes)) else { return };
    let _ = (ImageRole::of(&image), LoaderInfo::of(&image));
    for lookup in [SectionLookup::LastByPrefix, SectionLookup::FirstExact] {
        for number in 0..=profile_count(&image).min(4) as u32 {
            let Ok(sections) = SectionSet::with_profile(&image, lookup, number) else { continue };
            for name in [".linux", ".osrel", ".cmdline", ".initrd", ".dtb", ".pcrsig", ".profile"] {
                if let Ok(Some(section)) = sections.get(name) {
                    let _ = (section.segments(), section.read(1 << 16), section.read_text(1 << 16));
                }
            }
            let _ = sections.all(".dtbauto");
        }
    }
});
