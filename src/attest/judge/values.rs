//! Values against values.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::attest::policy::ExpectedBoot;
use crate::tcg::{Digest, PcrIndex};

/// Every value that both sides have agrees, and there is at least one.
pub(super) fn compare_with_boot(
    boot: Option<&ExpectedBoot>,
    pcr: PcrIndex,
    values: &[Digest],
) -> (Verdict, Vec<Digest>) {
    let Some(expected) = boot.and_then(|boot| boot.values.get(&pcr)) else {
        return (Verdict::NotInPolicy, Vec::new());
    };
    let pairs: Vec<(Digest, Digest)> =
        values.iter().filter_map(|value| Some((*value, expected.get(value.algorithm())?))).collect();
    if pairs.is_empty() {
        return (Verdict::NotInPolicy, Vec::new());
    }
    if pairs.iter().all(|(value, expected)| value == expected) {
        return (Verdict::Match, Vec::new());
    }
    (Verdict::Mismatch, pairs.into_iter().map(|(_, expected)| expected).collect())
}

pub(super) fn compare_with_lists(
    lists: &BTreeMap<PcrIndex, BTreeSet<Digest>>,
    pcr: PcrIndex,
    values: &[Digest],
) -> (Verdict, Vec<Digest>) {
    let Some(list) = lists.get(&pcr) else { return (Verdict::NotInPolicy, Vec::new()) };
    let of_bank = |value: &Digest| list.iter().any(|digest| digest.algorithm() == value.algorithm());
    let comparable: Vec<&Digest> = values.iter().filter(|value| of_bank(value)).collect();
    if comparable.is_empty() {
        return (Verdict::NotInPolicy, Vec::new());
    }
    if comparable.iter().all(|value| list.contains(value)) {
        return (Verdict::Match, Vec::new());
    }
    (Verdict::Mismatch, list.iter().take(4).copied().collect())
}
