//! Digests and data that contradict each other, where the specification says that one is the hash of the other.

use crate::tcg::event_data::{Rule, coverage};
use crate::tcg::{Digest, EventType};

use super::{Facts, Finding, Findings, FirmwareEvent, Level};

pub(super) fn check(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    for event in facts.firmware().filter(|event| must_agree(event.event_type)) {
        for bank in event.record.digests.banks() {
            if let Some(digest) = event.record.digests.get(bank) {
                findings.extend(compare(facts, &event, digest));
            }
        }
    }
}

/// The digest of an event that has to be over its data, and is not.
pub(super) fn disagreement(facts: &Facts<'_>, event: &FirmwareEvent<'_>, digest: Digest) -> Option<Finding> {
    must_agree(event.event_type).then(|| compare(facts, event, digest)).flatten()
}

/// PFP, section 10.4.1, table "Events", column "Digest": types whose digest is over their own data.
fn must_agree(event_type: EventType) -> bool {
    matches!(
        event_type,
        EventType::SEPARATOR
            | EventType::ACTION
            | EventType::EFI_ACTION
            | EventType::S_CRTM_VERSION
            | EventType::OMIT_BOOT_DEVICE_EVENTS
            | EventType::EFI_GPT_EVENT
            | EventType::EFI_VARIABLE_DRIVER_CONFIG
            | EventType::EFI_VARIABLE_BOOT
            | EventType::EFI_VARIABLE_BOOT2
            | EventType::EFI_VARIABLE_AUTHORITY
    )
}

fn compare(facts: &Facts<'_>, event: &FirmwareEvent<'_>, digest: Digest) -> Option<Finding> {
    // An empty variable or action has nothing to disagree with but its hash.
    let agrees = match coverage(event.event_type, event.data, digest, facts.uintn).rule {
        Rule::Nothing => event.data.is_empty() && Digest::of(digest.algorithm(), &[]) == digest,
        Rule::WholeData => true,
        // EDK2 hashes a boot variable's data alone, AMI the whole structure: both are usual.
        Rule::VariableData => event.event_type == EventType::EFI_VARIABLE_BOOT,
        _ => false,
    };
    if agrees || is_empty_boot_variable(facts, event, digest) {
        return None;
    }
    let bank = digest.algorithm();
    let text = format!("the {bank} digest is not the hash of the event's data");
    Some(event.finding(Level::Error, "digest-mismatch", text))
}

/// A boot variable without content has the digest of no bytes, and its data still has the name.
fn is_empty_boot_variable(facts: &Facts<'_>, event: &FirmwareEvent<'_>, digest: Digest) -> bool {
    use crate::bytes::Reader;
    use crate::uefi::variable::VariableData;
    event.event_type == EventType::EFI_VARIABLE_BOOT
        && VariableData::read(Reader::new(event.data), facts.uintn)
            .is_ok_and(|variable| variable.data.is_empty())
        && Digest::of(digest.algorithm(), &[]) == digest
}
