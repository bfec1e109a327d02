//! What is accepted: boots with their PCR values and events, and which PCRs are enforced.

mod classes;
mod expected;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::boot::Stage;
use crate::export::Loaded;
use crate::import::{Accepts, Component, PolicyValues};
use crate::reference::{Document, PcrEntry, VariantEntry};
use crate::tcg::{Digest, DigestSet, HashAlgorithm, PcrIndex};
pub use classes::{Class, PolicyError, Selection};
use classes::{classify, policy_id};
pub(super) use expected::{ExpectedBoot, ExpectedEvent};

/// Something that the values take for granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Assumption {
    /// Stable name.
    pub id: String,
    /// What is assumed.
    pub statement: String,
}

/// Reference values, ready to be compared.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) accepted: Accepted,
    /// The same boots at moments that are not accepted: to name the moment that a value is of.
    pub(super) elsewhen: Vec<ExpectedBoot>,
    pub(super) classes: BTreeMap<PcrIndex, Class>,
    pub(super) allow_sha1: bool,
    /// Why PCRs of the policy's own document are not known, for the report.
    pub(super) unknown: BTreeMap<PcrIndex, String>,
    /// The format that it was read from.
    pub format: String,
    /// What the enforced values take for granted, of any boot.
    pub assumptions: Vec<Assumption>,
    /// SHA-256 of the policy's file.
    pub source: Digest,
    /// SHA-256 over the source's digest and every choice that was made about it: equal policies have equal ids.
    pub id: Digest,
}

/// How values are accepted.
#[derive(Debug, Clone)]
pub(super) enum Accepted {
    /// One of these, with all its PCRs.
    Boots(Vec<ExpectedBoot>),
    /// For each PCR one of these values.
    PerPcr(BTreeMap<PcrIndex, BTreeSet<Digest>>),
    /// These events.
    Components(Vec<Component>),
}

impl Policy {
    /// A reference document: its variants as wholes, at the chosen stages.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn from_document(loaded: &Loaded, selection: &Selection) -> Result<Self, PolicyError> {
        let document = &loaded.document;
        let stages = if selection.stages.is_empty() { vec![Stage::Ready] } else { selection.stages.clone() };
        let (mut boots, mut elsewhen) = (Vec::new(), Vec::new());
        for variant in &document.variants {
            for stage in Stage::ALL {
                let until = document.stages.iter().position(|entry| entry.id == stage.name());
                let Some(until) = until else { continue };
                let before: BTreeSet<&str> = document
                    .stages
                    .iter()
                    .take(until.saturating_add(1))
                    .map(|entry| entry.id.as_str())
                    .collect();
                let boot = ExpectedBoot::of(variant, stage, &before);
                if stages.contains(&stage) { boots.push(boot) } else { elsewhen.push(boot) }
            }
        }
        let unknown = unknown_pcrs(&document.variants);
        let mut policy = Self::new(Accepted::Boots(boots), unknown, "premeasure", loaded.sha256, selection)?;
        policy.elsewhen = elsewhen;
        policy.assume(document);
        Ok(policy)
    }

    /// Notes for each boot, and for all of them together, what the values of the enforced PCRs rest on.
    fn assume(&mut self, document: &Document) {
        let of_variant = |variant: &VariantEntry| -> Vec<Assumption> {
            let is_enforced = |pcr: &&PcrEntry| {
                PcrIndex::try_from(u32::from(pcr.index)).is_ok_and(|pcr| self.class(pcr) == Class::Enforced)
            };
            let rests: BTreeSet<&str> = variant
                .pcrs
                .iter()
                .filter(is_enforced)
                .flat_map(|pcr| pcr.assumes.iter().map(String::as_str))
                .collect();
            let scenario = document.scenarios.iter().filter(|scenario| scenario.id == variant.scenario);
            let entries = scenario.flat_map(|scenario| &scenario.assumptions);
            let assumptions: BTreeSet<Assumption> = entries
                .filter(|entry| rests.contains(entry.id.as_str()))
                .map(|entry| Assumption { id: entry.id.clone(), statement: entry.statement.clone() })
                .collect();
            assumptions.into_iter().collect()
        };
        let by_variant: BTreeMap<&str, Vec<Assumption>> =
            document.variants.iter().map(|variant| (variant.id.as_str(), of_variant(variant))).collect();
        let all: BTreeSet<&Assumption> = by_variant.values().flatten().collect();
        self.assumptions = all.into_iter().cloned().collect();
        if let Accepted::Boots(boots) = &mut self.accepted {
            for boot in boots {
                boot.assumptions = by_variant.get(boot.variant.as_str()).cloned().unwrap_or_default();
            }
        }
    }

    /// A policy that was read by [`crate::import`]; `source` is the SHA-256 of its file.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn from_values(
        values: &PolicyValues,
        source: Digest,
        selection: &Selection,
    ) -> Result<Self, PolicyError> {
        let mut selection = selection.clone();
        let accepted = match &values.accepts {
            Accepts::Boots(boots) => {
                let warned = boots.iter().flat_map(|boot| &boot.values).filter(|(_, value)| value.warn_only);
                let named = selection.enforce.union(&selection.ignore).copied().collect::<BTreeSet<_>>();
                selection.warn.extend(warned.map(|(pcr, _)| *pcr).filter(|pcr| !named.contains(pcr)));
                Accepted::Boots(boots.iter().map(ExpectedBoot::imported).collect())
            }
            Accepts::PerPcr(lists) => Accepted::PerPcr(lists.clone()),
            Accepts::Components(components) => Accepted::Components(components.clone()),
        };
        Self::new(accepted, BTreeMap::new(), values.format, source, &selection)
    }

    fn new(
        accepted: Accepted,
        unknown: BTreeMap<PcrIndex, (String, String)>,
        format: &str,
        source: Digest,
        selection: &Selection,
    ) -> Result<Self, PolicyError> {
        let known = accepted.known();
        if known.is_empty() && selection.enforce.is_empty() {
            return Err(PolicyError::Empty);
        }
        let classes = classify(&known, &unknown, selection)?;
        let id = policy_id(source, &classes, selection);
        Ok(Self {
            accepted,
            elsewhen: Vec::new(),
            classes,
            allow_sha1: selection.allow_sha1,
            unknown: unknown.into_iter().map(|(pcr, (reason, _))| (pcr, reason)).collect(),
            format: format.to_owned(),
            assumptions: Vec::new(),
            source,
            id,
        })
    }

    /// What happens when a PCR is not as expected.
    #[must_use]
    pub fn class(&self, pcr: PcrIndex) -> Class {
        self.classes.get(&pcr).copied().unwrap_or(Class::Ignored)
    }

    /// The PCRs of a class, ascending.
    pub fn pcrs(&self, class: Class) -> impl Iterator<Item = PcrIndex> + '_ {
        self.classes.iter().filter(move |(_, of)| **of == class).map(|(pcr, _)| *pcr)
    }

    /// The banks that it has values in.
    pub(super) fn banks(&self) -> BTreeSet<HashAlgorithm> {
        match &self.accepted {
            Accepted::Boots(boots) => boots
                .iter()
                .flat_map(|boot| boot.values.values())
                .flat_map(DigestSet::iter)
                .map(|digest| digest.algorithm())
                .collect(),
            Accepted::PerPcr(lists) => lists.values().flatten().map(Digest::algorithm).collect(),
            Accepted::Components(components) => components
                .iter()
                .flat_map(|component| component.variants.iter().flatten())
                .flat_map(|record| record.digests.iter())
                .map(|digest| digest.algorithm())
                .collect(),
        }
    }
}

impl Accepted {
    /// PCRs whose value is known, in every boot.
    fn known(&self) -> BTreeSet<PcrIndex> {
        match self {
            Self::Boots(boots) => {
                let all = |pcr: &PcrIndex| {
                    !boots.is_empty() && boots.iter().all(|boot| boot.values.contains_key(pcr))
                };
                PcrIndex::all().filter(all).collect()
            }
            Self::PerPcr(lists) => lists.keys().copied().collect(),
            Self::Components(components) => {
                components.iter().flat_map(|c| c.variants.iter().flatten()).map(|record| record.pcr).collect()
            }
        }
    }
}

/// PCRs that some variant has a gap in: why, and what would settle it.
fn unknown_pcrs(variants: &[VariantEntry]) -> BTreeMap<PcrIndex, (String, String)> {
    let pcrs = variants.iter().flat_map(|variant| &variant.pcrs);
    pcrs.filter_map(|entry| {
        let pcr = PcrIndex::try_from(u32::from(entry.index)).ok()?;
        let gap = entry.gaps.first()?;
        let at = format!("{}, from {} on", gap.reason, gap.stage);
        Some((pcr, (at, gap.remedy.clone())))
    })
    .collect()
}
