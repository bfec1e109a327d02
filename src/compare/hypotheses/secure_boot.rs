//! Secure Boot in another state, with or without keys: PCR 7, and the kernel in PCR 4.

use super::Facts;
use super::deviation::{Deviation, Edit};
use crate::bytes::Reader;
use crate::compare::causes::Code;
use crate::compare::model::Event;
use crate::compare::topic::Topic;
use crate::secure_boot::append_lists;
use crate::tcg::PcrIndex;
use crate::uefi::guid::{GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE};
use crate::uefi::signature_list::SignatureList;
use crate::uefi::variable::{Uintn, VariableData, variable_data};

const PCR: PcrIndex = PcrIndex::new(7);
/// Entries of db that may have let the images start.
const MAX_AUTHORITIES: usize = 32;
/// The variables that hold keys and lists.
const KEYS: [&str; 4] = ["PK", "KEK", "db", "dbx"];

pub(super) fn deviations(facts: &Facts<'_>) -> Vec<Deviation> {
    let mut all = kernel(facts);
    all.extend(revocations(facts));
    let Some((index, event)) = variable(facts, "SecureBoot") else { return all };
    let state = event.data.as_deref().and_then(value).unwrap_or_default();
    let set = |to: &[u8]| Edit::Replace(index, facts.hash(&variable_data(GLOBAL_VARIABLE, "SecureBoot", to)));
    let without_authorities = |deviation: Deviation| {
        let authorities = facts.of(7).filter(|(_, event)| matches!(event.topic, Topic::Authority(_)));
        authorities.fold(deviation, |deviation, (index, _)| deviation.with(PCR, Edit::Remove(index)))
    };
    let off = |detail: &str| without_authorities(Deviation::new(Code::SecureBoot, detail));
    if state != [0] {
        all.push(off("Secure Boot is off").with(PCR, set(&[0])));
    }
    if !state.is_empty() {
        all.push(
            off("the firmware has no Secure Boot: the variable SecureBoot does not exist")
                .with(PCR, set(&[])),
        );
    }
    if state != [1] {
        all.extend(on(facts, set(&[1])));
    }
    all.extend(without_keys(facts, off("no keys are enrolled (setup mode)").with(PCR, set(&[0]))));
    let detail = "the firmware has neither Secure Boot nor keys: none of the variables exists";
    all.extend(without_keys(facts, off(detail).with(PCR, set(&[]))));
    all
}

/// Secure Boot is on: some entry of db let each image start, and the stub's kernel is not measured.
fn on(facts: &Facts<'_>, set: Edit) -> Vec<Deviation> {
    let plain = Deviation::new(Code::SecureBoot, "Secure Boot is on").with(PCR, set);
    let db = variable(facts, "db").and_then(|(_, event)| event.data.as_deref()).and_then(value);
    let (lists, _) = SignatureList::read_all(Reader::new(db.unwrap_or_default()));
    let entries = lists.iter().flat_map(SignatureList::entries).take(MAX_AUTHORITIES);
    let with = entries.map(|entry| {
        let bytes = [&entry.owner.to_bytes()[..], entry.data].concat();
        let digest = facts.hash(&variable_data(IMAGE_SECURITY_DATABASE, "db", &bytes));
        plain.clone().with(PCR, Edit::Append(vec![digest]))
    });
    let mut all: Vec<Deviation> = with.collect();
    all.push(plain);
    all
}

/// The same firmware with its keys taken out.
fn without_keys(facts: &Facts<'_>, base: Deviation) -> Option<Deviation> {
    let keys: Vec<(usize, &str)> =
        KEYS.into_iter().filter_map(|name| Some((variable(facts, name)?.0, name))).collect();
    let all = keys.iter().fold(base, |deviation, (index, name)| {
        let vendor = if matches!(*name, "PK" | "KEK") { GLOBAL_VARIABLE } else { IMAGE_SECURITY_DATABASE };
        let digest = facts.hash(&variable_data(vendor, name, &[]));
        deviation.with(PCR, Edit::Replace(*index, digest))
    });
    (!keys.is_empty()).then_some(Deviation { code: Code::SecureBootKeys, ..all })
}

/// dbx after an update, as the firmware appends it; replaced with the update's lists; deleted.
fn revocations(facts: &Facts<'_>) -> Vec<Deviation> {
    let Some((index, event)) = variable(facts, "dbx") else { return Vec::new() };
    let Some(old) = event.data.as_deref().and_then(value) else { return Vec::new() };
    let with = |detail: String, content: &[u8]| {
        let digest = facts.hash(&variable_data(IMAGE_SECURITY_DATABASE, "dbx", content));
        Deviation::new(Code::Dbx, detail).with(PCR, Edit::Replace(index, digest))
    };
    let mut all = Vec::new();
    for (name, update) in facts.dbx_updates {
        if let Ok(appended) = append_lists(old, update) {
            all.push(with(format!("dbx was updated with {name}"), &appended));
        }
        all.push(with(format!("dbx was replaced with {name}"), update));
    }
    if !old.is_empty() {
        all.push(with("dbx was deleted".to_owned(), &[]));
    }
    all
}

/// With Secure Boot on the stub bypasses the firmware's check of its kernel, and with it the measurement (to 261).
fn kernel(facts: &Facts<'_>) -> Vec<Deviation> {
    let in_stub = |event: &Event| {
        let section = event.origin.as_ref().and_then(|origin| origin.section.as_deref());
        event.topic == Topic::Kernel && section == Some(".linux")
    };
    let kernels = facts.of(4).filter(|(_, event)| in_stub(event));
    kernels
        .map(|(index, _)| {
            let detail = "Secure Boot is on: the stub starts its kernel without the firmware measuring it";
            Deviation::new(Code::SecureBoot, detail).with(PcrIndex::new(4), Edit::Remove(index))
        })
        .collect()
}

fn variable<'f>(facts: &'f Facts<'_>, name: &str) -> Option<(usize, &'f Event)> {
    facts.of(7).find(|(_, event)| matches!(&event.topic, Topic::SecureBootVariable(of) if of == name))
}

/// The content of a variable.
fn value(data: &[u8]) -> Option<&[u8]> {
    VariableData::read(Reader::new(data), Uintn::default()).ok().map(|variable| variable.data)
}
