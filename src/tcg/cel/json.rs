//! CEL-JSON (CEL 1.0, section 5.3) and systemd's JSON text sequence.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::Unique;
use crate::tcg::eventlog::{Register, RegisterKind};
use crate::tcg::{AlgorithmId, EventType, HashAlgorithm};

use super::record::{Content, Management, Record, RecordDigests, Systemd};
use super::{MAX_RECORDS, Records};

/// A JSON record that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {record} at offset {offset:#x}: {why}")]
pub struct JsonError {
    /// The number of the record in the file, from 0.
    pub record: usize,
    /// Offset in the file where reading stopped, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
}

/// Reads an array of records, also as systemd-pcrlock wraps it: `{"records": […]}`.
#[must_use]
pub fn read_json(bytes: &[u8]) -> Records<'static> {
    let mut records = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let result = Log(&mut records).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    let error = result.err().map(|error| {
        let offset = offset_of(bytes, error.line(), error.column());
        JsonError { record: records.len(), offset, why: without_place(&error) }.into()
    });
    Records { records, error }
}

/// Reads systemd's `tpm2-measure.log`: each record begins with the byte 0x1E (RFC 7464). A last record that is cut
/// off is what a crash leaves behind; it is an error here, with the records before it.
#[must_use]
pub fn read_json_sequence(bytes: &[u8]) -> Records<'static> {
    const RECORD_SEPARATOR: u8 = 0x1E;
    let mut records = Vec::new();
    let mut offset = 0_u64;
    for text in bytes.split(|byte| *byte == RECORD_SEPARATOR) {
        let start = offset;
        offset = offset.saturating_add(text.len() as u64).saturating_add(1);
        if text.trim_ascii().is_empty() {
            continue;
        }
        let read = serde_json::from_slice::<ReadRecord>(text)
            .map_err(|error| {
                let place = offset_of(text, error.line(), error.column());
                (start.saturating_add(place), without_place(&error))
            })
            .and_then(|record| record.into_record(start).map_err(|why| (start, why)));
        match read {
            Ok(record) if records.len() < MAX_RECORDS => records.push(record),
            Ok(_) => {
                let why = format!("more than {MAX_RECORDS} records");
                let error = JsonError { record: records.len(), offset: start, why };
                return Records { records, error: Some(error.into()) };
            }
            Err((offset, why)) => {
                let error = JsonError { record: records.len(), offset, why };
                return Records { records, error: Some(error.into()) };
            }
        }
    }
    Records { records, error: None }
}

/// Collects the records of a log into a list outside, so that they survive an error.
struct Log<'r>(&'r mut Vec<Record<'static>>);

impl<'de> DeserializeSeed<'de> for Log<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Log<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of CEL records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while let Some(record) = sequence.next_element::<ReadRecord>()? {
            if self.0.len() >= MAX_RECORDS {
                return Err(serde::de::Error::custom(format!("more than {MAX_RECORDS} records")));
            }
            self.0.push(record.into_record(0).map_err(serde::de::Error::custom)?);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "records" && !found {
                found = true;
                map.next_value_seed(Log(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found {
            Ok(())
        } else {
            Err(serde::de::Error::custom("an object without 'records' is no event log"))
        }
    }
}

/// A record to write.
#[derive(Debug, Serialize)]
pub(super) struct JsonRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recnum: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pcr: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nv_index: Option<u32>,
    /// Not in the specification, which has no confidential guests: the index of the measurement register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ccmr: Option<u32>,
    pub(super) digests: Vec<JsonDigest>,
    pub(super) content_type: String,
    pub(super) content: Value,
}

/// A record as it stands in the file.
#[derive(Deserialize)]
struct ReadRecord {
    recnum: Option<u64>,
    pcr: Option<u32>,
    nv_index: Option<u32>,
    ccmr: Option<u32>,
    digests: Vec<JsonDigest>,
    content_type: String,
    content: Unique,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JsonDigest {
    #[serde(rename = "hashAlg")]
    pub(super) algorithm: String,
    pub(super) digest: String,
}

#[derive(Deserialize)]
struct JsonPcClient {
    event_type: Value,
    #[serde(default)]
    event_data: String,
}

#[derive(Deserialize)]
struct JsonIma {
    template_name: String,
    template_data: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonSystemd {
    #[serde(default)]
    pub(super) string: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nv_index_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) boot_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event_type: Option<String>,
}

#[derive(Deserialize)]
struct JsonManagement {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Value,
}

impl ReadRecord {
    fn into_record(self, offset: u64) -> Result<Record<'static>, String> {
        let register = self.register()?;
        let mut digests = RecordDigests::default();
        for digest in &self.digests {
            let algorithm = algorithm(&digest.algorithm)?;
            let bytes = hex::decode(&digest.digest).map_err(|error| format!("digests.digest: {error}"))?;
            digests.push(algorithm, &bytes).map_err(|error| format!("digests: {error}"))?;
        }
        let content = content(&self.content_type, self.content.0)?;
        Ok(Record { recnum: self.recnum, register, digests, content, offset })
    }

    fn register(&self) -> Result<Register, String> {
        Ok(match (self.pcr, self.nv_index, self.ccmr) {
            (Some(index), None, None) => Register::of(RegisterKind::Pcr, index),
            (None, Some(index), None) => Register::Nv(index),
            (None, None, Some(index)) => Register::of(RegisterKind::Mr, index),
            _ => return Err("exactly one of pcr, nv_index and ccmr is expected".to_owned()),
        })
    }
}

/// `sha256`, `TPM_ALG_SHA256`, or the number of an algorithm that has no name here.
fn algorithm(name: &str) -> Result<AlgorithmId, String> {
    let plain = name.strip_prefix("TPM_ALG_").unwrap_or(name);
    if let Ok(known) = plain.parse::<HashAlgorithm>() {
        return Ok(known.id());
    }
    let digits = plain.strip_prefix("0x").map(|hex| u16::from_str_radix(hex, 16));
    match digits.unwrap_or_else(|| plain.parse()) {
        Ok(number) => Ok(AlgorithmId(number)),
        Err(_) => Err(format!("digests.hashAlg: '{name}' is no hash algorithm")),
    }
}

fn content(kind: &str, value: Value) -> Result<Content<'static>, String> {
    Ok(match kind {
        "pcclient_std" => {
            let content: JsonPcClient = parse(value)?;
            let data =
                hex::decode(&content.event_data).map_err(|error| format!("content.event_data: {error}"))?;
            Content::PcClient { event_type: event_type(&content.event_type)?, data: Cow::Owned(data) }
        }
        "ima_template" => {
            let content: JsonIma = parse(value)?;
            let data = hex::decode(&content.template_data)
                .map_err(|error| format!("content.template_data: {error}"))?;
            Content::ImaTemplate { name: Cow::Owned(content.template_name), data: Cow::Owned(data) }
        }
        "systemd" if value.is_object() => {
            let content: JsonSystemd = parse(value)?;
            Content::Systemd(Box::new(Systemd {
                string: content.string,
                event_type: content.event_type,
                boot_id: content.boot_id,
                timestamp: content.timestamp,
                nv_index_name: content.nv_index_name,
            }))
        }
        "cel" => Content::Management(management(parse(value)?)?),
        other => Content::Other(other.to_owned(), Cow::Owned(value.to_string().into_bytes())),
    })
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("content: {error}"))
}

/// The specification's name, a number, or a number as text.
fn event_type(value: &Value) -> Result<EventType, String> {
    let number = match value {
        Value::String(name) => {
            if let Some(known) = EventType::from_name(name) {
                return Ok(known);
            }
            match name.strip_prefix("0x") {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => name.parse().ok(),
            }
        }
        other => other.as_u64().and_then(|number| u32::try_from(number).ok()),
    };
    number.map(EventType).ok_or_else(|| format!("content.event_type: {value} is no event type"))
}

fn management(content: JsonManagement) -> Result<Management, String> {
    let number =
        |value: &Value| value.as_u64().ok_or_else(|| "content.data: a number is expected".to_owned());
    let small = |value: &Value| number(value).map(|number| u16::try_from(number).unwrap_or(u16::MAX));
    Ok(match content.kind.as_str() {
        "firmware_end" => Management::FirmwareEnd,
        "cel_timestamp" => Management::Timestamp(number(&content.data)?),
        "cel_version" => {
            let member = |name| content.data.get(name).unwrap_or(&Value::Null);
            Management::Version { major: small(member("major"))?, minor: small(member("minor"))? }
        }
        "state_trans" => Management::StateTransition(match content.data.as_str() {
            Some("suspend") => 0,
            Some("hibernate") => 1,
            Some("kexec") => 2,
            Some(other) => return Err(format!("content.data: '{other}' is no state transition")),
            None => number(&content.data)?,
        }),
        other => return Err(format!("content.type: '{other}' is no CEL management type")),
    })
}

/// serde_json counts lines and columns, both from 1; a column of 0 is the end of the line before.
fn offset_of(bytes: &[u8], line: usize, column: usize) -> u64 {
    let before: u64 = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .fold(0, |sum, line| sum.saturating_add(line.len() as u64));
    before.saturating_add(column.saturating_sub(1) as u64)
}

/// The message without `at line 1 column 2`: we name the offset.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}
