//! What the targets of PE files do with their bytes.

use premeasure::inspect::{Options, inspect};
use premeasure::pe::{PeImage, Signature};
use premeasure::source::Blob;
use premeasure::tcg::DigestSet;
use premeasure::uki::{ImageRole, LoaderInfo, SectionLookup, SectionSet, profile_count};

/// Headers, image digest, certificate table and findings of any bytes.
pub(crate) fn pe_image(bytes: &[u8]) {
    // Hashing a section's zero fill takes longest by far: one input in sixteen is enough.
    let options = Options { section_digests: bytes.len().is_multiple_of(16), ..Options::default() };
    let _ = inspect(&Blob::from_bytes(bytes), "fuzz", &options, &|_| ());
}

/// What stubs of either look-up rule find in any bytes, in every profile.
pub(crate) fn uki_sections(bytes: &[u8]) {
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
}

/// A signature of any bytes: signers, certificates, what it covers.
pub(crate) fn pe_signature(bytes: &[u8]) {
    if let Ok(signature) = Signature::parse(bytes) {
        for signer in &signature.signers {
            let _ = signature.coverage(signer, &DigestSet::default());
        }
        for certificate in &signature.certificates {
            let _ =
                (certificate.subject(), certificate.issuer(), certificate.serial(), certificate.not_after());
        }
    }
}
