//! Measurement maps of Constellation and of Flashbots' `cvm-reverse-proxy`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Boot, ImportError, PolicyValues, boots, config_map, content, digest, json, pcr};

const FORMAT: &str = "constellation";

/// The envelope, checked as its reader does.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) version: String,
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    pub(crate) stream: String,
    pub(crate) list: Vec<Entry>,
}

/// One cloud's map.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) csp: String,
    #[serde(rename = "attestationVariant")]
    pub(crate) attestation_variant: String,
    pub(crate) measurements: BTreeMap<u32, Measurement>,
}

/// One value; its old form is the plain text, which is enforced.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "AnyMeasurement")]
pub(crate) struct Measurement {
    pub(crate) expected: String,
    pub(crate) warn_only: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyMeasurement {
    Plain(String),
    Full {
        expected: String,
        #[serde(rename = "warnOnly", default)]
        warn_only: bool,
    },
}

impl From<AnyMeasurement> for Measurement {
    fn from(any: AnyMeasurement) -> Self {
        match any {
            AnyMeasurement::Plain(expected) => Self { expected, warn_only: false },
            AnyMeasurement::Full { expected, warn_only } => Self { expected, warn_only },
        }
    }
}

impl Envelope {
    /// Reads an envelope. Values are SHA-256, of one length, and none is the placeholder that Constellation refuses.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImportError> {
        let envelope: Self = json(FORMAT, bytes)?;
        for entry in &envelope.list {
            boot(FORMAT, &format!("{} {}", entry.csp, entry.attestation_variant), &entry.measurements)?;
        }
        Ok(envelope)
    }
}

/// Every cloud of an envelope is an acceptable boot.
pub(super) fn envelope(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    let envelope = Envelope::parse(bytes)?;
    let entries = envelope.list.iter();
    let list = entries.map(|entry| {
        boot(FORMAT, &format!("{} {}", entry.csp, entry.attestation_variant), &entry.measurements)
    });
    boots(FORMAT, list.collect::<Result<_, _>>()?)
}

/// The raw pre-calculation, or a cluster's `attestationConfig`.
pub(super) fn raw(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    #[derive(Deserialize)]
    struct Raw {
        measurements: BTreeMap<u32, Measurement>,
    }
    let raw: Raw = json("constellation-raw", bytes)?;
    boots("constellation-raw", vec![boot("constellation-raw", "", &raw.measurements)?])
}

/// A running cluster's ConfigMap.
pub(super) fn join_config(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "constellation-join-config";
    #[derive(Deserialize)]
    struct Config {
        measurements: BTreeMap<u32, Measurement>,
    }
    let config: Config = config_map::json_entry(FORMAT, bytes, "attestationConfig")?;
    boots(FORMAT, vec![boot(FORMAT, "", &config.measurements)?])
}

/// Flashbots: a list, of which one entry has to agree as a whole.
pub(super) fn flashbots(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    #[derive(Deserialize)]
    struct Item {
        measurement_id: String,
        measurements: BTreeMap<u32, Measurement>,
    }
    let items: Vec<Item> = json("flashbots", bytes)?;
    let list = items.iter().map(|item| {
        let mut boot = boot("flashbots", &item.measurement_id, &item.measurements)?;
        // Its reader knows no warnings.
        boot.values.values_mut().for_each(|value| value.warn_only = false);
        Ok(boot)
    });
    boots("flashbots", list.collect::<Result<_, ImportError>>()?)
}

fn boot(format: &'static str, name: &str, map: &BTreeMap<u32, Measurement>) -> Result<Boot, ImportError> {
    let mut boot = Boot { name: name.to_owned(), ..Boot::default() };
    let mut length = None;
    for (index, measurement) in map {
        let place = format!("{name} measurements[{index}]");
        let digest = digest(format, &place, &measurement.expected)?;
        if *length.get_or_insert(digest.algorithm()) != digest.algorithm() {
            return Err(content(format, place, "has another length than the values before it"));
        }
        if measurement.expected.starts_with("1234123412341234") {
            return Err(content(format, place, "is the placeholder that Constellation refuses"));
        }
        let pcr = pcr(format, &place, &index.to_string())?;
        boot.add(format, &place, (pcr, digest))?.warn_only = measurement.warn_only;
    }
    Ok(boot)
}
