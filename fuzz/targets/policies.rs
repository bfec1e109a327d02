//! What the fuzz target of policies does with its bytes. `tests/export/imports.rs` does the same on stable.

use premeasure::import::{Accepts, IMPORTERS, PolicyValues, detect};
use premeasure::sign::{dsse, sigstore};

/// A policy of any format, and what signatures come in: what is read demands something, and is detected.
pub(crate) fn import(data: &[u8]) {
    let mut read = 0;
    for importer in IMPORTERS {
        if let Ok(policy) = (importer.read)(data) {
            assert_eq!(policy.format, importer.name);
            demands_something(&policy);
            read += 1;
        }
    }
    assert_eq!(detect(data).is_ok(), read > 0);
    let _ = dsse::Envelope::parse(data);
    let _ = sigstore::Bundle::parse(data);
    let _ = premeasure::export::load("fuzz", data);
}

fn demands_something(policy: &PolicyValues) {
    let demands = match &policy.accepts {
        Accepts::Boots(boots) => {
            let full = |boot: &premeasure::import::Boot| {
                !boot.values.is_empty() && boot.values.values().all(|value| !value.digests.is_empty())
            };
            !boots.is_empty() && boots.iter().all(full)
        }
        Accepts::PerPcr(lists) => !lists.is_empty(),
        Accepts::Components(components) => {
            components.iter().flat_map(|component| &component.variants).flatten().next().is_some()
        }
    };
    assert!(demands, "{}: would accept any machine", policy.format);
}
