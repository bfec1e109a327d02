//! Parts of an image that a build wrote as files of their own, against the image: mkosi(1), `SplitArtifacts=`.
//!
//! mkosi takes `.vmlinuz` and `.initrd` out of the UKI's sections where there is one, and copies the kernel and joins the
//! initrds where there is none.

use std::path::Path;

use super::build_results::{BuildResults, sha256, sha256_of};
use super::input::display_name;
use crate::audit::Severity;
use crate::boot::{BootChain, InputRole, Payload};
use crate::hashing::Segment;
use crate::uki::{SectionLookup, SectionSet};
use crate::walk::Walk;

/// A part that is not the image's.
pub(super) struct Difference {
    pub(super) severity: Severity,
    pub(super) code: &'static str,
    /// The part's name.
    pub(super) name: String,
    pub(super) text: String,
}

/// Compares the UKI, kernel and initrd beside the image with what the entries of its menu boot.
pub(super) fn compare(results: &BuildResults, walk: &Walk) -> anyhow::Result<Vec<Difference>> {
    let chains: Vec<&BootChain> = walk.boots.iter().filter_map(|boot| boot.chain.as_deref().ok()).collect();
    let mut differences = Vec::new();
    if let Some(path) = results.split_uki() {
        let ukis = chains.iter().flat_map(|chain| whole(chain, InputRole::Uki)).collect();
        if !is_one_of(&path, ukis)? {
            differences.push(Difference {
                severity: Severity::Error,
                code: "split-uki-differs",
                name: display_name(&path),
                text: "is not the UKI of any entry in the image".to_owned(),
            });
        }
    }
    let parts = [
        (".vmlinuz", ".linux", InputRole::Kernel, "split-kernel-differs", "kernel"),
        (".initrd", ".initrd", InputRole::Initrd, "split-initrd-differs", "initrd"),
    ];
    for (suffix, section, role, code, word) in parts {
        let Some(path) = results.file(suffix) else { continue };
        let in_ukis: Vec<Vec<Segment>> = chains.iter().flat_map(|chain| sections(chain, section)).collect();
        let as_files: Vec<Vec<Segment>> = chains.iter().flat_map(|chain| whole(chain, role)).collect();
        // A Type #1 entry's kernel may have been signed after it was copied, and has its initrds one by one.
        let severity = if in_ukis.is_empty() { Severity::Note } else { Severity::Error };
        if !is_one_of(&path, [in_ukis, as_files].concat())? {
            let text = format!("is not the {word} of any entry in the image");
            differences.push(Difference { severity, code, name: display_name(&path), text });
        }
    }
    Ok(differences)
}

/// Files of a chain, whole.
fn whole(chain: &BootChain, role: InputRole) -> Vec<Vec<Segment>> {
    let inputs = chain.inputs.iter().filter(|input| input.role == role);
    inputs.map(|input| vec![Segment::Range(input.file.clone())]).collect()
}

/// A UKI's sections of one name: those of the base, and of each profile.
fn sections(chain: &BootChain, name: &str) -> Vec<Vec<Segment>> {
    if chain.payload != Payload::UnifiedKernelImage {
        return Vec::new();
    }
    let all = SectionSet::without_profiles(&chain.uki.image, SectionLookup::FirstExact).all(name);
    all.into_iter().flatten().map(|section| section.segments()).collect()
}

fn is_one_of(path: &Path, candidates: Vec<Vec<Segment>>) -> anyhow::Result<bool> {
    let digest = sha256(path)?;
    Ok(sha256_of(candidates)?.contains(&digest))
}
