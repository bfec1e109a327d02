//! Events for programs: `schemas/log-show.schema.json`.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use serde_json::Value as Json;

use super::input::Logs;
use super::show::{Shown, Trust};
use crate::cli::output::plain_json;
use crate::tcg::event_data::{Field, Rule, Value};
use crate::tcg::eventlog::{Pcr0Start, Register};
use crate::tcg::timeline::BootLog;

pub(super) fn print<'l>(logs: &Logs<'_>, events: impl Iterator<Item = Shown<'l>>) -> anyhow::Result<()> {
    // Written event by event: a log of a million events is not held twice.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    write(&mut out, logs, events)?;
    out.flush()?;
    Ok(())
}

/// The same to anywhere.
pub(super) fn write<'l>(
    out: &mut impl Write,
    logs: &Logs<'_>,
    events: impl Iterator<Item = Shown<'l>>,
) -> anyhow::Result<()> {
    let described: Vec<JsonLog<'_>> =
        logs.names.iter().zip(&logs.logs).map(|(name, log)| JsonLog::new(name, log)).collect();
    write!(out, "{{\"logs\":{},\"events\":[", plain_json(&serde_json::to_string(&described)?))?;
    for (index, event) in events.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(out, "{comma}\n{}", plain_json(&serde_json::to_string(&JsonEvent::new(&event))?))?;
    }
    writeln!(out, "\n]}}")?;
    Ok(())
}

/// Memory for text up to a limit: what is written beyond is dropped.
pub(super) struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Bounded {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    /// The text; cut right behind the limit where it is longer, so that it is longer than the limit still.
    pub(super) fn into_text(self) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.bytes)?)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() <= self.limit {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Serialize)]
struct JsonLog<'l> {
    name: &'l str,
    format: String,
    records: usize,
    banks: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    startup_locality: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<'l> JsonLog<'l> {
    fn new(name: &'l str, log: &BootLog<'_>) -> Self {
        let start = log.as_firmware().and_then(|log| log.replay().pcr0_start());
        Self {
            name,
            format: log.format.to_string(),
            records: log.len(),
            banks: log.banks().into_iter().map(crate::tcg::HashAlgorithm::name).collect(),
            startup_locality: start.map(Pcr0Start::last_byte),
            error: log.error.as_ref().map(ToString::to_string),
        }
    }
}

#[derive(Serialize)]
struct JsonEvent {
    log: usize,
    number: u64,
    offset: u64,
    register_kind: &'static str,
    register: u32,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_number: Option<u32>,
    extended: bool,
    digests: BTreeMap<String, String>,
    summary: String,
    data: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vouched: Option<bool>,
    rule: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    fields: Vec<JsonField>,
}

#[derive(Serialize)]
struct JsonField {
    name: String,
    value: Json,
    data: &'static str,
}

impl JsonEvent {
    fn new(event: &Shown<'_>) -> Self {
        let record = &event.record.record;
        let digests = record.digests.iter().map(|(algorithm, digest)| {
            let name = algorithm
                .known()
                .map_or_else(|| format!("{:#06x}", algorithm.0), |known| known.name().to_owned());
            (name, hex::encode(digest))
        });
        Self {
            log: event.record.log,
            number: event.record.number,
            offset: record.offset,
            register_kind: register_kind(record.register),
            register: record.register.index(),
            event_type: event.type_name(),
            type_number: record.event_type().map(|event_type| event_type.0),
            extended: record.is_extended() && record.register.slot().is_some(),
            digests: digests.collect(),
            summary: event.summary.clone(),
            data: event.trust().name(),
            vouched: event.vouched,
            rule: rule_name(event.coverage.rule),
            problem: event.problem.clone(),
            fields: event.fields.iter().map(|field| JsonField::new(event, field)).collect(),
        }
    }
}

impl JsonField {
    fn new(event: &Shown<'_>, field: &Field) -> Self {
        let value = match &field.value {
            Value::Text(text) => Json::from(text.as_str()),
            Value::Number(number) | Value::Hex(number) => Json::from(*number),
            Value::Bytes(bytes) => Json::from(bytes.as_str()),
            Value::Fields(parts) => {
                let parts = parts.iter().map(|part| {
                    let part = Self::new(event, part);
                    serde_json::json!({"name": part.name, "value": part.value, "data": part.data})
                });
                Json::Array(parts.collect())
            }
        };
        let data = match event.trust_of(field) {
            Trust::Verified => "verified",
            Trust::Partly | Trust::Claimed => "claimed",
        };
        Self { name: field.name.to_string(), value, data }
    }
}

fn register_kind(register: Register) -> &'static str {
    match register {
        Register::Pcr(_) => "pcr",
        Register::Mr(_) => "mr",
        Register::Nv(_) => "nv",
        Register::None(_) => "none",
    }
}

fn rule_name(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::Nothing => return None,
        Rule::WholeData => "whole-data",
        Rule::VariableData => "variable-data",
        Rule::TagPayload => "tag-payload",
        Rule::TextBehindPrefix => "text-behind-prefix",
        Rule::TextBehindPrefixWithNul => "text-behind-prefix-with-nul",
        Rule::WithoutLastByte => "without-last-byte",
        Rule::WithTerminator => "with-terminator",
        Rule::AsciiForm => "ascii-form",
    })
}
