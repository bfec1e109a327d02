//! The predicted log as CEL-JSON, in the shape of `systemd-pcrlock cel` (TCG Canonical Event Log Format).

use super::exporter::{Content, ExportError, Exporter, Output};
use super::json::{Json, list, object};
use super::release::Export;
use crate::reference::MeasurementEntry;

/// CEL-JSON.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "cel-json",
    summary: "the predicted log, in the TCG's canonical form as systemd-pcrlock prints it",
    reader: "tools that read canonical event logs",
    fed: "a file",
    limits: &[
        "one boot",
        "image loads have no event data: it holds addresses, which can't be predicted",
        "records of user space have no bootId and timestamp",
        "a register that nothing extends can't be stated",
    ],
    pcrs: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    content: Content::Events,
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let release = export.one_log()?;
    let records = export.measurements(release).zip(1_u64..).map(|(measurement, number)| {
        let digests = export.banks.iter().filter_map(|bank| {
            let digest = measurement.digests.as_ref()?.get(bank.name())?;
            Some(object([("hashAlg", bank.name().into()), ("digest", digest.into())]))
        });
        let (content_type, content) = content(measurement);
        object([
            ("pcr", measurement.pcr.into()),
            ("recnum", number.into()),
            ("digests", list(digests)),
            ("content_type", content_type.into()),
            ("content", content),
        ])
    });
    Ok(Output::single("cel.json", list(records).pretty()))
}

fn content(measurement: &MeasurementEntry) -> (&'static str, Json) {
    let data = measurement.event_data.as_deref().unwrap_or_default();
    match &measurement.event_type {
        Some(event_type) => {
            ("pcclient_std", object([("event_type", event_type.into()), ("event_data", data.into())]))
        }
        None => {
            let text = hex::decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            ("systemd", object([("string", text.unwrap_or_else(|| measurement.description.clone()).into())]))
        }
    }
}
