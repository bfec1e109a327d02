//! Files of systemd's tools.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Boot, Component, ImportError, PolicyValues, Record, boots, components, content, digest_of, json, pcr,
};
use crate::tcg::{DigestSet, HashAlgorithm};

#[derive(Deserialize)]
pub(super) struct NamedDigest {
    #[serde(rename = "hashAlg")]
    hash_alg: String,
    digest: String,
}

/// `systemd-measure calculate --json`: each phase is an acceptable state.
pub(super) fn measure(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "systemd-measure";
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        phase: String,
        pcr: u32,
        hash: String,
    }
    let banks: BTreeMap<String, Vec<Entry>> = json(FORMAT, bytes)?;
    let mut phases: BTreeMap<String, Boot> = BTreeMap::new();
    for (bank, entries) in &banks {
        for entry in entries {
            let digest = digest_of(FORMAT, bank, bank, &entry.hash)?;
            let pcr = pcr(FORMAT, bank, &entry.pcr.to_string())?;
            let new = || Boot { name: entry.phase.clone(), ..Boot::default() };
            let boot = phases.entry(entry.phase.clone()).or_insert_with(new);
            boot.add(FORMAT, bank, (pcr, digest))?;
        }
    }
    // A phase's path begins with that of the phase before, so the order of the names is that of the boot.
    boots(FORMAT, phases.into_values().collect())
}

/// One `.pcrlock` file: a component with one variant.
pub(super) fn pcrlock(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    let records = pcrlock_records(bytes, "")?;
    components("pcrlock", vec![Component { name: String::new(), variants: vec![records], optional: false }])
}

/// The records of a `.pcrlock` file; `file` names it in errors.
pub(super) fn pcrlock_records(bytes: &[u8], file: &str) -> Result<Vec<Record>, ImportError> {
    const FORMAT: &str = "pcrlock";
    #[derive(Deserialize)]
    struct File {
        records: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        pcr: u32,
        digests: Vec<NamedDigest>,
    }
    let named = |error: ImportError| match (file, error) {
        ("", error) => error,
        (file, error) => content(FORMAT, file, error.to_string()),
    };
    let read: File = json(FORMAT, bytes).map_err(named)?;
    let records = read.records.iter().enumerate().map(|(number, entry)| {
        let place = format!("records[{number}]");
        record(FORMAT, &place, entry.pcr, &entry.digests, String::new()).map_err(named)
    });
    records.collect()
}

/// A canonical event log: the records, in order.
pub(super) fn cel(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "cel-json";
    #[derive(Deserialize)]
    struct Entry {
        pcr: u32,
        recnum: u64,
        digests: Vec<NamedDigest>,
        #[serde(default)]
        content: BTreeMap<String, serde_json::Value>,
    }
    let entries: Vec<Entry> = json(FORMAT, bytes)?;
    let records = entries.iter().map(|entry| {
        let text = |name: &str| entry.content.get(name).and_then(serde_json::Value::as_str);
        let description = text("string").or(text("event_type")).unwrap_or_default().to_owned();
        record(FORMAT, &format!("recnum {}", entry.recnum), entry.pcr, &entry.digests, description)
    });
    let records = records.collect::<Result<Vec<_>, _>>()?;
    components(FORMAT, vec![Component { name: String::new(), variants: vec![records], optional: false }])
}

/// A record; algorithms that systemd does not know are passed over, as it does.
fn record(
    format: &'static str,
    place: &str,
    index: u32,
    digests: &[NamedDigest],
    description: String,
) -> Result<Record, ImportError> {
    let known = digests.iter().filter(|digest| digest.hash_alg.parse::<HashAlgorithm>().is_ok());
    let digests: DigestSet = known
        .map(|named| digest_of(format, place, &named.hash_alg, &named.digest))
        .collect::<Result<_, ImportError>>()?;
    if digests.is_empty() {
        return Err(content(format, place, "has no digest of a known algorithm"));
    }
    Ok(Record { pcr: pcr(format, place, &index.to_string())?, digests, description })
}
