//! Logs, reduced to what decides: for each PCR the digests in their order, and what they replay to.

use std::collections::{BTreeMap, BTreeSet};

use super::contradictions::Contradictions;
use super::refusal::{Code, Refusal};
use crate::tcg::cel::Content;
use crate::tcg::eventlog::{Register, RegisterKind, Replay};
use crate::tcg::timeline::{BootLog, TimelineRecord, merge};
use crate::tcg::{Digest, EventType, HashAlgorithm, PcrIndex, PcrValues};

/// Events of all logs together: as many as one log may have.
const MAX_EVENTS: usize = 1 << 20;

/// The logs of one boot, replayed in some banks.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    values: PcrValues,
    start: PcrValues,
    /// By PCR: each event's digests, in the order of the replayed banks.
    events: BTreeMap<PcrIndex, Vec<Logged>>,
    contradictions: Contradictions,
}

/// An event as far as it decides: no data.
#[derive(Debug)]
pub(super) struct Logged {
    /// Which log, and which record in it, for messages.
    pub(super) place: (usize, u64),
    /// What it says it is, in a log of firmware. No digest covers that: it accepts nothing, it can only refuse.
    pub(super) kind: Option<EventType>,
    /// In the banks of the replay, where the record has them.
    pub(super) digests: Vec<Digest>,
}

impl Logged {
    pub(super) fn digest(&self, bank: HashAlgorithm) -> Option<Digest> {
        self.digests.iter().copied().find(|digest| digest.algorithm() == bank)
    }
}

impl Replayed {
    /// Reads and replays logs. Of several, firmware's comes first. `masked` says of which events, by log and number, the
    /// data was masked, so that it is not compared with the digest; `None` compares none, where only values are wanted.
    pub(super) fn read(
        logs: &[&[u8]],
        masked: Option<&BTreeSet<(usize, u64)>>,
        banks: &[HashAlgorithm],
    ) -> Result<Self, Refusal> {
        let logs: Vec<BootLog<'_>> = logs.iter().map(|bytes| BootLog::read(bytes)).collect();
        for (number, log) in (1_usize..).zip(&logs) {
            if let Some(error) = &log.error {
                return Err(Refusal::new(Code::LogMalformed, format!("log {number}: {error}")));
            }
            if log.register_kind() == Some(RegisterKind::Mr) {
                let detail = format!("log {number} is of a confidential guest's registers, not of PCRs");
                return Err(Refusal::new(Code::LogMalformed, detail));
            }
        }
        if logs.iter().map(BootLog::len).fold(0, usize::saturating_add) > MAX_EVENTS {
            return Err(Refusal::new(Code::LogMalformed, format!("more than {MAX_EVENTS} events")));
        }
        Ok(Self::replay(&logs, masked, banks))
    }

    fn replay(
        logs: &[BootLog<'_>],
        masked: Option<&BTreeSet<(usize, u64)>>,
        banks: &[HashAlgorithm],
    ) -> Self {
        let mut replay = Replay::new(banks.iter().copied());
        let mut events: BTreeMap<PcrIndex, Vec<Logged>> = BTreeMap::new();
        let mut contradictions = Contradictions::default();
        for TimelineRecord { log, number, record, uintn } in merge(logs) {
            if masked.is_some_and(|masked| !masked.contains(&(log, number))) {
                contradictions.look_at(&record, (log, number), uintn, banks);
            }
            // The one thing that a log's data says and that counts: where PCR 0 starts. A lie there does not replay to the
            // quoted value.
            let mut kind = None;
            if let Content::PcClient { event_type, data } = &record.content {
                replay.prepare(record.register, *event_type, data);
                kind = Some(*event_type);
            }
            if !record.is_extended() {
                continue;
            }
            replay.extend(number, record.register, |bank| record.digests.get(bank));
            if let Register::Pcr(pcr) = record.register {
                let digests = banks.iter().filter_map(|bank| record.digests.get(*bank)).collect();
                events.entry(pcr).or_default().push(Logged { place: (log, number), kind, digests });
            }
        }
        let mut start = PcrValues::default();
        for bank in banks {
            for pcr in PcrIndex::all() {
                let locality = replay.pcr0_start().filter(|_| pcr.get() == 0);
                start.set(pcr, locality.map_or_else(|| pcr.start_value(*bank), |start| start.value(*bank)));
            }
        }
        Self { values: replay.values(), start, events, contradictions }
    }

    /// What a PCR holds if the logs are true; its start value when they have nothing for it.
    pub(super) fn value(&self, bank: HashAlgorithm, pcr: PcrIndex) -> Option<Digest> {
        self.values.get(bank, pcr).or_else(|| self.start.get(bank, pcr))
    }

    /// What of a PCR's events no firmware wrote, as far as digests in these banks tell.
    pub(super) fn contradiction(&self, pcr: PcrIndex, banks: &[HashAlgorithm]) -> Option<&str> {
        self.contradictions.of(pcr, banks)
    }

    /// The events of a PCR.
    pub(super) fn events(&self, pcr: PcrIndex) -> &[Logged] {
        self.events.get(&pcr).map_or(&[], Vec::as_slice)
    }
}
