//! The outcome: what `premeasure compare --json` prints, field by field.

use super::align::{AlignedEvent, EventStatus};
use super::causes::Cause;
use super::changes::Change;
use super::later::Later;
use super::model::{Event, Kind, Origin};
use super::topic::Topic;
use super::verdict::Verdict;
use crate::tcg::{HashAlgorithm, PcrIndex};

/// Version of the format. A reader refuses another major number.
pub const SCHEMA_VERSION: &str = "1.0.0";

/// The value of [`Comparison::kind`].
pub const KIND: &str = "premeasure-comparison";

/// `schemas/comparison.schema.json`.
pub const SCHEMA: &str = include_str!("../../schemas/comparison.schema.json");

/// A comparison. All of its texts may come from files: they are not safe for a terminal or a page as they are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Comparison {
    /// [`SCHEMA_VERSION`].
    pub schema_version: &'static str,
    /// [`KIND`].
    pub kind: &'static str,
    /// The program that made it.
    pub generator: Generator,
    /// No PCR differs whose deviation counts.
    pub equal: bool,
    /// What was expected, and which variant of it came nearest.
    pub expected: ExpectedSide,
    /// What was observed.
    pub observed: ObservedSide,
    /// `rtmr` where registers of a confidential guest were compared, counted as in CC event logs; absent for PCRs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registers: Option<&'static str>,
    /// The stage whose values were compared.
    pub stage: &'static str,
    /// Nothing later counts as a match.
    pub stage_fixed: bool,
    /// The bank in which events were put side by side and hypotheses were tried.
    pub bank: &'static str,
    /// Every PCR that either side knows, ascending.
    pub pcrs: Vec<PcrVerdict>,
    /// Where the boots part, if both sides have events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_divergence: Option<Divergence>,
    /// What explains the differences.
    pub causes: Vec<Cause>,
    /// PCRs that differ and that no cause explains.
    pub unexplained: Vec<u8>,
    /// The events of both sides in the order of the boot; empty when one side has none.
    pub events: Vec<EventRow>,
    /// Remarks.
    pub notes: Vec<String>,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Generator {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

impl Generator {
    /// This program.
    pub(super) const SELF: Self = Self { name: "premeasure", version: env!("CARGO_PKG_VERSION") };
}

/// The expected side.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ExpectedSide {
    /// Name of the file.
    pub name: String,
    /// What it was read from.
    pub kind: Kind,
    /// The format.
    pub format: String,
    /// The variant that came nearest; empty where variants have no names.
    pub variant: String,
    /// Its image; empty where that is not known.
    pub image: String,
    /// Its scenario; empty where that is not known.
    pub scenario: String,
    /// How many variants there are.
    pub variants: usize,
}

/// The observed side.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ObservedSide {
    /// Names of the files.
    pub names: Vec<String>,
    /// What it was read from.
    pub kind: Kind,
    /// Formats of the logs.
    pub formats: Vec<String>,
}

/// One PCR over all banks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PcrVerdict {
    /// Its number.
    #[serde(serialize_with = "number")]
    pub index: PcrIndex,
    /// Its name in the Linux TPM PCR Registry; empty where it has none.
    pub name: &'static str,
    /// The worst of all banks.
    pub verdict: Verdict,
    /// A deviation does not count.
    #[serde(skip_serializing_if = "is_false")]
    pub warn_only: bool,
    /// The document's stage that the value is of, if it is a later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub later_stage: Option<&'static str>,
    /// Words that lead from the expected value to the observed one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub later_words: Vec<String>,
    /// Banks that both sides have.
    pub banks: Vec<BankVerdict>,
    /// Why nothing, or not everything, is expected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<GapText>,
    /// Assumptions that the expected value depends on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumes: Vec<String>,
}

/// Why a value is not known.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GapText {
    /// Why.
    pub reason: String,
    /// What would settle it.
    pub remedy: String,
}

/// One PCR in one bank.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BankVerdict {
    /// The bank.
    pub bank: &'static str,
    /// The outcome.
    pub verdict: Verdict,
    /// The expected value at the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The observed value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
}

/// Where the boots part.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Divergence {
    /// The register.
    #[serde(serialize_with = "number")]
    pub pcr: PcrIndex,
    /// Index into [`Comparison::events`].
    pub event: usize,
    /// What became of the event.
    pub status: EventStatus,
    /// One line for people.
    pub what: String,
}

/// A row of the events side by side.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EventRow {
    /// The register.
    #[serde(serialize_with = "number")]
    pub pcr: PcrIndex,
    /// What became of it.
    pub status: EventStatus,
    /// As expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<EventSide>,
    /// As observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<EventSide>,
    /// What differs inside, where that is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// An event of one side.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EventSide {
    /// Type in the firmware's log.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// One line for people.
    pub what: String,
    /// What kind of thing was measured, in words.
    pub topic: String,
    /// The same, not as words.
    #[serde(skip)]
    pub about: Topic,
    /// The first stage whose value includes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'static str>,
    /// The digest in [`Comparison::bank`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Where the bytes come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Event data in hexadecimal; in rows that differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// Largest event data that is repeated in a comparison, in bytes.
const MAX_DATA: usize = 64 << 10;

impl EventSide {
    pub(super) fn of(event: &Event, bank: HashAlgorithm, with_data: bool) -> Self {
        let data = event.data.as_ref().filter(|data| with_data && data.len() <= MAX_DATA);
        Self {
            event_type: event.event_type.map(|event_type| event_type.to_string()),
            what: event.what.clone(),
            topic: event.topic.to_string(),
            about: event.topic.clone(),
            stage: event.stage.map(|stage| stage.name()),
            digest: event.digests.get(bank).map(|digest| digest.to_string()),
            origin: event.origin.clone().filter(|origin| !origin.files.is_empty()),
            data: data.map(hex::encode),
        }
    }
}

impl EventRow {
    pub(super) fn of(
        row: &AlignedEvent,
        (expected, observed): (&[Event], &[Event]),
        bank: HashAlgorithm,
        texts: &[String],
    ) -> Self {
        let ours = row.expected.and_then(|index| expected.get(index));
        let theirs = row.observed.and_then(|index| observed.get(index));
        let changes = match (row.status, ours, theirs) {
            (EventStatus::Changed, Some(ours), Some(theirs)) => super::changes(ours, theirs, texts),
            _ => Vec::new(),
        };
        let side = |event: Option<&Event>| event.map(|event| EventSide::of(event, bank, row.is_different()));
        Self { pcr: row.pcr, status: row.status, expected: side(ours), observed: side(theirs), changes }
    }
}

impl PcrVerdict {
    pub(super) fn set_later(&mut self, later: Option<Later>) {
        if let Some(later) = later {
            self.later_stage = later.stage.map(|stage| stage.name());
            self.later_words = later.words;
        }
    }
}

fn number<S: serde::Serializer>(pcr: &PcrIndex, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(pcr.get())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
