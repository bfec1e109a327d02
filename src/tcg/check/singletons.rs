//! Events that a boot has once.

use std::collections::BTreeSet;

use crate::tcg::EventType;
use crate::tcg::event_data::{Context, EventData, NoAction, decode};

use super::{Facts, Findings, FirmwareEvent, Level};

pub(super) fn check(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for event in facts.firmware() {
        let Some(name) = singleton(facts, &event) else { continue };
        if !seen.insert(name.clone()) {
            findings.push(event.finding(
                Level::Warning,
                "duplicate",
                format!("{name} is there a second time"),
            ));
        }
    }
}

/// What an event is, if a boot has it once.
fn singleton(facts: &Facts<'_>, event: &FirmwareEvent<'_>) -> Option<String> {
    let context = Context { data_offset: event.record.offset, uintn: facts.uintn };
    match event.event_type {
        EventType::S_CRTM_VERSION | EventType::EFI_GPT_EVENT | EventType::EFI_GPT_EVENT2 => {
            Some(event.event_type.to_string())
        }
        EventType::EFI_VARIABLE_DRIVER_CONFIG => match decode(event.event_type, event.data, context).data {
            EventData::Variable(variable) if variable.is_secure_boot_policy() => {
                Some(format!("variable {}", variable.variable.name))
            }
            _ => None,
        },
        EventType::NO_ACTION => match decode(event.event_type, event.data, context).data {
            EventData::NoAction(NoAction::StartupLocality(_)) => Some("StartupLocality".to_owned()),
            EventData::NoAction(NoAction::SpecId(_)) => Some("the header".to_owned()),
            _ => None,
        },
        _ => None,
    }
}
