//! The values of another moment, where one moment was asked for.

use super::Facts;
use super::deviation::{Deviation, Edit};
use crate::boot::Stage;
use crate::compare::causes::Code;
use crate::compare::topic::Topic;
use crate::tcg::words::{NVPCR_SEPARATOR, OS_SEPARATOR, phase_runs};
use crate::tcg::{Digest, PcrIndex};

/// PCRs that get the `os-separator` (systemd-pcrosseparator.service).
const SEPARATED: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14];

pub(super) fn deviations(facts: &Facts<'_>) -> Vec<Deviation> {
    let mut all = other_stages(facts);
    all.extend(phases(facts));
    all.extend(barrier(facts));
    all.extend(nvpcrs(facts));
    all
}

/// Another stage of the same prediction.
fn other_stages(facts: &Facts<'_>) -> Vec<Deviation> {
    let of = |stage: Stage| {
        let detail = format!("the values are those of {stage}");
        let mut deviation = Deviation::new(Code::Phase, detail);
        for (index, event) in facts.events.iter().enumerate() {
            let Some(at) = event.stage else { continue };
            if at > stage && at <= facts.stage {
                deviation = deviation.with(event.pcr, Edit::Remove(index));
            } else if at <= stage && at > facts.stage {
                let digest = event.digests.get(facts.bank);
                deviation = deviation.with(event.pcr, Edit::Append(digest.into_iter().collect()));
            }
        }
        deviation
    };
    Stage::ALL.into_iter().filter(|stage| *stage != facts.stage).map(of).collect()
}

/// Phase words that the prediction does not have, or has otherwise.
fn phases(facts: &Facts<'_>) -> Vec<Deviation> {
    let pcr = PcrIndex::new(11);
    phase_runs()
        .into_iter()
        .map(|words| {
            let digests: Vec<Digest> = words.iter().map(|word| facts.hash(word.as_bytes())).collect();
            let detail = format!("systemd went on with {}", words.join(", "));
            Deviation::new(Code::Phase, detail).ranked(1).with(pcr, Edit::Append(digests))
        })
        .collect()
}

/// systemd's separator between firmware and user space, from 261 on: there though not expected, or the other way round.
fn barrier(facts: &Facts<'_>) -> Vec<Deviation> {
    let digest = facts.hash(OS_SEPARATOR.as_bytes());
    let mut ran = Deviation::new(Code::Barrier, "systemd 261 or later extended os-separator in the initrd");
    let mut did_not = Deviation::new(Code::Barrier, "systemd did not extend os-separator");
    for number in SEPARATED {
        let pcr = PcrIndex::new(number);
        let expected = facts.of(number).find(|(_, event)| event.topic == Topic::OsSeparator);
        match expected {
            Some((index, _)) => did_not = did_not.with(pcr, Edit::Remove(index)),
            None => ran = ran.with(pcr, Edit::Append(vec![digest])),
        }
    }
    [ran, did_not].into_iter().filter(|deviation| !deviation.edits.is_empty()).collect()
}

/// systemd's word behind the NvPCRs, from 259 on (systemd-pcrnvdone.service).
fn nvpcrs(facts: &Facts<'_>) -> Option<Deviation> {
    let expected = facts.of(9).any(|(_, event)| event.topic == Topic::NvPcrSeparator);
    let word = Edit::Append(vec![facts.hash(NVPCR_SEPARATOR.as_bytes())]);
    let detail = "systemd 259 or later extended nvpcr-separator behind its NvPCRs";
    (!expected).then(|| Deviation::new(Code::Barrier, detail).with(PcrIndex::new(9), word))
}
