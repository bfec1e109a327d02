//! Writing a log back, field by field: what was read comes out byte for byte.

use super::log::EventLog;
use super::record::{Event, Layout};

/// The whole log: ACPI table, records, padding, as they were read.
#[must_use]
pub fn write_log(log: &EventLog<'_>) -> Vec<u8> {
    let mut bytes = log.leading_bytes().to_vec();
    for event in log.events() {
        let layout = if event.number == 0 { Layout::Sha1 } else { log.layout() };
        write_event(&event, layout, &mut bytes);
    }
    bytes.extend_from_slice(log.trailer_bytes());
    bytes
}

/// Appends one record.
pub fn write_event(event: &Event<'_>, layout: Layout<'_>, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&event.register.to_le_bytes());
    bytes.extend_from_slice(&event.event_type.0.to_le_bytes());
    if let Layout::CryptoAgile(_) = layout {
        bytes.extend_from_slice(&length32(event.digests.iter().count()));
    }
    for (algorithm, digest) in event.digests.iter() {
        if let Layout::CryptoAgile(_) = layout {
            bytes.extend_from_slice(&algorithm.0.to_le_bytes());
        }
        bytes.extend_from_slice(digest);
    }
    bytes.extend_from_slice(&length32(event.data.len()));
    bytes.extend_from_slice(event.data);
}

/// A length field. Event data was read from a record whose length field has 32 bits, so it always fits.
fn length32(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}
