//! Writing CEL-JSON: one record a line, in an array.

use serde_json::{Value, json};

use crate::tcg::AlgorithmId;
use crate::tcg::eventlog::Register;

use super::json::{JsonDigest, JsonRecord, JsonSystemd};
use super::record::{Content, Management, Record, Systemd};

/// The records as a JSON array, in their order.
///
/// # Errors
/// When serialising fails, which no record makes it do.
pub fn write_json(records: &[Record<'_>]) -> Result<String, serde_json::Error> {
    let mut text = String::from("[\n");
    for (index, record) in records.iter().enumerate() {
        if index > 0 {
            text.push_str(",\n");
        }
        text.push_str(&serde_json::to_string(&json_record(record)?)?);
    }
    text.push_str("\n]\n");
    Ok(text)
}

fn json_record(record: &Record<'_>) -> Result<JsonRecord, serde_json::Error> {
    let index = Some(record.register.index());
    let (pcr, nv_index, ccmr) = match record.register {
        // A record that extends nothing keeps the index that it claims.
        Register::Pcr(_) | Register::None(_) => (index, None, None),
        Register::Nv(_) => (None, index, None),
        Register::Mr(_) => (None, None, index),
    };
    let digests = record.digests.iter().map(|(algorithm, digest)| JsonDigest {
        algorithm: algorithm_name(algorithm),
        digest: hex::encode(digest),
    });
    Ok(JsonRecord {
        recnum: record.recnum,
        pcr,
        nv_index,
        ccmr,
        digests: digests.collect(),
        content_type: record.content_type().to_owned(),
        content: content(&record.content)?,
    })
}

fn algorithm_name(algorithm: AlgorithmId) -> String {
    match algorithm.known() {
        Some(known) => known.name().to_owned(),
        None => format!("{:#06x}", algorithm.0),
    }
}

fn content(content: &Content<'_>) -> Result<Value, serde_json::Error> {
    Ok(match content {
        Content::PcClient { event_type, data } => {
            json!({"event_type": event_type.to_string(), "event_data": hex::encode(data)})
        }
        Content::ImaTemplate { name, data } => {
            json!({"template_name": name, "template_data": hex::encode(data)})
        }
        Content::Systemd(systemd) => serde_json::to_value(json_systemd(systemd))?,
        Content::Management(management) => json_management(*management),
        // What JSON brought goes back as JSON; bytes of the binary encodings as hexadecimal.
        Content::Other(_, bytes) => {
            serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(hex::encode(bytes)))
        }
    })
}

fn json_systemd(systemd: &Systemd) -> JsonSystemd {
    JsonSystemd {
        string: systemd.string.clone(),
        nv_index_name: systemd.nv_index_name.clone(),
        boot_id: systemd.boot_id.clone(),
        timestamp: systemd.timestamp,
        event_type: systemd.event_type.clone(),
    }
}

fn json_management(management: Management) -> Value {
    match management {
        Management::FirmwareEnd => json!({"type": "firmware_end"}),
        Management::Version { major, minor } => {
            json!({"type": "cel_version", "data": {"major": major, "minor": minor}})
        }
        Management::Timestamp(time) => json!({"type": "cel_timestamp", "data": time}),
        Management::StateTransition(state) => {
            let name = ["suspend", "hibernate", "kexec"];
            let data = usize::try_from(state).ok().and_then(|state| name.get(state).copied());
            json!({"type": "state_trans", "data": data.map_or_else(|| json!(state), |name| json!(name))})
        }
    }
}
