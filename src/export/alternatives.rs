//! What a format accepts beyond the boots that were meant.

use std::collections::{BTreeMap, BTreeSet};

use super::exporter::Alternatives;
use super::release::Export;

/// What has to be said about several boots in one policy.
pub(super) fn warnings(export: &Export<'_>) -> Option<String> {
    match export.exporter.alternatives {
        Alternatives::PerPcr => mixtures(export),
        Alternatives::Joint => weaker_boots(export),
        // The first takes variants of whole components, the second takes no alternatives.
        Alternatives::PerComponent | Alternatives::None => None,
    }
}

/// A list for each PCR also accepts PCRs of one boot together with those of another, unless the boots already are all that the
/// lists allow: two that differ in one PCR only can't be mixed.
fn mixtures(export: &Export<'_>) -> Option<String> {
    let distinct = export.distinct();
    let mut lists: BTreeMap<u8, BTreeSet<Vec<Option<&str>>>> = BTreeMap::new();
    for release in &distinct {
        for pcr in release.values.keys() {
            let value = export.banks.iter().map(|bank| release.hex(*pcr, *bank)).collect();
            lists.entry(*pcr).or_default().insert(value);
        }
    }
    more_than(lists.values().map(BTreeSet::len), distinct.len()).then(|| {
        let names: Vec<&str> = distinct.iter().map(|release| release.id.as_str()).collect();
        format!(
            "{} has a list for each PCR: it also accepts PCRs of one boot together with PCRs of another ({})",
            export.exporter.name,
            names.join(", ")
        )
    })
}

/// Lists of these lengths have more combinations than there are boots.
pub(super) fn more_than(lengths: impl Iterator<Item = usize>, boots: usize) -> bool {
    lengths.fold(1_usize, usize::saturating_mul) > boots
}

/// A machine has to agree with one of the boots, so that what the least demanding one leaves open is open.
fn weaker_boots(export: &Export<'_>) -> Option<String> {
    let distinct = export.distinct();
    let enforced: Vec<BTreeSet<u8>> = distinct
        .iter()
        .map(|release| release.values.iter().filter(|(_, v)| v.enforced).map(|(pcr, _)| *pcr).collect())
        .collect();
    let all: BTreeSet<u8> = enforced.iter().flatten().copied().collect();
    let mut lacking: BTreeMap<Vec<u8>, Vec<&str>> = BTreeMap::new();
    for (release, pcrs) in distinct.iter().zip(&enforced) {
        let missing: Vec<u8> = all.difference(pcrs).copied().collect();
        if !missing.is_empty() {
            lacking.entry(missing).or_default().push(&release.id);
        }
    }
    let numbers = |pcrs: &[u8]| pcrs.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let sentences: Vec<String> = lacking
        .iter()
        .map(|(pcrs, ids)| format!("{} without PCR {}", ids.join(", "), numbers(pcrs)))
        .collect();
    (!sentences.is_empty()).then(|| {
        let common: Vec<u8> = all.into_iter().filter(|pcr| enforced.iter().all(|set| set.contains(pcr))).collect();
        format!(
            "the boots do not demand the same PCRs: {}; who agrees with such a boot may have anything there. --pcr {} demands \
             the same of all",
            sentences.join("; "),
            common.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
        )
    })
}
