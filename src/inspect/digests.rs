//! All digests of an inspection, in one pass over the file.

use std::collections::{BTreeMap, BTreeSet};

use super::{Options, signing::ReadSignature};
use crate::hashing::{DigestPlan, Digests, HashError, Segment, StreamId};
use crate::pe::{PeImage, authenticode_segments};
use crate::tcg::{DigestSet, HashAlgorithm};
use crate::uki::LoadedSection;

/// Bank name (`sha256`) to digest in hexadecimal.
pub type BankDigests = BTreeMap<&'static str, String>;

/// Most sections whose contents are hashed: three times what the largest real UKIs have.
const MAX_SECTIONS: usize = 512;
/// Overlapping sections make a small file ask for any amount of hashing. So many times the file's length is enough
/// for every file that means well.
const MAX_REPEAT: u64 = 4;
/// Zero bytes that are hashed beyond that, for sections that are larger in memory than in the file.
const MAX_ZEROS: u64 = 64 << 20;

/// The digests of one file.
pub(super) struct FileDigests {
    /// SHA-256 of the file.
    pub(super) file: String,
    /// The image digest in the banks asked for.
    pub(super) image: Option<BankDigests>,
    /// Why there is none.
    pub(super) error: Option<String>,
    /// The image digest in these banks and in those that signatures use.
    pub(super) image_all_banks: DigestSet,
    /// The image digest after padding.
    pub(super) padded: Option<BankDigests>,
    /// SHA-256 of loaded sections, by their place in the table.
    pub(super) sections: BTreeMap<usize, String>,
}

/// Plans and computes everything.
pub(super) fn compute(
    image: &PeImage,
    signatures: &[ReadSignature],
    options: &Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<FileDigests, HashError> {
    let mut plan = DigestPlan::new();
    let file = plan.add_single(HashAlgorithm::Sha256, [Segment::Range(image.file.clone())]);
    let (segments, error) = image_segments(image);
    let banks: BTreeSet<HashAlgorithm> =
        options.banks.iter().copied().chain(signatures.iter().filter_map(ReadSignature::algorithm)).collect();
    let banks: Vec<HashAlgorithm> = banks.into_iter().collect();
    let digest = segments.as_ref().map(|segments| plan.add(segments.clone()));
    let padded = segments.filter(|_| image.certificate_table().is_none()).and_then(|mut segments| {
        let padding = image.file.len().next_multiple_of(8).saturating_sub(image.file.len());
        segments.push(Segment::Zeros(padding));
        (padding != 0).then(|| plan.add(segments))
    });
    let sections = if options.section_digests { plan_sections(image, &mut plan) } else { BTreeMap::new() };

    let digests = plan.compute(&banks, progress)?;
    let one = |stream: &StreamId| {
        let digest = digests.get(*stream).and_then(|set| set.get(HashAlgorithm::Sha256));
        digest.map(|digest| digest.to_string())
    };
    Ok(FileDigests {
        file: one(&file).unwrap_or_default(),
        image: digest.map(|stream| named(&digests, stream, &options.banks)),
        error,
        image_all_banks: digest.and_then(|stream| digests.get(stream).cloned()).unwrap_or_default(),
        padded: padded.map(|stream| named(&digests, stream, &options.banks)),
        sections: sections.iter().filter_map(|(index, stream)| Some((*index, one(stream)?))).collect(),
    })
}

/// What is hashed for the image digest, or why it is not.
fn image_segments(image: &PeImage) -> (Option<Vec<Segment>>, Option<String>) {
    match authenticode_segments(image) {
        Err(error) => (None, Some(error.to_string())),
        Ok(segments) => {
            let bytes = segments.iter().map(Segment::len).fold(0, u64::saturating_add);
            if bytes <= image.file.len().saturating_mul(MAX_REPEAT) {
                return (Some(segments), None);
            }
            let length = image.file.len();
            let error =
                format!("sections overlap so much that {bytes} bytes of a file of {length} are hashed");
            (None, Some(error))
        }
    }
}

/// Plans the contents of the sections as loaded, while that costs no more than the file deserves.
fn plan_sections(image: &PeImage, plan: &mut DigestPlan) -> BTreeMap<usize, StreamId> {
    let mut budget = image.file.len().saturating_mul(MAX_REPEAT).saturating_add(MAX_ZEROS);
    let mut streams = BTreeMap::new();
    for (index, section) in image.sections.iter().enumerate().take(MAX_SECTIONS) {
        let Ok(loaded) = LoadedSection::new(image, section) else { continue };
        let Some(rest) = budget.checked_sub(loaded.len()) else { continue };
        budget = rest;
        streams.insert(index, plan.add_single(HashAlgorithm::Sha256, loaded.segments()));
    }
    streams
}

fn named(digests: &Digests, stream: StreamId, banks: &[HashAlgorithm]) -> BankDigests {
    let Some(set) = digests.get(stream) else { return BankDigests::new() };
    banks.iter().filter_map(|bank| Some((bank.name(), set.get(*bank)?.to_string()))).collect()
}
