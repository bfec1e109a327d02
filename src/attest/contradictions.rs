//! Events whose data or place no firmware writes so.
//!
//! Digests decide without them, and no digest covers them: they accept nothing. They only show that a log was edited, and
//! by somebody who wants its readers to see something else than what was measured.

use std::collections::BTreeMap;

use crate::tcg::cel::{Content, Record};
use crate::tcg::check::contradiction;
use crate::tcg::event_data::{Context, EventData, NoAction, decode};
use crate::tcg::eventlog::Register;
use crate::tcg::{EventType, HashAlgorithm, PcrIndex};
use crate::uefi::variable::Uintn;

/// By PCR, the first of each bank.
#[derive(Debug, Default)]
pub(super) struct Contradictions {
    found: BTreeMap<PcrIndex, Vec<Contradiction>>,
    startup_localities: u64,
}

#[derive(Debug)]
struct Contradiction {
    /// The bank of the digest that does not fit; `None` where it is none's.
    bank: Option<HashAlgorithm>,
    detail: String,
}

impl Contradictions {
    /// The next record of a boot, and its place: which log, and which record in it.
    pub(super) fn look_at(
        &mut self,
        record: &Record<'_>,
        place: (usize, u64),
        uintn: Uintn,
        banks: &[HashAlgorithm],
    ) {
        let Register::Pcr(pcr) = record.register else { return };
        let (log, number) = place;
        let name = || format!("record {number} of log {}", log.saturating_add(1));
        let of_pcr = self.found.entry(pcr).or_default();
        if is_startup_locality(record) {
            self.startup_localities = self.startup_localities.saturating_add(1);
            if self.startup_localities == 2 {
                let detail = format!("{} is a second StartupLocality", name());
                of_pcr.push(Contradiction { bank: None, detail });
            }
        }
        for bank in banks {
            if of_pcr.iter().any(|known| known.bank == Some(*bank)) {
                continue;
            }
            if let Some(what) = contradiction(record, number, uintn, *bank) {
                of_pcr.push(Contradiction { bank: Some(*bank), detail: format!("{} {what}", name()) });
            }
        }
    }

    /// The first one of a PCR, as far as digests in these banks tell.
    pub(super) fn of(&self, pcr: PcrIndex, banks: &[HashAlgorithm]) -> Option<&str> {
        let counts = |known: &&Contradiction| known.bank.is_none_or(|bank| banks.contains(&bank));
        self.found.get(&pcr)?.iter().find(counts).map(|known| known.detail.as_str())
    }
}

fn is_startup_locality(record: &Record<'_>) -> bool {
    let Content::PcClient { event_type: EventType::NO_ACTION, data } = &record.content else { return false };
    matches!(
        decode(EventType::NO_ACTION, data, Context::default()).data,
        EventData::NoAction(NoAction::StartupLocality(_))
    )
}
