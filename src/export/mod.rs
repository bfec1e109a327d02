//! Reference values for those who verify: one file for each format, all of them listed in [`EXPORTERS`].
//!
//! An exporter reads documents only, and writes only what they know: a PCR whose value at the stage is computed or
//! observed, or one that nothing extends as far as assumptions go that somebody accepted ([`select`]). What is left out
//! stands in the [`Report`].

mod alternatives;
mod aws;
mod azure_maa;
mod bottlerocket;
mod cel;
mod cmc;
mod constellation;
mod corim;
mod dstack;
mod exporter;
mod flashbots;
mod forms;
mod in_toto;
mod json;
mod kairos;
mod keylime;
mod keylime_mb;
mod load;
mod merge;
mod options;
mod pcrlock;
mod pcrsig;
mod phases;
mod plain;
mod policy_digest;
mod release;
mod report;
mod select;
mod systemd_measure;
mod tec;
mod trustee;

pub use exporter::{Alternatives, BankRule, Content, ExportError, Exporter, Output, Part, StageRule};
pub use forms::Form;
pub(crate) use json::{Json, list as json_list, object as json_object};
pub use load::{LoadError, Loaded, load};
pub use options::{OptionError, OptionKind, OptionSpec, OptionValue, Options};
pub use policy_digest::policy_pcr;
pub use release::{Accepted, Dropped, Export, Release, Value};
pub use report::Report;
pub use select::{Request, select};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

/// Every format.
pub const EXPORTERS: &[&Exporter] = &[
    &constellation::ENVELOPE,
    &constellation::RAW,
    &constellation::JOIN_CONFIG,
    &trustee::EXPORTER,
    &tec::EXPORTER,
    &keylime::EXPORTER,
    &keylime_mb::EXPORTER,
    &aws::MEASUREMENTS,
    &aws::KMS,
    &pcrlock::EXPORTER,
    &pcrsig::EXPORTER,
    &systemd_measure::EXPORTER,
    &policy_digest::EXPORTER,
    &cmc::EXPORTER,
    &corim::EXPORTER,
    &in_toto::EXPORTER,
    &cel::EXPORTER,
    &azure_maa::EXPORTER,
    &kairos::EXPORTER,
    &bottlerocket::EXPORTER,
    &dstack::EXPORTER,
    &flashbots::EXPORTER,
    &plain::CSV,
    &plain::ENV,
    &plain::TPM2_YAML,
];

/// Writes documents in a format.
///
/// # Errors
/// [`ExportError`].
pub fn export(
    exporter: &'static Exporter,
    documents: &[Loaded],
    request: &Request<'_>,
) -> Result<(Output, Report), ExportError> {
    let mut export = select(exporter, documents, request)?;
    let mut output = (exporter.write)(&export)?;
    choose_part(&export, &mut output)?;
    export.settle(&output)?;
    let report = Report::new(&export, &output);
    Ok((output, report))
}

/// Keeps the part that was asked for.
fn choose_part(export: &Export<'_>, output: &mut Output) -> Result<(), ExportError> {
    let Some(wanted) = export.part else { return Ok(()) };
    let mut names: Vec<&str> =
        output.parts.iter().map(|part| part.name).filter(|name| !name.is_empty()).collect();
    names.dedup();
    if !names.contains(&wanted) {
        let left_out = output.dropped.iter().find(|reason| !names.is_empty() && reason.contains(wanted));
        let available = match (left_out, names.is_empty()) {
            (Some(reason), _) => reason.clone(),
            (None, true) => "it is a single file".to_owned(),
            (None, false) => format!("there are {}", names.join(", ")),
        };
        let (format, wanted) = (export.exporter.name, wanted.to_owned());
        return Err(ExportError::NoSuchPart { format, wanted, available });
    }
    output.parts.retain(|part| part.name == wanted);
    Ok(())
}

/// PCRs besides 11 and 15 that are enforced with a value which a booted machine no longer has: readers that quote later refuse
/// it. Who quotes in the phases knows about 11 and 15.
pub(crate) fn later_changes(export: &Export<'_>, output: &Output) -> Option<String> {
    let mut pcrs = std::collections::BTreeSet::new();
    for release in &export.releases {
        let written = |pcr: u8| !output.unwritten.contains_key(&(release.id.clone(), pcr));
        let enforced = release.values.iter().filter(|(pcr, value)| {
            value.enforced && written(**pcr) && !output.unenforced.contains(pcr) && ![11, 15].contains(*pcr)
        });
        let later = |pcr: &u8| {
            let mut measurements = release.variant.measurements.iter().filter(|m| m.pcr == *pcr);
            measurements.any(|m| m.stage.parse::<crate::boot::Stage>().is_ok_and(|s| s > export.stage()))
        };
        pcrs.extend(enforced.map(|(pcr, _)| *pcr).filter(later));
    }
    let numbers = pcrs.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    (!pcrs.is_empty()).then(|| {
        format!(
            "PCR {numbers} change after {}, as user space (systemd 261 and later) extends them: a quote that is made later has \
             other values and is refused",
            export.stage()
        )
    })
}

/// Standard base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// URL-safe base64 without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// URL-safe base64 with padding.
pub(crate) fn base64url_padded(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

/// Either alphabet, with padding.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// CBOR, with members in the order given.
pub(crate) fn cbor(value: &ciborium::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing into memory can't fail, and every value here has a CBOR form.
    let _ = ciborium::into_writer(value, &mut bytes);
    bytes
}

/// A name from a document as part of a file name: nothing in it can lead to another folder.
pub(crate) fn file_name(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' };
    let name: String = id.chars().map(plain).take(120).collect();
    let name = name.trim_matches(['.', '-']);
    if name.is_empty() { "variant".to_owned() } else { name.to_owned() }
}

/// Every line, moved to the right: for block scalars in YAML.
pub(crate) fn indent(text: &str, spaces: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(spaces))).collect()
}
