//! Policies that others wrote, or that were exported earlier: what they accept, for comparison with a log or a machine.
//!
//! Each reader takes the bytes of one file and is strict about what the format's own consumer is strict about. The result
//! is the same for all of them: [`PolicyValues`].

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod config_map;
pub(crate) mod constellation;
mod corim;
mod events;
mod folder;
mod lists;
mod plain;
mod systemd;
mod tec;
mod tuples;

pub use folder::{is_pcrlock_folder, read_pcrlock_folder};

use std::collections::{BTreeMap, BTreeSet};

use crate::tcg::{Digest, DigestSet, HashAlgorithm, PcrIndex};

/// Largest file that is read as a policy, in bytes.
pub const MAX_POLICY: u64 = 64 << 20;

/// What a policy accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyValues {
    /// The format that it was read from.
    pub format: &'static str,
    /// What it accepts.
    pub accepts: Accepts,
}

/// How a policy says what it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepts {
    /// One of these boots, with all its PCRs.
    Boots(Vec<Boot>),
    /// For each PCR one of these values, whatever the others are.
    PerPcr(BTreeMap<PcrIndex, BTreeSet<Digest>>),
    /// These records, component by component in the order of the boot; one variant of each component.
    Components(Vec<Component>),
}

/// One acceptable boot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Boot {
    /// Its name in the policy; may be empty.
    pub name: String,
    /// Values by PCR, in one or more banks.
    pub values: BTreeMap<PcrIndex, BootValue>,
}

/// A value of an acceptable boot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootValue {
    /// In each bank that the policy names.
    pub digests: DigestSet,
    /// A deviation is only reported.
    pub warn_only: bool,
}

/// A part of the boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its name; may be empty.
    pub name: String,
    /// Alternatives, each a sequence of records.
    pub variants: Vec<Vec<Record>>,
    /// It may be missing.
    pub optional: bool,
}

/// One extend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The register.
    pub pcr: PcrIndex,
    /// In each bank that the policy names.
    pub digests: DigestSet,
    /// What the policy says about it; may be empty.
    pub description: String,
}

/// A file that is no policy of the format.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Not JSON, or not of the format's structure.
    #[error("{format}: {error}")]
    Json {
        /// The format.
        format: &'static str,
        /// Where and why.
        #[source]
        error: serde_json::Error,
    },
    /// A member is wrong.
    #[error("{format}: {place}: {problem}")]
    Content {
        /// The format.
        format: &'static str,
        /// The member.
        place: String,
        /// What is wrong with it, and what was expected.
        problem: String,
    },
    /// It accepts every machine.
    #[error("{format}: it has no values: it would accept any machine")]
    Empty {
        /// The format.
        format: &'static str,
    },
    /// No reader takes it.
    #[error("no format fits; there are {}", formats.join(", "))]
    Unknown {
        /// The formats that were tried.
        formats: Vec<&'static str>,
    },
}

/// A format that can be read.
#[derive(Debug, Clone, Copy)]
pub struct Importer {
    /// Its name; the exporter's, where there is one.
    pub name: &'static str,
    /// Reads it.
    pub read: fn(&[u8]) -> Result<PolicyValues, ImportError>,
}

/// Every format that can be read. The order is that of [`detect`]: what says most about itself comes first.
pub const IMPORTERS: &[Importer] = &[
    Importer { name: "constellation", read: constellation::envelope },
    Importer { name: "constellation-raw", read: constellation::raw },
    Importer { name: "constellation-join-config", read: constellation::join_config },
    Importer { name: "flashbots", read: constellation::flashbots },
    Importer { name: "aws", read: tuples::aws },
    Importer { name: "aws-kms", read: tuples::aws_kms },
    Importer { name: "tec", read: tec::read },
    Importer { name: "pcrlock", read: systemd::pcrlock },
    Importer { name: "keylime-mb", read: events::keylime_mb },
    Importer { name: "in-toto", read: tuples::in_toto },
    Importer { name: "corim", read: corim::read },
    Importer { name: "bottlerocket", read: lists::bottlerocket },
    Importer { name: "systemd-measure", read: systemd::measure },
    Importer { name: "cel-json", read: systemd::cel },
    Importer { name: "cmc", read: events::cmc },
    Importer { name: "keylime", read: lists::keylime },
    Importer { name: "trustee", read: lists::trustee },
    Importer { name: "kairos", read: plain::kairos },
    Importer { name: "azure-maa", read: plain::azure_maa },
    Importer { name: "csv", read: plain::csv },
    Importer { name: "env", read: plain::env },
    Importer { name: "tpm2-yaml", read: plain::tpm2_yaml },
];

/// Reads a policy of a format.
///
/// # Errors
/// [`ImportError`].
pub fn read(format: &str, bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    let importer = IMPORTERS.iter().find(|importer| importer.name == format);
    let importer = importer.ok_or_else(|| ImportError::Unknown { formats: names() })?;
    (importer.read)(bytes)
}

/// Reads a policy of whatever format it is.
///
/// # Errors
/// [`ImportError::Unknown`] when no reader takes it.
pub fn detect(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    let first = IMPORTERS.iter().find_map(|importer| (importer.read)(bytes).ok());
    first.ok_or_else(|| ImportError::Unknown { formats: names() })
}

fn names() -> Vec<&'static str> {
    IMPORTERS.iter().map(|importer| importer.name).collect()
}

/// Reads JSON into the format's structure.
fn json<'a, T: serde::Deserialize<'a>>(format: &'static str, bytes: &'a [u8]) -> Result<T, ImportError> {
    serde_json::from_slice(bytes).map_err(|error| ImportError::Json { format, error })
}

/// An error about a member.
fn content(format: &'static str, place: impl Into<String>, problem: impl Into<String>) -> ImportError {
    ImportError::Content { format, place: place.into(), problem: problem.into() }
}

/// A PCR from its decimal text or number.
fn pcr(format: &'static str, place: &str, text: &str) -> Result<PcrIndex, ImportError> {
    let number = text.trim().parse::<u32>().ok().and_then(|number| PcrIndex::try_from(number).ok());
    number.ok_or_else(|| content(format, place, format!("'{text}' is no PCR, expected 0 to 23")))
}

/// A digest from hexadecimal in either case; its length says which bank it is of. 32 bytes are SHA-256: no format here
/// is used with SM3.
fn digest(format: &'static str, place: &str, text: &str) -> Result<Digest, ImportError> {
    let bytes =
        hex::decode(text).map_err(|_| content(format, place, format!("'{text}' is not hexadecimal")))?;
    let banks = [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
    let digest = banks.into_iter().find_map(|bank| Digest::from_bytes(bank, &bytes));
    digest.ok_or_else(|| {
        content(format, place, format!("has {} bytes, expected 20, 32, 48 or 64", bytes.len()))
    })
}

/// A digest of the bank that stands beside it.
fn digest_of(format: &'static str, place: &str, bank: &str, text: &str) -> Result<Digest, ImportError> {
    let bank: HashAlgorithm = bank
        .parse()
        .map_err(|error: crate::tcg::UnknownAlgorithm| content(format, place, error.to_string()))?;
    let digest = hex::decode(text).ok().and_then(|bytes| Digest::from_bytes(bank, &bytes));
    digest.ok_or_else(|| content(format, place, format!("'{text}' is no {bank} digest in hexadecimal")))
}

/// Boots, as long as each of them demands something.
fn boots(format: &'static str, boots: Vec<Boot>) -> Result<PolicyValues, ImportError> {
    if boots.is_empty() || boots.iter().any(|boot| boot.values.is_empty()) {
        return Err(ImportError::Empty { format });
    }
    Ok(PolicyValues { format, accepts: Accepts::Boots(boots) })
}

/// Lists, as long as there is one.
fn per_pcr(
    format: &'static str,
    lists: BTreeMap<PcrIndex, BTreeSet<Digest>>,
) -> Result<PolicyValues, ImportError> {
    if lists.is_empty() {
        return Err(ImportError::Empty { format });
    }
    Ok(PolicyValues { format, accepts: Accepts::PerPcr(lists) })
}

/// Components, as long as there is a record.
fn components(format: &'static str, components: Vec<Component>) -> Result<PolicyValues, ImportError> {
    if components.iter().flat_map(|component| &component.variants).all(Vec::is_empty) {
        return Err(ImportError::Empty { format });
    }
    Ok(PolicyValues { format, accepts: Accepts::Components(components) })
}

impl Boot {
    /// Adds a value; a PCR that has one already gets one more bank. Two values of one bank would leave open which is meant.
    fn add(
        &mut self,
        format: &'static str,
        place: &str,
        (pcr, digest): (PcrIndex, Digest),
    ) -> Result<&mut BootValue, ImportError> {
        let value = self.values.entry(pcr).or_default();
        if value.digests.get(digest.algorithm()).is_some_and(|known| known != digest) {
            let problem = format!("PCR {pcr} has two values in {}", digest.algorithm());
            return Err(content(format, place, problem));
        }
        value.digests = value.digests.iter().chain([digest]).collect();
        Ok(value)
    }
}
