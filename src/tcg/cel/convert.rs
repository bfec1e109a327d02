//! From the firmware's log to canonical records.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::tcg::eventlog::{Event, EventLog, Register};

use super::record::{Content, Record, RecordDigests};

/// An event of a firmware log as a record. Digests and data are borrowed.
#[must_use]
pub fn record_of<'l>(log: &EventLog<'_>, event: &Event<'l>) -> Record<'l> {
    record_in(log.register(event.register), event)
}

/// An event as a record of this register.
pub(crate) fn record_in<'l>(register: Register, event: &Event<'l>) -> Record<'l> {
    Record {
        recnum: None,
        register,
        digests: RecordDigests::in_log(event.digests),
        content: Content::PcClient { event_type: event.event_type, data: Cow::Borrowed(event.data) },
        offset: event.data_offset,
    }
}

/// Counts the records of each register (CEL 1.1, section 4.1: `RECNUM` starts at 0 for each PCR or NV index).
#[derive(Debug, Clone, Default)]
pub struct Numbering(BTreeMap<Register, u64>);

impl Numbering {
    /// The next number of a register.
    pub fn next(&mut self, register: Register) -> u64 {
        let next = self.0.entry(register).or_default();
        let number = *next;
        *next = next.saturating_add(1);
        number
    }

    /// Goes on with `next` for this register.
    pub fn set(&mut self, register: Register, next: u64) {
        self.0.insert(register, next);
    }
}

/// Numbers records in the order that they have.
pub fn number(records: &mut [Record<'_>]) {
    let mut numbering = Numbering::default();
    for record in records {
        record.recnum = Some(numbering.next(record.register));
    }
}
