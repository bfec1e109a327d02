//! Policies made of events: components in the order of the boot, one variant of each.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::log::Replayed;
use crate::import::{Component, Record};
use crate::tcg::{HashAlgorithm, PcrIndex};

/// Most ways through a log that are followed at once. Real policies have one or two alternatives at a time.
const MAX_STATES: usize = 1024;

/// How far each enforced PCR's events are accounted for.
type Position = BTreeMap<PcrIndex, usize>;

/// Why a log is not what the components make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unmatched {
    /// The PCR with the first event that nothing accounts for.
    pub(super) pcr: Option<PcrIndex>,
    pub(super) detail: String,
}

/// The enforced PCRs, with the banks in which each of them was quoted and the log replays to its value. A digest in any
/// other bank is only claimed: whoever wrote the log made it up as they liked.
pub(super) type ProvenBanks = BTreeMap<PcrIndex, Vec<HashAlgorithm>>;

/// Matches every event of the enforced PCRs by digest: nothing may be skipped, nothing left over.
pub(super) fn match_events(
    components: &[Component],
    enforced: &ProvenBanks,
    log: &Replayed,
) -> Result<(), Unmatched> {
    let start: Position = enforced.keys().map(|pcr| (*pcr, 0)).collect();
    let mut states = BTreeSet::from([start.clone()]);
    let mut furthest = start;
    for component in components {
        let mut next = BTreeSet::new();
        for state in &states {
            if component.optional {
                next.insert(state.clone());
            }
            let ways = component.variants.iter().filter_map(|records| advance(state, records, log, enforced));
            next.extend(ways);
        }
        if next.is_empty() {
            return Err(unmatched(&furthest, log, &format!("component '{}' fits nowhere", component.name)));
        }
        if next.len() > MAX_STATES {
            let detail = format!("the policy has more than {MAX_STATES} ways to read this log");
            return Err(Unmatched { pcr: None, detail });
        }
        furthest = next
            .iter()
            .max_by_key(|state| state.values().copied().sum::<usize>())
            .cloned()
            .unwrap_or(furthest);
        states = next;
    }
    let complete = |state: &Position| state.iter().all(|(pcr, at)| log.events(*pcr).len() == *at);
    if states.iter().any(complete) {
        return Ok(());
    }
    Err(unmatched(&furthest, log, "no component accounts for it"))
}

/// Goes over the records of a variant; records of other PCRs count as there.
fn advance(state: &Position, records: &[Record], log: &Replayed, enforced: &ProvenBanks) -> Option<Position> {
    let mut state = state.clone();
    for record in records {
        let Some(at) = state.get_mut(&record.pcr) else { continue };
        let event = log.events(record.pcr).get(*at)?;
        let mut compared = 0_usize;
        let proven = enforced.get(&record.pcr).map_or(&[][..], Vec::as_slice);
        for expected in proven.iter().filter_map(|bank| record.digests.get(*bank)) {
            if event.digest(expected.algorithm()) != Some(expected) {
                return None;
            }
            compared = compared.saturating_add(1);
        }
        if compared == 0 {
            return None;
        }
        *at = at.saturating_add(1);
    }
    Some(state)
}

fn unmatched(state: &Position, log: &Replayed, why: &str) -> Unmatched {
    let left = state.iter().find(|(pcr, at)| log.events(**pcr).len() > **at);
    match left {
        Some((pcr, at)) => {
            let number = at.saturating_add(1);
            Unmatched { pcr: Some(*pcr), detail: format!("event {number} of PCR {pcr}: {why}") }
        }
        None => Unmatched { pcr: None, detail: why.to_owned() },
    }
}
