//! The boots of several documents under names that tell them apart.

use std::collections::{BTreeMap, BTreeSet};

use super::exporter::ExportError;
use super::load::Loaded;
use super::release::Release;
use crate::reference::{ScenarioEntry, VariantEntry};
use crate::tcg::{Digest, HashAlgorithm};

/// The boots of all documents.
pub(super) struct Merged<'d> {
    pub(super) releases: Vec<Release<'d>>,
    /// What was taken once although it stands there more often.
    pub(super) notes: Vec<String>,
}

/// All variants of all documents. Variants of the same name but of other files (two releases that are both called
/// `uki.efi`), or of the same files on machines that were declared otherwise, are told apart by a digest.
///
/// # Errors
/// The same boot of the same files twice, and names that can't be told apart.
pub(super) fn merge(documents: &[Loaded]) -> Result<Merged<'_>, ExportError> {
    let mut releases: Vec<Release<'_>> = documents.iter().flat_map(releases_of).collect();
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, release) in releases.iter().enumerate() {
        by_name.entry(release.id.clone()).or_default().push(index);
    }
    let (mut notes, mut superfluous) = (Vec::new(), BTreeSet::new());
    for (name, indices) in by_name.into_iter().filter(|(_, indices)| indices.len() > 1) {
        let mut kept: Vec<usize> = Vec::new();
        for index in indices {
            let Some(release) = releases.get(index) else { continue };
            match twin(&releases, &kept, release)? {
                Some(known) => {
                    notes.push(format!(
                        "variant {name} of {} is declared otherwise than that of {}, which changes no value: taken once",
                        release.file, known.file
                    ));
                    superfluous.insert(index);
                }
                None => kept.push(index),
            }
        }
        rename(&mut releases, &kept);
    }
    let mut index = 0..;
    releases.retain(|_| index.next().is_none_or(|index| !superfluous.contains(&index)));
    demand_names(&releases)?;
    Ok(Merged { releases, notes })
}

/// The boot among those kept that a boot of the same name and files only repeats, on a machine declared otherwise.
fn twin<'r, 'd>(
    releases: &'r [Release<'d>],
    kept: &[usize],
    release: &Release<'d>,
) -> Result<Option<&'r Release<'d>>, ExportError> {
    for known in kept.iter().filter_map(|index| releases.get(*index)) {
        if files(known) != files(release) {
            continue;
        }
        if declared(known.scenario) == declared(release.scenario) {
            return Err(ExportError::DuplicateVariant {
                id: release.id.clone(),
                one: known.file.to_owned(),
                other: release.file.to_owned(),
            });
        }
        if same_boot(known.variant, release.variant) {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

/// Everything that values follow from, and the values with what they rest on.
fn same_boot(one: &VariantEntry, other: &VariantEntry) -> bool {
    one.pcrs == other.pcrs && one.measurements == other.measurements
}

/// How the boot was described, apart from its name.
fn declared(scenario: &ScenarioEntry) -> ScenarioEntry {
    ScenarioEntry { id: String::new(), ..scenario.clone() }
}

/// Adds digests to the names of several boots: of the files, or also of what was declared where that makes the difference.
fn rename(releases: &mut [Release<'_>], indices: &[usize]) {
    if indices.len() < 2 {
        return;
    }
    let of_files: BTreeSet<String> =
        indices.iter().filter_map(|index| releases.get(*index)).map(files).collect();
    let told_apart = of_files.len() == indices.len();
    for index in indices {
        if let Some(release) = releases.get_mut(*index) {
            let mut text = files(release);
            if !told_apart {
                text.push_str(&serde_json::to_string(&declared(release.scenario)).unwrap_or_default());
            }
            let digest = Digest::of(HashAlgorithm::Sha256, text.as_bytes()).to_string();
            release.id.extend(["-", digest.get(..8).unwrap_or_default()]);
        }
    }
}

/// A name that was made may be one that stands in a document.
fn demand_names(releases: &[Release<'_>]) -> Result<(), ExportError> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for release in releases {
        if let Some(one) = names.insert(&release.id, release.file) {
            let (one, other) = (one.to_owned(), release.file.to_owned());
            return Err(ExportError::SameName { id: release.id.clone(), one, other });
        }
    }
    Ok(())
}

fn releases_of(loaded: &Loaded) -> Vec<Release<'_>> {
    let document = &loaded.document;
    let release = |variant: &'_ VariantEntry| -> Option<(usize, usize)> {
        let image = document.images.iter().position(|image| image.id == variant.image)?;
        let scenario = document.scenarios.iter().position(|scenario| scenario.id == variant.scenario)?;
        Some((image, scenario))
    };
    let variants = document.variants.iter().filter_map(|variant| Some((variant, release(variant)?)));
    variants
        .filter_map(|(variant, (image, scenario))| {
            Some(Release {
                id: variant.id.clone(),
                file: &loaded.file,
                sha256: loaded.sha256,
                document,
                image: document.images.get(image)?,
                scenario: document.scenarios.get(scenario)?,
                variant,
                values: BTreeMap::new(),
                dropped: Vec::new(),
            })
        })
        .collect()
}

/// The digests of the image's files.
fn files(release: &Release<'_>) -> String {
    release.image.inputs.iter().map(|input| format!("{}\n", input.sha256)).collect()
}
