//! The parts of the prediction's document that tests read. A second description of it, so that a renamed field is noticed.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Deserialize;

use super::{BANKS, premeasure};

/// What the initrd finds before it extends anything: the last stage that the firmware's log reaches.
pub(crate) const EXIT_BOOT_SERVICES: &str = "exit-boot-services";

#[derive(Deserialize)]
struct Document {
    variants: Vec<Variant>,
}

/// One image in one scenario.
#[derive(Deserialize)]
pub(crate) struct Variant {
    pub(crate) pcrs: Vec<Pcr>,
    pub(crate) measurements: Vec<Measurement>,
}

#[derive(Deserialize)]
pub(crate) struct Pcr {
    pub(crate) index: u32,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) values: Vec<Value>,
    #[serde(default)]
    pub(crate) gaps: Vec<Gap>,
}

#[derive(Deserialize)]
pub(crate) struct Value {
    pub(crate) stage: String,
    #[serde(default)]
    pub(crate) digests: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(crate) struct Gap {
    pub(crate) remedy: String,
}

#[derive(Deserialize)]
pub(crate) struct Measurement {
    pub(crate) pcr: u32,
    /// Empty where not even the kind of event is known, such as the firmware's own part.
    #[serde(default)]
    pub(crate) event_type: String,
    pub(crate) stage: String,
    /// Absent where the measured bytes are unknown.
    #[serde(default)]
    pub(crate) digests: BTreeMap<String, String>,
}

impl Variant {
    pub(crate) fn pcr(&self, index: u32) -> &Pcr {
        self.pcrs
            .iter()
            .find(|pcr| pcr.index == index)
            .unwrap_or_else(|| panic!("no PCR {index} in the document"))
    }

    /// The value of a PCR right after a stage, in one bank; none when there is not exactly one.
    pub(crate) fn value(&self, pcr: u32, stage: &str, bank: &str) -> Option<&str> {
        let mut values =
            self.pcrs.iter().filter(|p| p.index == pcr).flat_map(|p| &p.values).filter(|v| v.stage == stage);
        let value = values.next()?.digests.get(bank)?;
        values.next().is_none().then_some(value)
    }

    /// What the firmware's log has to hold for a PCR, in order.
    pub(crate) fn measurements_before_the_initrd(&self, pcr: u32) -> Vec<&Measurement> {
        let wanted = |m: &&Measurement| m.pcr == pcr && m.stage == EXIT_BOOT_SERVICES;
        self.measurements.iter().filter(wanted).collect()
    }
}

/// Runs `premeasure` with these arguments (which start with `predict`) in all four banks and reads its only variant.
pub(crate) fn predict(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Variant {
    let mut arguments = with_banks(arguments);
    arguments.push("--json".into());
    let document: Document = premeasure(&arguments).json();
    let Ok([variant]) = <[Variant; 1]>::try_from(document.variants) else {
        panic!("not one variant: {arguments:?}")
    };
    variant
}

/// The arguments, and `--bank` for each of [`BANKS`].
pub(crate) fn with_banks(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Vec<OsString> {
    let banks = BANKS.iter().flat_map(|bank| ["--bank", bank]).map(OsString::from);
    arguments.into_iter().map(Into::into).chain(banks).collect()
}
