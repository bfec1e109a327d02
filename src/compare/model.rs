//! Both sides of a comparison, whatever they were read from: events in order, and values.

use std::collections::BTreeMap;

use super::Topic;
use crate::boot::Stage;
use crate::tcg::eventlog::RegisterKind;
use crate::tcg::{DigestSet, EventType, HashAlgorithm, PcrIndex, PcrValues};

/// What a side was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A reference document, or an image that one was made of just now.
    Prediction,
    /// A policy of an attestation service or a tool.
    Policy,
    /// Event logs of one boot.
    Log,
    /// PCR values alone.
    Registers,
    /// PCR values, and event logs that explain them.
    RegistersAndLog,
}

/// One extend, or on the expected side a gap where there may be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The register.
    pub pcr: PcrIndex,
    /// The first stage whose value includes it; `None` where the side does not say.
    pub stage: Option<Stage>,
    /// Type in the firmware's log.
    pub event_type: Option<EventType>,
    /// The digest in each bank; empty where it is not known.
    pub digests: DigestSet,
    /// Event data, where it is known.
    pub data: Option<Vec<u8>>,
    /// One line that says what it is. It is text from a file: not safe for a terminal as it is.
    pub what: String,
    /// What kind of thing was measured.
    pub topic: Topic,
    /// Which file the bytes come from, where that is known.
    pub origin: Option<Origin>,
}

/// Where the measured bytes of an expected event come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Origin {
    /// File names.
    pub files: Vec<String>,
    /// What the files are for: `uki`, `addon`, ... as in documents.
    #[serde(skip)]
    pub roles: Vec<String>,
    /// The section's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// Offset in the file, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Length in bytes, as loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The option of predict that it was given with.
    #[serde(skip)]
    pub option: Option<String>,
}

/// Who put a command line into PCR 12.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// Addons.
    Addons,
    /// The machine's SMBIOS tables.
    Smbios,
    /// The selector of a profile.
    Profile,
    /// LoadOptions: passed by the boot loader or a boot option.
    LoadOptions,
}

impl Event {
    /// Who put this command line into PCR 12, as far as the expected side says.
    pub(super) fn author(&self) -> Option<Author> {
        let origin = self.origin.as_ref().filter(|_| self.topic == Topic::Options)?;
        let text = self.data.as_deref().map(crate::uefi::text::utf16_to_nul).unwrap_or_default();
        Some(match (origin.option.as_deref(), origin.roles.first().map(String::as_str)) {
            (Some("--smbios"), _) => Author::Smbios,
            (_, Some("addon")) => Author::Addons,
            _ if is_selector(&text) => Author::Profile,
            _ => Author::LoadOptions,
        })
    }

    /// It stands for something whose digest nobody knows.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        self.digests.is_empty()
    }

    /// It stands for no, one or several events.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_gap() && self.event_type.is_none()
    }
}

/// What is expected.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// What to call it.
    pub name: String,
    /// What it was read from.
    pub kind: Kind,
    /// The format: of a policy its name, of a log its kind.
    pub format: String,
    /// What the numbers of its registers mean: those of a confidential guest are counted as in CC event logs.
    pub registers: RegisterKind,
    /// Acceptable boots, each with all its PCRs.
    pub candidates: Vec<Candidate>,
}

/// One acceptable boot.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    /// Its name; empty where it has none.
    pub id: String,
    /// The image that boots; empty where that is not known.
    pub image: String,
    /// How it boots; empty where that is not known.
    pub scenario: String,
    /// State of Secure Boot that it is for; `None` where both give the same or nothing says.
    pub secure_boot: Option<bool>,
    /// Its events in order; `None` where only values are known.
    pub events: Option<Vec<Event>>,
    /// What is expected of each PCR. One that is not here is not predicted.
    pub pcrs: BTreeMap<PcrIndex, ExpectedPcr>,
}

/// What is expected of one PCR.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedPcr {
    /// Acceptable values. Those with a stage are in the order of the boot.
    pub values: Vec<ExpectedValue>,
    /// Why it has no value at some stage, and what would settle it.
    pub gaps: Vec<(Stage, String, String)>,
    /// Assumptions that it depends on, by their names in the document.
    pub assumes: Vec<String>,
    /// A deviation is only reported (Constellation's `warnOnly`).
    pub warn_only: bool,
}

/// An acceptable value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedValue {
    /// When it is expected; `None` where the side does not say.
    pub stage: Option<Stage>,
    /// The value in each bank.
    pub digests: DigestSet,
}

impl ExpectedPcr {
    /// The value at a stage in one bank, where stages are known.
    #[must_use]
    pub fn at(&self, stage: Stage, bank: HashAlgorithm) -> Option<crate::tcg::Digest> {
        let value = self.values.iter().find(|value| value.stage == Some(stage))?;
        value.digests.get(bank)
    }
}

impl Candidate {
    /// The banks that it has values or events of.
    #[must_use]
    pub fn banks(&self) -> Vec<HashAlgorithm> {
        let values = self.pcrs.values().flat_map(|pcr| &pcr.values).map(|value| &value.digests);
        let events = self.events.iter().flatten().map(|event| &event.digests);
        let has = |bank: &HashAlgorithm| {
            values.clone().chain(events.clone()).any(|digests| digests.get(*bank).is_some())
        };
        HashAlgorithm::ALL.into_iter().filter(has).collect()
    }
}

/// What a machine shows.
#[derive(Debug, Clone)]
pub struct Observation {
    /// What to call it.
    pub names: Vec<String>,
    /// What it was read from.
    pub kind: Kind,
    /// Formats of the logs.
    pub formats: Vec<String>,
    /// What the numbers of its registers mean.
    pub registers: RegisterKind,
    /// Its events in order; `None` where only values are known.
    pub events: Option<Vec<Event>>,
    /// Final values: those of the TPM where they are known, else those that the log leads to.
    pub values: PcrValues,
    /// Values that the log leads to, where there is one beside those of the TPM.
    pub replayed: Option<PcrValues>,
    /// Remarks about the logs, for people.
    pub notes: Vec<String>,
}

/// How to compare.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Values are those of this stage, and nothing later counts; `None` accepts what is known to come later.
    pub stage: Option<Stage>,
    /// Only these PCRs; all when empty.
    pub pcrs: Vec<PcrIndex>,
    /// Only these banks; all when empty.
    pub banks: Vec<HashAlgorithm>,
    /// Updates of dbx that a machine may have got since: what to call each, and its signature lists.
    pub dbx_updates: Vec<(String, Vec<u8>)>,
}

impl Options {
    /// The PCR is asked for.
    #[must_use]
    pub fn wants(&self, pcr: PcrIndex) -> bool {
        self.pcrs.is_empty() || self.pcrs.contains(&pcr)
    }
}

/// `@N`, the selector of a profile, alone or before a text.
pub(super) fn is_selector(text: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    let digits = first.strip_prefix('@').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// The banks, those first in which a match says most: SHA-1 only where there is nothing else.
pub(super) const BY_STRENGTH: [HashAlgorithm; 5] = [
    HashAlgorithm::Sha256,
    HashAlgorithm::Sha384,
    HashAlgorithm::Sha512,
    HashAlgorithm::Sm3_256,
    HashAlgorithm::Sha1,
];
