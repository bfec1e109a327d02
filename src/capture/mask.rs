//! Logs without secrets: bytes are overwritten in place, so that records and digests stay what they are.

use std::ops::Range;

use super::CapturedLog;
use super::identities::Identities;
use super::secrets::{find, identity_spans, shadow_of, spans};
use crate::bytes::Reader;
use crate::export::base64;
use crate::tcg::EventType;
use crate::tcg::eventlog::EventLog;
use crate::uefi::guid;

/// What stands for a character of a text.
const MASK: u8 = b'*';

/// Nodes of device paths that name one device: their beginning (type, subtype, length), and where the name is (UEFI 2.10,
/// section 10.3.4 and 10.3.5).
const NODES: &[(&[u8], Range<usize>)] = &[
    // Hard drive: Partition Signature.
    (&[0x04, 0x01, 0x2A, 0x00], 24..40),
    // NVM Express namespace: IEEE Extended Unique Identifier.
    (&[0x03, 0x17, 0x10, 0x00], 8..16),
    // MAC address.
    (&[0x03, 0x0B, 0x25, 0x00], 4..36),
    // IPv4 and IPv6: addresses and ports.
    (&[0x03, 0x0C, 0x1B, 0x00], 4..27),
    (&[0x03, 0x0D, 0x3C, 0x00], 4..60),
];

/// Data of keys and certificates, names of firmware's volumes, and what no one measured: no texts of a machine.
const NO_TEXT: &[EventType] = &[
    EventType::NO_ACTION,
    EventType::EFI_PLATFORM_FIRMWARE_BLOB,
    EventType::EFI_PLATFORM_FIRMWARE_BLOB2,
    EventType::EFI_VARIABLE_DRIVER_CONFIG,
    EventType::EFI_VARIABLE_AUTHORITY,
];

const DEVICE_PATHS: &[EventType] = &[
    EventType::EFI_VARIABLE_BOOT,
    EventType::EFI_VARIABLE_BOOT2,
    EventType::EFI_BOOT_SERVICES_APPLICATION,
    EventType::EFI_BOOT_SERVICES_DRIVER,
    EventType::EFI_RUNTIME_SERVICES_DRIVER,
];

/// A part of a log.
struct Place {
    number: Option<u64>,
    event_type: Option<EventType>,
    range: Range<usize>,
}

/// Firmware's log without secrets and names of devices.
pub(super) fn firmware(bytes: &[u8], identities: &mut Identities) -> CapturedLog {
    let places = places(bytes);
    for place in places.iter().filter(|place| is_gpt(place)) {
        let data = bytes.get(place.range.clone()).unwrap_or_default();
        partition_guids(data).into_iter().for_each(|guid| identities.add_guid(guid));
    }
    let mut masked = bytes.to_vec();
    let mut log = CapturedLog { data: String::new(), masked_events: Vec::new(), masked_rest: false };
    for place in places {
        let Some(data) = masked.get_mut(place.range.clone()) else { continue };
        if mask(data, place.event_type, identities) {
            match place.number {
                Some(number) => log.masked_events.push(number),
                None => log.masked_rest = true,
            }
        }
    }
    log.data = base64(&masked);
    log
}

/// The data of each event, and what stands behind the last one: it may be the rest of a log that is cut off.
fn places(bytes: &[u8]) -> Vec<Place> {
    let log = match EventLog::parse(bytes) {
        Ok(log) => log,
        Err(broken) => broken.prefix,
    };
    let range = |start: u64, length: usize| {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        start..start.saturating_add(length)
    };
    let events = log.events().map(|event| Place {
        number: Some(event.number.into()),
        event_type: Some(event.event_type),
        range: range(event.data_offset, event.data.len()),
    });
    let mut places: Vec<Place> = events.collect();
    let end = usize::try_from(log.end()).unwrap_or(usize::MAX).min(bytes.len());
    places.push(Place { number: None, event_type: None, range: end..bytes.len() });
    places
}

fn is_gpt(place: &Place) -> bool {
    matches!(place.event_type, Some(EventType::EFI_GPT_EVENT | EventType::EFI_GPT_EVENT2))
}

/// `DiskGUID` and each `UniquePartitionGUID` of a `UEFI_GPT_DATA` (PC Client PFP 1.06, 10.2.6; UEFI 2.10, 5.3).
fn partition_guids(data: &[u8]) -> Vec<guid::Guid> {
    const DISK: usize = 56;
    const ENTRIES: usize = 100;
    const ENTRY: usize = 128;
    const UNIQUE: usize = 16;
    let read = |at: usize| guid::read(&mut Reader::new(data.get(at..)?), "GUID").ok();
    let places = (ENTRIES..data.len()).step_by(ENTRY).map(|entry| entry.saturating_add(UNIQUE));
    std::iter::once(DISK).chain(places).filter_map(read).collect()
}

/// Overwrites what is not for others; whether there was something.
fn mask(data: &mut [u8], event_type: Option<EventType>, identities: &Identities) -> bool {
    let before = data.to_vec();
    for secret in &identities.bytes {
        fill(data, &before, secret, 0..secret.len(), 0);
    }
    if event_type.is_none_or(|event_type| DEVICE_PATHS.contains(&event_type)) {
        for (beginning, range) in NODES {
            fill(data, &before, beginning, range.clone(), 0);
        }
    }
    let is_text = event_type.is_none_or(|event_type| !NO_TEXT.contains(&event_type));
    let spans = if is_text { spans } else { identity_spans };
    let bytes: Vec<u8> = before.iter().map(|byte| shadow_of(u32::from(*byte))).collect();
    for span in spans(&bytes, identities) {
        data.get_mut(span.range).unwrap_or_default().fill(MASK);
    }
    for shift in [0, 1] {
        let (units, _) = before.get(shift..).unwrap_or_default().as_chunks::<2>();
        let units: Vec<u8> = units.iter().map(|unit| shadow_of(u16::from_le_bytes(*unit).into())).collect();
        for span in spans(&units, identities) {
            let place = |unit: usize| unit.saturating_mul(2).saturating_add(shift);
            let wide = data.get_mut(place(span.range.start)..place(span.range.end)).unwrap_or_default();
            for unit in wide.as_chunks_mut::<2>().0 {
                *unit = [MASK, 0];
            }
        }
    }
    data != before
}

/// Fills a range behind each place of `beginning`.
fn fill(data: &mut [u8], before: &[u8], beginning: &[u8], range: Range<usize>, with: u8) {
    let mut at = 0;
    while let Some(found) = find(before, beginning, at) {
        at = found.saturating_add(1);
        let end = found.saturating_add(range.end).min(data.len());
        data.get_mut(found.saturating_add(range.start)..end).unwrap_or_default().fill(with);
    }
}

/// systemd's log: the texts in `content`. `None` when a record can't be read, since a secret might be in it.
pub(super) fn userspace(bytes: &[u8], identities: &Identities) -> Option<CapturedLog> {
    let mut masked = Vec::new();
    let mut log = CapturedLog { data: String::new(), masked_events: Vec::new(), masked_rest: false };
    let records = bytes.split(|byte| *byte == 0x1E).filter(|text| !text.trim_ascii().is_empty());
    for (number, text) in records.enumerate() {
        let mut record: serde_json::Value = serde_json::from_slice(text).ok()?;
        let content = record.get_mut("content")?;
        if mask_json(content, identities) {
            log.masked_events.push(number as u64);
        }
        masked.push(0x1E);
        masked.extend(serde_json::to_vec(&record).ok()?);
        masked.push(b'\n');
    }
    log.data = base64(&masked);
    Some(log)
}

fn mask_json(value: &mut serde_json::Value, identities: &Identities) -> bool {
    use serde_json::Value;
    match value {
        Value::String(text) => {
            let shadow: Vec<u8> = text.chars().map(|character| shadow_of(u32::from(character))).collect();
            let spans = spans(&shadow, identities);
            let is_masked = |at: usize| spans.iter().any(|span| span.range.contains(&at));
            if spans.is_empty() {
                return false;
            }
            let masked = text.chars().enumerate();
            *text = masked.map(|(at, character)| if is_masked(at) { '*' } else { character }).collect();
            true
        }
        Value::Array(values) => {
            values.iter_mut().fold(false, |any, value| mask_json(value, identities) | any)
        }
        Value::Object(values) => {
            values.iter_mut().fold(false, |any, (_, value)| mask_json(value, identities) | any)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// IMA's log can't be masked: its digests of other banks are computed from its data. Whether it holds anything that would
/// have to be.
pub(super) fn ima_has_secrets(bytes: &[u8], identities: &Identities) -> bool {
    let shadow: Vec<u8> = bytes.iter().map(|byte| shadow_of(u32::from(*byte))).collect();
    !identity_spans(&shadow, identities).is_empty()
}
