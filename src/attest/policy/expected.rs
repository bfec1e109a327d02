//! The boots of a policy: values and events.

use std::collections::{BTreeMap, BTreeSet};

use super::Assumption;
use crate::boot::Stage;
use crate::reference::{BankDigests, VariantEntry};
use crate::tcg::{Digest, DigestSet, EventType, PcrIndex};

/// An acceptable boot at one moment.
#[derive(Debug, Clone, Default)]
pub(in crate::attest) struct ExpectedBoot {
    pub(in crate::attest) name: String,
    /// The variant of the document that it is; empty for other policies.
    pub(in crate::attest) variant: String,
    pub(in crate::attest) values: BTreeMap<PcrIndex, DigestSet>,
    /// The events that lead to the values, where the policy has them.
    pub(in crate::attest) events: BTreeMap<PcrIndex, Vec<ExpectedEvent>>,
    /// What the values of the enforced PCRs take for granted.
    pub(in crate::attest) assumptions: Vec<Assumption>,
}

#[derive(Debug, Clone)]
pub(in crate::attest) struct ExpectedEvent {
    pub(in crate::attest) digests: DigestSet,
    pub(in crate::attest) description: String,
    /// What firmware's log calls it, where the policy says that.
    pub(in crate::attest) kind: Option<EventType>,
    /// User space extends it: the firmware's log does not have it.
    pub(in crate::attest) by_user_space: bool,
}

impl ExpectedBoot {
    pub(super) fn of(variant: &VariantEntry, stage: Stage, stages: &BTreeSet<&str>) -> Self {
        let name = format!("{} at {stage}", variant.id);
        let mut boot = Self { name, variant: variant.id.clone(), ..Self::default() };
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
                kind: entry.event_type.as_deref().and_then(EventType::from_name),
                by_user_space: entry.event_type.is_none(),
            });
        }
        boot
    }

    pub(super) fn imported(boot: &crate::import::Boot) -> Self {
        let values = boot.values.iter().map(|(pcr, value)| (*pcr, value.digests.clone())).collect();
        Self { name: boot.name.clone(), values, ..Self::default() }
    }
}

/// A document was checked before: every digest in it is one.
fn digests(banks: &BankDigests) -> DigestSet {
    let digest =
        |(bank, text): (&String, &String)| Digest::from_bytes(bank.parse().ok()?, &hex::decode(text).ok()?);
    banks.iter().filter_map(digest).collect()
}
