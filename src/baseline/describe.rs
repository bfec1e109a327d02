//! What of an event goes into a profile that is passed around: no serial number, address or name of a machine.

use crate::bytes::Reader;
use crate::tcg::eventlog::Event;
use crate::tcg::{EventType, PcrIndex};
use crate::uefi::variable::{Uintn, VariableData};

/// Longest text of the specification that is kept.
const MAX_TEXT: usize = 64;

/// The event's data, where it is the same on every machine of the platform or where images are checked against it.
/// Boot variables hold network addresses and disk identifiers, Azure's PCR 6 the name of the machine: of these only
/// the digest is kept.
pub(super) fn data(pcr: PcrIndex, event: &Event<'_>) -> Option<Vec<u8>> {
    let keep = match event.event_type {
        EventType::SEPARATOR | EventType::EFI_ACTION => event.data.len() <= MAX_TEXT,
        EventType::S_CRTM_VERSION => event.data.len() <= 4 * MAX_TEXT,
        EventType::EFI_VARIABLE_DRIVER_CONFIG | EventType::EFI_VARIABLE_AUTHORITY => pcr.get() == 7,
        _ => false,
    };
    keep.then(|| event.data.to_vec())
}

/// One line: the type, and the variable's name where it is one of the specification's.
pub(super) fn description(event: &Event<'_>) -> String {
    let kind = event.event_type.to_string();
    match event.event_type {
        EventType::EFI_VARIABLE_DRIVER_CONFIG
        | EventType::EFI_VARIABLE_BOOT
        | EventType::EFI_VARIABLE_BOOT2
        | EventType::EFI_VARIABLE_AUTHORITY => {
            let variable = VariableData::read(Reader::new(event.data), Uintn::Bits64);
            variable.map_or(kind, |variable| {
                let length = variable.data.len();
                format!("variable {}, {length} bytes", plain(&variable.name))
            })
        }
        EventType::EFI_ACTION | EventType::ACTION => plain(&String::from_utf8_lossy(event.data)),
        EventType::SEPARATOR => "separator".to_owned(),
        _ => kind,
    }
}

/// Printable ASCII, not too much of it.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_TEXT).collect()
}
