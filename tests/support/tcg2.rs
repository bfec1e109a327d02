//! A second reading of the crypto-agile event log (TCG PC Client PFP, section 10), written apart from the library's so that
//! a mistake in one shows in the other. It takes well-formed logs only and panics on anything else.

use std::collections::BTreeMap;

const NO_ACTION: u32 = 3;
/// `EV_EFI_BOOT_SERVICES_APPLICATION`: its event data holds load addresses, which no image determines.
pub(crate) const IMAGE_LOAD: u32 = 0x8000_0003;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) pcr: u32,
    pub(crate) event_type: u32,
    /// Lower-case hex by bank name.
    pub(crate) digests: BTreeMap<String, String>,
    pub(crate) data: Vec<u8>,
}

impl Event {
    /// The name of the event type, for the types that occur in PCR 4 and up.
    pub(crate) fn type_name(&self) -> String {
        match self.event_type {
            0x4 => "EV_SEPARATOR".into(),
            0x6 => "EV_EVENT_TAG".into(),
            0xd => "EV_IPL".into(),
            IMAGE_LOAD => "EV_EFI_BOOT_SERVICES_APPLICATION".into(),
            0x8000_0007 => "EV_EFI_ACTION".into(),
            other => format!("{other:#x}"),
        }
    }
}

/// The events that extend a PCR, in the order of the log.
pub(crate) fn parse(log: &[u8]) -> Vec<Event> {
    let mut rest = log;
    assert_eq!(number(&mut rest, 4), 0, "pcrIndex of the Spec ID event");
    assert_eq!(number(&mut rest, 4), u64::from(NO_ACTION), "eventType of the Spec ID event");
    take(&mut rest, 20);
    let size = number(&mut rest, 4);
    let banks = banks(take(&mut rest, size));
    let mut events = Vec::new();
    while !rest.is_empty() {
        let event = event(&mut rest, &banks);
        if event.event_type != NO_ACTION {
            events.push(event);
        }
    }
    events
}

/// `TCG_EfiSpecIDEvent.digestSizes`: name and digest size by `TPM_ALG_ID`.
fn banks(mut spec_id: &[u8]) -> BTreeMap<u64, (&'static str, u64)> {
    assert_eq!(take(&mut spec_id, 16), b"Spec ID Event03\0");
    take(&mut spec_id, 8);
    let count = number(&mut spec_id, 4);
    let mut bank = || {
        let (algorithm, size) = (number(&mut spec_id, 2), number(&mut spec_id, 2));
        let name = match algorithm {
            0x4 => "sha1",
            0xb => "sha256",
            0xc => "sha384",
            0xd => "sha512",
            0x12 => "sm3_256",
            other => panic!("TPM_ALG_ID {other:#x}"),
        };
        (algorithm, (name, size))
    };
    (0..count).map(|_| bank()).collect()
}

/// One `TCG_PCR_EVENT2`.
fn event(rest: &mut &[u8], banks: &BTreeMap<u64, (&'static str, u64)>) -> Event {
    let (pcr, event_type, count) = (number(rest, 4), number(rest, 4), number(rest, 4));
    let mut digest = || {
        let (name, size) = banks[&number(rest, 2)];
        (name.to_owned(), hex::encode(take(rest, size)))
    };
    let digests = (0..count).map(|_| digest()).collect();
    let size = number(rest, 4);
    Event { pcr: pcr as u32, event_type: event_type as u32, digests, data: take(rest, size).to_vec() }
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> &'a [u8] {
    let (head, tail) = rest.split_at(usize::try_from(length).expect("fits"));
    *rest = tail;
    head
}

/// A little-endian number of `width` bytes.
fn number(rest: &mut &[u8], width: u64) -> u64 {
    take(rest, width).iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}
