//! What a schema can't check: replaying the measurements gives the values, and references lead somewhere.

mod guest;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::document::{
    BankDigests, Document, GapEntry, KIND, MeasurementEntry, PcrEntry, ValueEntry, VariantEntry,
};
use super::event_data;
use crate::boot::GapCode;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, extend};

/// Statuses of values, as [`ValueEntry`](super::document::ValueEntry) has them.
const COMPUTED: &str = "computed";
const OBSERVED: &str = "observed";
const DECLARED: &str = "declared";
const ASSUMED_UNUSED: &str = "assumed-unused";

/// Something wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: a path of member names and indices.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// A text that is no document of ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDocumentError {
    /// Not JSON, or not of this structure.
    #[error("not a reference document: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a newer program.
    #[error("schema version {found}, this program reads 1.x")]
    Version {
        /// As the document says.
        found: String,
    },
}

/// Reads a document.
///
/// # Errors
/// [`ParseDocumentError`].
pub fn parse(text: &[u8]) -> Result<Document, ParseDocumentError> {
    #[derive(serde::Deserialize)]
    struct Head {
        schema_version: Option<String>,
    }
    // The version comes first: a newer document may have members that this program refuses.
    let head: Head = serde_json::from_slice(text)?;
    if let Some(found) = head.schema_version.filter(|version| !version.starts_with("1.")) {
        return Err(ParseDocumentError::Version { found });
    }
    Ok(serde_json::from_slice(text)?)
}

/// Checks what the schema can't.
#[must_use]
pub fn check(document: &Document) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    if let Some(problem) = beyond_limits(document) {
        findings.add("document", problem);
        return findings.0;
    }
    if document.kind != KIND {
        findings.add("kind", format!("is '{}', expected '{KIND}'", document.kind));
    }
    let banks = check_banks(document, &mut findings);
    unique("images", document.images.iter().map(|image| &image.id), &mut findings);
    unique("scenarios", document.scenarios.iter().map(|scenario| &scenario.id), &mut findings);
    unique("variants", document.variants.iter().map(|variant| &variant.id), &mut findings);
    unique("stages", document.stages.iter().map(|stage| &stage.id), &mut findings);
    unique("rules", document.rules.iter().map(|rule| &rule.id), &mut findings);
    for (index, variant) in document.variants.iter().enumerate() {
        check_variant(document, variant, &banks, &format!("variants[{index}]"), &mut findings);
    }
    findings.0
}

/// More than any real document has; the checks below cost more than the document's length.
fn beyond_limits(document: &Document) -> Option<String> {
    let variant = |of: fn(&VariantEntry) -> usize| document.variants.iter().map(of).max().unwrap_or(0);
    let counts = [
        ("stages", document.stages.len(), 64),
        ("rules", document.rules.len(), 1024),
        ("variants", document.variants.len(), 4096),
        ("PCRs of a variant", variant(|variant| variant.pcrs.len()), usize::from(PcrIndex::COUNT)),
        ("measurements of a variant", variant(|variant| variant.measurements.len()), 1 << 16),
        ("registers of a variant", variant(|v| v.guest.as_ref().map_or(0, |of| of.registers.len())), 5),
        (
            "measurements of a guest",
            variant(|v| v.guest.as_ref().map_or(0, |of| of.measurements.len())),
            1 << 16,
        ),
    ];
    let excess = counts.into_iter().find(|(_, count, limit)| count > limit);
    excess.map(|(what, count, limit)| format!("has {count} {what}, the limit is {limit}"))
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, place: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Finding { place: place.into(), problem: problem.into() });
    }
}

fn check_banks(document: &Document, findings: &mut Findings) -> Vec<HashAlgorithm> {
    unique("banks", document.banks.iter(), findings);
    let mut banks = Vec::new();
    for name in &document.banks {
        match HashAlgorithm::ALL.into_iter().find(|bank| bank.name() == name) {
            Some(bank) => banks.push(bank),
            None => findings.add("banks", format!("'{name}' is no bank")),
        }
    }
    banks
}

fn unique<'a>(place: &str, ids: impl Iterator<Item = &'a String>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for id in ids {
        if id.is_empty() {
            findings.add(place, "has a member without a name");
        }
        if !seen.insert(id) {
            findings.add(place, format!("'{id}' stands here twice"));
        }
    }
}

fn check_variant(
    document: &Document,
    variant: &VariantEntry,
    banks: &[HashAlgorithm],
    place: &str,
    findings: &mut Findings,
) {
    let image = document.images.iter().find(|image| image.id == variant.image);
    if image.is_none() {
        findings.add(format!("{place}.image"), format!("there is no image '{}'", variant.image));
    }
    let scenario = document.scenarios.iter().find(|scenario| scenario.id == variant.scenario);
    if scenario.is_none() {
        findings.add(format!("{place}.scenario"), format!("there is no scenario '{}'", variant.scenario));
    }
    let inputs: BTreeSet<&str> =
        image.into_iter().flat_map(|image| &image.inputs).map(|input| input.id.as_str()).collect();
    let assumptions: BTreeSet<&str> =
        scenario.into_iter().flat_map(|scenario| &scenario.assumptions).map(|a| a.id.as_str()).collect();
    let rules: BTreeSet<&str> = document.rules.iter().map(|rule| rule.id.as_str()).collect();

    let known = Known { banks, inputs: &inputs, rules: &rules };
    check_measurements(document, &variant.measurements, &known, place, findings);
    if let Some(guest) = &variant.guest {
        let affecting = scenario.into_iter().flat_map(|scenario| &scenario.assumptions);
        guest::check(document, guest, affecting.collect(), &known, &format!("{place}.guest"), findings);
    }
    if let Some(at) = variant.measurements.iter().position(|measurement| measurement.register.is_some()) {
        let problem = "names a register of a confidential guest among measurements into PCRs";
        findings.add(format!("{place}.measurements[{at}].register"), problem);
    }
    let mut seen = BTreeSet::new();
    for (index, pcr) in variant.pcrs.iter().enumerate() {
        let place = format!("{place}.pcrs[{index}]");
        if !seen.insert(pcr.index) {
            findings.add(format!("{place}.index"), format!("PCR {} stands here twice", pcr.index));
        }
        for id in pcr.assumes.iter().filter(|id| !assumptions.contains(id.as_str())) {
            findings.add(format!("{place}.assumes"), format!("the scenario has no assumption '{id}'"));
        }
        // What a start value rests on is what has to be accepted before it is enforced.
        let affecting = scenario.into_iter().flat_map(|scenario| &scenario.assumptions);
        for assumption in affecting.filter(|assumption| assumption.affects.contains(&pcr.index)) {
            if !pcr.assumes.contains(&assumption.id) {
                let problem = format!("lacks '{}', which affects this PCR", assumption.id);
                findings.add(format!("{place}.assumes"), problem);
            }
        }
        check_pcr(document, variant, pcr, banks, &place, findings);
    }
}

/// What measurements may refer to.
struct Known<'a> {
    banks: &'a [HashAlgorithm],
    inputs: &'a BTreeSet<&'a str>,
    rules: &'a BTreeSet<&'a str>,
}

fn check_measurements(
    document: &Document,
    measurements: &[MeasurementEntry],
    known: &Known<'_>,
    place: &str,
    findings: &mut Findings,
) {
    let mut previous = 0;
    for (index, measurement) in measurements.iter().enumerate() {
        let place = format!("{place}.measurements[{index}]");
        check_measurement(measurement, known.banks, known.inputs, known.rules, &place, findings);
        match stage_number(document, &measurement.stage) {
            None => {
                findings.add(format!("{place}.stage"), format!("there is no stage '{}'", measurement.stage))
            }
            Some(stage) if stage < previous => {
                findings.add(format!("{place}.stage"), "is before the previous one's")
            }
            Some(stage) => previous = stage,
        }
    }
}

fn stage_number(document: &Document, id: &str) -> Option<usize> {
    document.stages.iter().position(|stage| stage.id == id)
}

fn check_measurement(
    measurement: &MeasurementEntry,
    banks: &[HashAlgorithm],
    inputs: &BTreeSet<&str>,
    rules: &BTreeSet<&str>,
    place: &str,
    findings: &mut Findings,
) {
    if PcrIndex::try_from(u32::from(measurement.pcr)).is_err() {
        findings.add(format!("{place}.pcr"), format!("there is no PCR {}", measurement.pcr));
    }
    if !rules.contains(measurement.rule.as_str()) {
        findings.add(format!("{place}.rule"), format!("there is no rule '{}'", measurement.rule));
    }
    for id in measurement.source.inputs.iter().filter(|id| !inputs.contains(id.as_str())) {
        findings.add(format!("{place}.source.inputs"), format!("the image has no input '{id}'"));
    }
    match (&measurement.digests, &measurement.gap) {
        (Some(digests), None) => {
            check_digests(digests, banks, &format!("{place}.digests"), findings);
            if let Some(problem) = event_data::problem(measurement) {
                findings.add(format!("{place}.event_data"), problem);
            }
        }
        (None, Some(code)) => {
            if !GapCode::ALL.iter().any(|known| known.name() == code) {
                findings.add(format!("{place}.gap"), format!("unknown code '{code}'"));
            }
        }
        _ => findings.add(place, "has to have either digests or a gap"),
    }
}

/// Every bank is there, and nothing else, each of its length.
fn check_digests(digests: &BankDigests, banks: &[HashAlgorithm], place: &str, findings: &mut Findings) {
    for bank in banks {
        match digests.get(bank.name()) {
            None => findings.add(place, format!("has no {bank}")),
            Some(text) if digest(*bank, text).is_none() => {
                findings.add(
                    format!("{place}.{bank}"),
                    "is not a digest of that length in lower-case hexadecimal",
                );
            }
            Some(_) => {}
        }
    }
    for name in digests.keys().filter(|name| !banks.iter().any(|bank| bank.name() == name.as_str())) {
        findings.add(format!("{place}.{name}"), "is a bank that the document does not have");
    }
}

fn digest(bank: HashAlgorithm, text: &str) -> Option<Digest> {
    let lower = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    Digest::from_bytes(bank, &hex::decode(text).ok().filter(|_| lower)?)
}

/// A register's entry, with what is needed to extend it again.
struct Held<'a> {
    /// The value that it starts from, in each bank.
    start: Vec<Digest>,
    /// The status of a value before the first measurement.
    untouched: &'static str,
    status: &'a str,
    values: &'a [ValueEntry],
    gaps: &'a [GapEntry],
    measurements: Vec<&'a MeasurementEntry>,
}

fn check_pcr(
    document: &Document,
    variant: &VariantEntry,
    pcr: &PcrEntry,
    banks: &[HashAlgorithm],
    place: &str,
    findings: &mut Findings,
) {
    if PcrIndex::try_from(u32::from(pcr.index)).is_err() {
        return findings.add(format!("{place}.index"), format!("there is no PCR {}", pcr.index));
    }
    if pcr.startup_locality.is_some_and(|locality| pcr.index != 0 || locality == 0) {
        findings.add(format!("{place}.startup_locality"), "is only for PCR 0, where it is not 0");
    }
    let held = Held {
        start: banks.iter().filter_map(|bank| pcr.start_value(*bank)).collect(),
        untouched: ASSUMED_UNUSED,
        status: &pcr.status,
        values: &pcr.values,
        gaps: &pcr.gaps,
        measurements: variant
            .measurements
            .iter()
            .filter(|measurement| measurement.pcr == pcr.index)
            .collect(),
    };
    check_held(document, held, place, findings);
}

/// The register's values are what its measurements extend to, at every stage.
fn check_held(document: &Document, held: Held<'_>, place: &str, findings: &mut Findings) {
    let banks: Vec<HashAlgorithm> = held.start.iter().map(|value| value.algorithm()).collect();
    let mut values: BTreeMap<&str, &BankDigests> = BTreeMap::new();
    for value in held.values {
        if values.insert(&value.stage, &value.digests).is_some() {
            findings.add(format!("{place}.values"), format!("stage '{}' stands here twice", value.stage));
        }
        if stage_number(document, &value.stage).is_none() {
            findings.add(format!("{place}.values"), format!("there is no stage '{}'", value.stage));
        }
        check_digests(&value.digests, &banks, &format!("{place}.values[{}].digests", value.stage), findings);
    }
    let mut replayed = Replay::new(&held);
    for stage in &document.stages {
        let expected = replayed.value_at(stage.id.as_str());
        let found = values.get(stage.id.as_str());
        let problem = match (expected, found) {
            (None, None) => continue,
            (None, Some(_)) => "has a value, but a measurement before it is not known",
            (Some(_), None) => "has no value, but every measurement up to it is known",
            (Some(expected), Some(found)) if expected == **found => continue,
            (Some(_), Some(_)) => "has another value than its measurements extend to",
        };
        findings.add(format!("{place}.values[{}]", stage.id), problem);
    }
    check_value_statuses(document, &held, place, findings);
    check_status(document, &held, place, findings);
}

/// A value's status follows from the measurements up to its stage: a start value speaks for nothing, and may not pass for a
/// computed one.
fn check_value_statuses(document: &Document, held: &Held<'_>, place: &str, findings: &mut Findings) {
    let mut measured = held.measurements.iter().peekable();
    let mut expected = held.untouched;
    for stage in &document.stages {
        while let Some(measurement) = measured.next_if(|measurement| measurement.stage == stage.id) {
            expected = match measurement.source.kind.as_str() {
                OBSERVED => OBSERVED,
                _ if expected == OBSERVED => OBSERVED,
                _ if held.untouched == DECLARED => DECLARED,
                _ => COMPUTED,
            };
        }
        for value in held.values.iter().filter(|v| v.stage == stage.id && v.status != expected) {
            let problem = format!("is '{}', its measurements make it {expected}", value.status);
            findings.add(format!("{place}.values[{}].status", stage.id), problem);
        }
    }
}

/// One register under way. Measurements are in the order of the stages, which is checked elsewhere.
struct Replay<'a> {
    measurements: std::iter::Peekable<std::vec::IntoIter<&'a MeasurementEntry>>,
    /// The value in each bank; `None` from where on something is not known.
    values: Option<Vec<Digest>>,
}

impl<'a> Replay<'a> {
    fn new(held: &Held<'a>) -> Self {
        Self {
            measurements: held.measurements.clone().into_iter().peekable(),
            values: Some(held.start.clone()),
        }
    }

    /// Extends the register with everything of a stage; stages are asked for in order.
    fn value_at(&mut self, stage: &str) -> Option<BankDigests> {
        while let Some(measurement) = self.measurements.next_if(|measurement| measurement.stage == stage) {
            self.values = self.values.take().and_then(|values| {
                let digests = measurement.digests.as_ref()?;
                let next = |value: Digest| {
                    let bank = value.algorithm();
                    Some(extend(value, digest(bank, digests.get(bank.name())?)?))
                };
                values.into_iter().map(next).collect()
            });
        }
        let values = self.values.as_ref()?.iter();
        Some(values.map(|value| (value.algorithm().name().to_owned(), value.to_string())).collect())
    }
}

fn check_status(document: &Document, held: &Held<'_>, place: &str, findings: &mut Findings) {
    let known = held.values.len();
    let has = |status: &str| held.values.iter().any(|value| value.status == status);
    let expected = match known {
        0 => "unknown",
        _ if known < document.stages.len() => "partial",
        _ if has(OBSERVED) => OBSERVED,
        _ if has(DECLARED) => DECLARED,
        _ if has(COMPUTED) => COMPUTED,
        _ => ASSUMED_UNUSED,
    };
    if held.status != expected {
        findings.add(format!("{place}.status"), format!("is '{}', expected {expected}", held.status));
    }
    if known < document.stages.len() && held.gaps.is_empty() {
        findings.add(format!("{place}.gaps"), "is empty, but a stage has no value");
    }
}
