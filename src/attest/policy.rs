//! What is accepted: boots with their PCR values and events, and which PCRs are enforced.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::boot::Stage;
use crate::export::Loaded;
use crate::import::{Accepts, Component, PolicyValues};
use crate::reference::{BankDigests, VariantEntry};
use crate::tcg::{Digest, DigestSet, HashAlgorithm, PcrIndex};

/// What happens when a PCR is not as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The evidence is refused.
    Enforced,
    /// It is reported.
    Warned,
    /// Nothing.
    Ignored,
}

/// Which PCRs count, and at which moments of the boot.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// PCRs to enforce; empty for the default: PCRs 0 to 15 that the policy knows in every boot.
    pub enforce: BTreeSet<PcrIndex>,
    /// PCRs of which a deviation is only reported.
    pub warn: BTreeSet<PcrIndex>,
    /// PCRs that the default is not to enforce.
    pub ignore: BTreeSet<PcrIndex>,
    /// Moments at which a quote may have been made, for documents; empty for [`Stage::Ready`].
    pub stages: Vec<Stage>,
    /// SHA-1 values may decide.
    pub allow_sha1: bool,
}

/// Something that the values take for granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Assumption {
    /// Stable name.
    pub id: String,
    /// What is assumed.
    pub statement: String,
}

/// A policy that decides nothing, or can't decide what it is asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No boot, no value.
    #[error("the policy is empty: it has no PCR values, and would accept any machine")]
    Empty,
    /// Nothing is enforced.
    #[error("no PCR is enforced: the policy would accept any machine")]
    AllIgnored,
    /// An enforced PCR whose value is not known.
    #[error("PCR {pcr} can't be enforced: {reason}")]
    Unknown {
        /// The PCR.
        pcr: PcrIndex,
        /// Why its value is not known.
        reason: String,
        /// What would settle it.
        remedy: String,
    },
    /// A PCR in two classes.
    #[error("PCR {0} is named twice: a PCR is enforced, warned about or ignored")]
    Twice(PcrIndex),
}

impl PolicyError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Empty => "take a document of premeasure predict -o".to_owned(),
            Self::AllIgnored => "--enforce names PCRs that the policy has values of".to_owned(),
            Self::Unknown { remedy, .. } => remedy.clone(),
            Self::Twice(_) => "name each PCR once".to_owned(),
        }
    }
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
    /// What the enforced values take for granted.
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

/// An acceptable boot at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct ExpectedBoot {
    pub(super) name: String,
    pub(super) values: BTreeMap<PcrIndex, DigestSet>,
    /// The events that lead to the values, where the policy has them.
    pub(super) events: BTreeMap<PcrIndex, Vec<ExpectedEvent>>,
}

#[derive(Debug, Clone)]
pub(super) struct ExpectedEvent {
    pub(super) digests: DigestSet,
    pub(super) description: String,
    /// User space extends it: the firmware's log does not have it.
    pub(super) by_user_space: bool,
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
        let rests: BTreeSet<&str> = document
            .variants
            .iter()
            .flat_map(|variant| &variant.pcrs)
            .filter(|pcr| {
                PcrIndex::try_from(u32::from(pcr.index)).is_ok_and(|pcr| policy.class(pcr) == Class::Enforced)
            })
            .flat_map(|pcr| pcr.assumes.iter().map(String::as_str))
            .collect();
        let assumptions = document.scenarios.iter().flat_map(|scenario| &scenario.assumptions);
        let assumptions: BTreeSet<Assumption> = assumptions
            .filter(|entry| rests.contains(entry.id.as_str()))
            .map(|entry| Assumption { id: entry.id.clone(), statement: entry.statement.clone() })
            .collect();
        policy.assumptions = assumptions.into_iter().collect();
        Ok(policy)
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

/// Gives each PCR its class.
fn classify(
    known: &BTreeSet<PcrIndex>,
    unknown: &BTreeMap<PcrIndex, (String, String)>,
    selection: &Selection,
) -> Result<BTreeMap<PcrIndex, Class>, PolicyError> {
    let Selection { enforce, warn, ignore, .. } = selection;
    let twice = [
        enforce.intersection(warn).next(),
        enforce.intersection(ignore).next(),
        warn.intersection(ignore).next(),
    ];
    if let Some(pcr) = twice.into_iter().flatten().next() {
        return Err(PolicyError::Twice(*pcr));
    }
    if let Some(pcr) = enforce.union(warn).find(|pcr| !known.contains(pcr)) {
        let (reason, remedy) = unknown.get(pcr).cloned().unwrap_or_else(|| {
            let reason = "the policy does not have its value in every boot at this stage".to_owned();
            (reason, "choose another --stage, or leave it out of --enforce and --warn".to_owned())
        });
        return Err(PolicyError::Unknown { pcr: *pcr, reason, remedy });
    }
    let class = |pcr: PcrIndex| {
        // PCRs from 16 on can be reset while the machine runs.
        let by_default = enforce.is_empty() && pcr.get() < 16 && known.contains(&pcr);
        if enforce.contains(&pcr) {
            Class::Enforced
        } else if warn.contains(&pcr) {
            Class::Warned
        } else if by_default && !ignore.contains(&pcr) {
            Class::Enforced
        } else {
            Class::Ignored
        }
    };
    let classes: BTreeMap<PcrIndex, Class> = PcrIndex::all().map(|pcr| (pcr, class(pcr))).collect();
    if !classes.values().any(|class| *class == Class::Enforced) {
        return Err(PolicyError::AllIgnored);
    }
    Ok(classes)
}

/// A digest over everything that decides, in a fixed text form.
fn policy_id(source: Digest, classes: &BTreeMap<PcrIndex, Class>, selection: &Selection) -> Digest {
    let list = |class: Class| {
        let pcrs: Vec<String> =
            classes.iter().filter(|(_, of)| **of == class).map(|(pcr, _)| pcr.to_string()).collect();
        pcrs.join(",")
    };
    let stages: BTreeSet<&str> = selection.stages.iter().map(|stage| stage.name()).collect();
    let stages: Vec<&str> = stages.into_iter().collect();
    let text = format!(
        "premeasure verify policy 1\nsource sha256:{source}\nenforced {}\nwarned {}\nstages {}\nsha1 {}\n",
        list(Class::Enforced),
        list(Class::Warned),
        if stages.is_empty() { Stage::Ready.name().to_owned() } else { stages.join(",") },
        selection.allow_sha1,
    );
    Digest::of(HashAlgorithm::Sha256, text.as_bytes())
}

impl ExpectedBoot {
    fn of(variant: &VariantEntry, stage: Stage, stages: &BTreeSet<&str>) -> Self {
        let mut boot = Self { name: format!("{} at {stage}", variant.id), ..Self::default() };
        for entry in &variant.pcrs {
            let value = entry.values.iter().find(|value| value.stage == stage.name());
            if let (Ok(pcr), Some(value)) = (PcrIndex::try_from(u32::from(entry.index)), value) {
                boot.values.insert(pcr, digests(&value.digests));
                boot.events.insert(pcr, Vec::new());
            }
        }
        for entry in variant.measurements.iter().filter(|entry| stages.contains(entry.stage.as_str())) {
            let Ok(pcr) = PcrIndex::try_from(u32::from(entry.pcr)) else { continue };
            let Some(events) = boot.events.get_mut(&pcr) else { continue };
            events.push(ExpectedEvent {
                digests: entry.digests.as_ref().map(digests).unwrap_or_default(),
                description: entry.description.clone(),
                by_user_space: entry.event_type.is_none(),
            });
        }
        boot
    }

    fn imported(boot: &crate::import::Boot) -> Self {
        let values = boot.values.iter().map(|(pcr, value)| (*pcr, value.digests.clone())).collect();
        Self { name: boot.name.clone(), values, events: BTreeMap::new() }
    }
}

/// A document was checked before: every digest in it is one.
fn digests(banks: &BankDigests) -> DigestSet {
    let digest =
        |(bank, text): (&String, &String)| Digest::from_bytes(bank.parse().ok()?, &hex::decode(text).ok()?);
    banks.iter().filter_map(digest).collect()
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
