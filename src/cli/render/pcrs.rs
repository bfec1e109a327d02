//! Bare values for scripts.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::boot::Stage;
use crate::prediction::Prediction;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex};

/// Most values of one PCR that are listed as alternatives; more are left out, as if not known.
pub(super) const MAX_VALUES: usize = 8;

/// One value, or several possible ones.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(super) fn of(values: &BTreeSet<Digest>) -> Self {
        let mut texts: Vec<String> = values.iter().map(Digest::to_string).collect();
        if texts.len() == 1 { Self::One(texts.remove(0)) } else { Self::More(texts) }
    }
}

/// `{"sha256": {"4": "hex", "11": "hex"}}`: PCRs whose value is known in every variant.
pub(crate) fn pcrs(
    predictions: &[Prediction],
    stage: Stage,
    only: &[PcrIndex],
) -> BTreeMap<&'static str, NumberedMap<OneOrMore>> {
    let banks = predictions.first().into_iter().flat_map(|prediction| &prediction.banks);
    banks
        .map(|bank| {
            let values =
                PcrIndex::all().filter(|pcr| only.is_empty() || only.contains(pcr)).filter_map(|pcr| {
                    let values = values(predictions, stage, pcr, *bank)?;
                    Some((pcr.get(), OneOrMore::of(&values)))
                });
            (bank.name(), NumberedMap(values.collect()))
        })
        .collect()
}

/// A map whose keys are numbers, in numerical order (a JSON map of strings would put 11 before 4).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NumberedMap<T>(Vec<(u8, T)>);

impl<T> NumberedMap<T> {
    pub(super) fn new(entries: Vec<(u8, T)>) -> Self {
        Self(entries)
    }
}

impl<T: Serialize> Serialize for NumberedMap<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(number, value)| (number.to_string(), value)))
    }
}

/// `7:sha256=HEX+11:sha256=HEX`, as systemd-cryptenroll(1) takes it: PCRs with exactly one value. Only one bank can
/// be named for a PCR, so the first of the banks is taken.
pub(crate) fn systemd(predictions: &[Prediction], stage: Stage, only: &[PcrIndex]) -> anyhow::Result<String> {
    let banks = predictions.first().map_or(&[][..], |prediction| &prediction.banks);
    let Some(bank) = banks.iter().find(|bank| **bank == HashAlgorithm::Sha256).or(banks.first()) else {
        return Ok(String::new());
    };
    let terms = PcrIndex::all().filter(|pcr| only.is_empty() || only.contains(pcr)).filter_map(|pcr| {
        let values = values(predictions, stage, pcr, *bank)?;
        let value = values.iter().next().filter(|_| values.len() == 1)?;
        Some(format!("{pcr}:{bank}={value}"))
    });
    Ok(terms.collect::<Vec<_>>().join("+"))
}

/// The possible values of a PCR; `None` when a variant does not know its own, or there are too many.
pub(super) fn values(
    predictions: &[Prediction],
    stage: Stage,
    pcr: PcrIndex,
    bank: HashAlgorithm,
) -> Option<BTreeSet<Digest>> {
    let variants = predictions.iter().flat_map(|prediction| &prediction.variants);
    let values: Option<BTreeSet<Digest>> =
        variants.map(|variant| variant.pcrs.get(&pcr)?.values.get(&stage)?.digests.get(bank)).collect();
    values.filter(|values| !values.is_empty() && values.len() <= MAX_VALUES)
}
