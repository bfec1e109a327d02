//! Formats with a list of values for each PCR.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{
    Boot, ImportError, PolicyValues, boots, config_map, content, digest, digest_of, json, pcr, per_pcr,
};

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn values(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::More(values) => values,
        }
    }
}

/// Keylime's `tpm_policy`, as file or as REST takes it (with `mask`).
pub(super) fn keylime(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "keylime";
    let policy: BTreeMap<String, OneOrMore> = json(FORMAT, bytes)?;
    let mut lists = BTreeMap::new();
    for (name, values) in policy.iter().filter(|(name, _)| *name != "mask") {
        let values = values.values().iter().map(|value| digest(FORMAT, name, value));
        lists.insert(pcr(FORMAT, name, name)?, values.collect::<Result<BTreeSet<_>, _>>()?);
    }
    per_pcr(FORMAT, lists)
}

/// Bottlerocket's `pcr-predictions.json`.
pub(super) fn bottlerocket(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "bottlerocket";
    #[derive(Deserialize)]
    struct File {
        pcrs: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    }
    let file: File = json(FORMAT, bytes)?;
    let mut lists = BTreeMap::new();
    for (name, banks) in &file.pcrs {
        let values = banks.iter().flat_map(|(bank, values)| values.iter().map(move |value| (bank, value)));
        let values = values.map(|(bank, value)| digest_of(FORMAT, &format!("pcrs.{name}"), bank, value));
        lists.insert(pcr(FORMAT, "pcrs", name)?, values.collect::<Result<BTreeSet<_>, _>>()?);
    }
    per_pcr(FORMAT, lists)
}

/// Reference values of Trustee: the payload of an RVPS `sample` message, the message, the ConfigMap of trustee-operator, or that
/// of the Trusted Execution Clusters operator. Lists of whole boots where there are such, otherwise the names of the default
/// policies (`tpm_pcr11`) and of the latter operator (`tpm_pcr4`).
pub(super) fn trustee(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "trustee";
    let payload = reference_values(FORMAT, bytes)?;
    let mut whole = Vec::new();
    let mut lists: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (name, value) in &payload {
        if let Ok(list) = serde_json::from_value::<Vec<BTreeMap<String, String>>>(value.clone()) {
            for (number, values) in list.iter().enumerate() {
                whole.push(boot(FORMAT, &format!("{name}[{number}]"), values)?);
            }
        } else if let Some(number) = name.split_once("_pcr").map(|(_, number)| number) {
            let values: Vec<String> = serde_json::from_value(value.clone())
                .map_err(|error| content(FORMAT, name.as_str(), error.to_string()))?;
            let list = lists.entry(pcr(FORMAT, name, number)?).or_default();
            for value in &values {
                list.insert(digest(FORMAT, name, value)?);
            }
        }
    }
    if whole.is_empty() { per_pcr(FORMAT, lists) } else { boots(FORMAT, whole) }
}

/// Names and values, out of whatever they are in.
fn reference_values(
    format: &'static str,
    bytes: &[u8],
) -> Result<BTreeMap<String, serde_json::Value>, ImportError> {
    #[derive(Deserialize)]
    struct Message {
        #[serde(rename = "type")]
        extractor: String,
        payload: String,
    }
    #[derive(Deserialize)]
    struct Stored {
        name: String,
        value: serde_json::Value,
    }
    if let Some(text) = config_map::entry(bytes, "reference-values.json") {
        let records: Vec<Stored> = json(format, text.as_bytes())?;
        return Ok(records.into_iter().map(|record| (record.name, record.value)).collect());
    }
    // RVPS' LocalJson storage: each value is a record in base64url.
    if let Some(text) = config_map::entry(bytes, "reference_value") {
        let records: BTreeMap<String, String> = json(format, text.as_bytes())?;
        let record = |(name, text): (String, String)| {
            let bytes = crate::export::from_base64(&text)
                .ok_or_else(|| content(format, name.as_str(), "is not base64url"))?;
            let record: Stored = json(format, &bytes)?;
            Ok((name, record.value))
        };
        return records.into_iter().map(record).collect();
    }
    let payload = match serde_json::from_slice::<Message>(bytes) {
        Ok(message) if message.extractor == "sample" => crate::export::from_base64(&message.payload)
            .ok_or_else(|| content(format, "payload", "is not base64"))?,
        Ok(message) => {
            return Err(content(format, "type", format!("'{}', expected sample", message.extractor)));
        }
        Err(_) => bytes.to_vec(),
    };
    json(format, &payload)
}

fn boot(format: &'static str, place: &str, values: &BTreeMap<String, String>) -> Result<Boot, ImportError> {
    let mut boot = Boot { name: place.to_owned(), ..Boot::default() };
    for (name, value) in values {
        let number =
            name.strip_prefix("pcr").ok_or_else(|| content(format, place, format!("'{name}' is no PCR")))?;
        boot.add(format, place, (pcr(format, place, number)?, digest(format, place, value)?))?;
    }
    Ok(boot)
}
