//! Several recorded boots of one platform: what they share, and what differs.

use std::collections::BTreeSet;

use super::PlatformPart;
use crate::tcg::{DigestSet, HashAlgorithm, PcrIndex};

/// Most ways in which a platform may differ that are followed as alternatives.
pub const MAX_PARTS: usize = 8;

/// Parts that are the same become one. If more than [`MAX_PARTS`] remain, they become one in which the registers that
/// differ are not known: that many kinds of boots say that these registers are not the platform's to predict.
#[must_use]
pub fn merge(parts: Vec<PlatformPart>) -> Vec<PlatformPart> {
    let banks = common_banks(&parts);
    let mut merged: Vec<PlatformPart> = Vec::new();
    for mut part in parts {
        part.restrict(&banks);
        match merged.iter_mut().find(|known| known.measures_the_same(&part)) {
            Some(known) => {
                for log in part.logs {
                    if !known.logs.contains(&log) {
                        known.logs.push(log);
                    }
                }
            }
            None => merged.push(part),
        }
    }
    if merged.len() > MAX_PARTS { vec![join(merged)] } else { merged }
}

fn common_banks(parts: &[PlatformPart]) -> Vec<HashAlgorithm> {
    let in_all = |bank: &HashAlgorithm| parts.iter().all(|part| part.banks.contains(bank));
    let banks: BTreeSet<HashAlgorithm> = parts.iter().flat_map(|part| part.banks.iter().copied()).collect();
    banks.into_iter().filter(in_all).collect()
}

fn join(parts: Vec<PlatformPart>) -> PlatformPart {
    let differs = |pcr: &PcrIndex, one: &PlatformPart, other: &PlatformPart| {
        !one.of(*pcr).map(|event| &event.digests).eq(other.of(*pcr).map(|event| &event.digests))
    };
    let mut parts = parts.into_iter();
    let mut joined = parts.next().unwrap_or_default();
    for part in parts {
        let differing: Vec<PcrIndex> = PcrIndex::all().filter(|pcr| differs(pcr, &joined, &part)).collect();
        joined.unstable.extend(differing);
        if joined.pcr0_start != part.pcr0_start {
            joined.unstable.insert(PcrIndex::new(0));
        }
        if joined.images_in_pcr_2 != part.images_in_pcr_2 {
            joined.unstable.extend([2, 4, 5].map(PcrIndex::new));
        }
        joined.logs.extend(part.logs);
    }
    let unstable = joined.unstable.clone();
    joined.events.retain(|event| !unstable.contains(&event.pcr));
    joined
}

impl PlatformPart {
    fn restrict(&mut self, banks: &[HashAlgorithm]) {
        self.banks = banks.to_vec();
        for event in &mut self.events {
            event.digests = event
                .digests
                .iter()
                .filter(|digest| banks.contains(&digest.algorithm()))
                .collect::<DigestSet>();
        }
    }

    fn measures_the_same(&self, other: &Self) -> bool {
        let key = |part: &Self| -> Vec<_> {
            part.events.iter().map(|event| (event.pcr, event.event_type, event.digests.clone())).collect()
        };
        self.pcr0_start == other.pcr0_start
            && self.images_in_pcr_2 == other.images_in_pcr_2
            && self.unstable == other.unstable
            && key(self) == key(other)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::baseline::{LogName, PlatformEvent};
    use crate::tcg::{Digest, EventType};

    fn part(name: &str, pcr0: &[u8], pcr1: &[u8], banks: &[HashAlgorithm]) -> PlatformPart {
        let event = |pcr: u8, data: &[u8]| PlatformEvent {
            pcr: PcrIndex::new(pcr),
            event_type: EventType::POST_CODE,
            digests: banks.iter().map(|bank| Digest::of(*bank, data)).collect(),
            data: None,
            description: String::new(),
            at_exit: false,
        };
        PlatformPart {
            logs: vec![LogName { name: name.to_owned(), sha256: String::new() }],
            banks: banks.to_vec(),
            events: vec![event(0, pcr0), event(1, pcr1)],
            ..PlatformPart::default()
        }
    }

    const SHA256: &[HashAlgorithm] = &[HashAlgorithm::Sha256];

    #[test]
    fn equal_boots_become_one_and_different_ones_stay_alternatives() {
        let both = &[HashAlgorithm::Sha1, HashAlgorithm::Sha256];
        let merged = merge(vec![
            part("a", b"code", b"x", both),
            part("b", b"code", b"x", SHA256),
            part("c", b"code", b"y", SHA256),
        ]);
        let names: Vec<Vec<&str>> =
            merged.iter().map(|part| part.logs.iter().map(|log| log.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c"]]);
        assert!(merged.iter().all(|part| part.banks == SHA256), "only what all logs have");
    }

    #[test]
    fn too_many_kinds_of_boots_leave_a_register_unknown() {
        let parts = (0..=MAX_PARTS).map(|n| part(&n.to_string(), b"code", n.to_string().as_bytes(), SHA256));
        let merged = merge(parts.collect());
        assert_eq!(merged.len(), 1);
        assert_eq!(merged[0].unstable, BTreeSet::from([PcrIndex::new(1)]));
        assert_eq!(merged[0].of(PcrIndex::new(0)).count(), 1, "what is the same stays known");
        assert_eq!(merged[0].of(PcrIndex::new(1)).count(), 0);
    }
}
