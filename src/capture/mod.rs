//! A capture: what a machine knows about its boot, in one file that can be compared anywhere.
//!
//! [`collect`] makes one on the machine, [`Capture::parse`] reads one. A capture comes from whoever sends it: nothing in it
//! is trusted, and everything in it is bounded.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod collect;
mod files;
mod identities;
mod mask;
mod quote;
mod secrets;
mod variables;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use collect::{CaptureError, CaptureOptions, collect};
pub use quote::{CapturedQuote, CapturedQuoteError, QuoteParts};

use crate::export::from_base64;
use crate::json::UniqueKeys;
use crate::source::{RegistersError, parse_registers};
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues};

/// What `kind` of a capture says.
pub const KIND: &str = "premeasure-capture";
/// The JSON Schema of a capture.
pub const SCHEMA: &str = include_str!("../../schemas/capture.schema.json");
/// Version of the schema that captures are written by.
const SCHEMA_VERSION: &str = "1.1.0";
/// Most bytes of a capture.
pub const MAX_CAPTURE: usize = 64 << 20;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// Version of the schema.
    pub schema_version: String,
    /// [`KIND`].
    pub kind: String,
    /// The program that wrote it.
    pub generator: Generator,
    /// Nothing was hashed or left out.
    pub full: bool,
    /// What was taken, hashed and left out, as it was said before writing.
    #[serde(default)]
    pub contents: Vec<Item>,
    /// The logs, by [`LOGS`].
    #[serde(default)]
    pub logs: BTreeMap<String, CapturedLog>,
    /// Values by bank and PCR, hexadecimal.
    #[serde(default)]
    pub pcrs: BTreeMap<String, BTreeMap<String, String>>,
    /// A quote of the TPM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<CapturedQuote>,
    /// `release`, `version` and `machine` of the kernel.
    #[serde(default)]
    pub kernel: BTreeMap<String, String>,
    /// Fields of os-release(5).
    #[serde(default)]
    pub os: BTreeMap<String, String>,
    /// Vendor, product and firmware, by the names of `/sys/class/dmi/id`.
    #[serde(default)]
    pub dmi: BTreeMap<String, String>,
    /// The machine's id and serial numbers: hashed, or as they are with `--full`.
    #[serde(default)]
    pub identity: BTreeMap<String, String>,
    /// The kernel's command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// EFI variables, by name.
    #[serde(default)]
    pub efi_variables: BTreeMap<String, CapturedVariable>,
    /// Files of the boot partition, in the order of their paths.
    #[serde(default)]
    pub files: Vec<CapturedFile>,
}

/// A program and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generator {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What became of a part of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// It is in the capture.
    Taken,
    /// Its SHA-256 is.
    Hashed,
    /// It is not.
    LeftOut,
}

/// A line of the list of contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What became of it.
    pub treatment: Treatment,
    /// What it is.
    pub what: String,
}

/// A log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedLog {
    /// Its bytes, base64.
    pub data: String,
    /// Events whose data was masked, by their number: their digests are those of the data as it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked_events: Vec<u64>,
    /// What follows the last sound record was masked too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked_rest: bool,
}

/// A variable: its value where it says something, its digest where that is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedVariable {
    /// Bytes of the value.
    pub size: u64,
    /// SHA-256 of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The value, a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The value, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedFile {
    /// Path from the root of its volume.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content, unless that is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Logs of a capture in the order of a boot.
pub const LOGS: [&str; 3] = ["firmware", "ima", "userspace"];

/// A capture that can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCaptureError {
    /// Larger than captures are.
    #[error("{found} bytes: a capture has at most {MAX_CAPTURE}")]
    TooLarge {
        /// Bytes that it has.
        found: usize,
    },
    /// No JSON, or not of this shape.
    #[error("not a capture: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by another version.
    #[error("schema_version {0} is not 1.x: use the version of premeasure that wrote it")]
    Version(String),
    /// A log that is unknown.
    #[error("logs: '{0}' is none of firmware, ima, userspace")]
    UnknownLog(String),
    /// A log that is not in base64.
    #[error("logs.{0}.data: is not base64")]
    Base64(&'static str),
    /// A part of the quote that is not in base64.
    #[error("quote.{0}: is not base64")]
    Quote(&'static str),
    /// Values that are none.
    #[error("pcrs: {0}")]
    Pcrs(#[source] RegistersError),
}

/// Whether bytes claim to be a capture. Says nothing about whether they are a sound one.
#[must_use]
pub fn is_capture(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Head {
        kind: Option<String>,
    }
    bytes.trim_ascii_start().first() == Some(&b'{')
        && serde_json::from_slice::<Head>(bytes).is_ok_and(|head| head.kind.as_deref() == Some(KIND))
}

impl Capture {
    /// Reads a capture.
    ///
    /// # Errors
    /// [`ParseCaptureError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseCaptureError> {
        if bytes.len() > MAX_CAPTURE {
            return Err(ParseCaptureError::TooLarge { found: bytes.len() });
        }
        serde_json::from_slice::<UniqueKeys>(bytes)?;
        let capture: Self = serde_json::from_slice(bytes)?;
        if !capture.schema_version.starts_with("1.") {
            return Err(ParseCaptureError::Version(capture.schema_version));
        }
        if let Some(name) = capture.logs.keys().find(|name| !LOGS.contains(&name.as_str())) {
            return Err(ParseCaptureError::UnknownLog(name.clone()));
        }
        Ok(capture)
    }

    /// The logs with their names, in the order of a boot.
    ///
    /// # Errors
    /// [`ParseCaptureError::Base64`].
    pub fn log_bytes(&self) -> Result<Vec<(&'static str, Vec<u8>)>, ParseCaptureError> {
        let mut logs = Vec::new();
        for name in LOGS {
            if let Some(log) = self.logs.get(name) {
                logs.push((name, from_base64(&log.data).ok_or(ParseCaptureError::Base64(name))?));
            }
        }
        Ok(logs)
    }

    /// The PCRs, if there are any.
    ///
    /// # Errors
    /// [`ParseCaptureError::Pcrs`].
    pub fn values(&self) -> Result<Option<PcrValues>, ParseCaptureError> {
        let values = values_of(&self.pcrs)?;
        let any = values.banks().next().is_some();
        Ok(any.then_some(values))
    }

    /// The quote, if there is one. That its parts are there says nothing about whether they are sound.
    ///
    /// # Errors
    /// [`ParseCaptureError::Quote`], [`ParseCaptureError::Pcrs`].
    pub fn quote_parts(&self) -> Result<Option<QuoteParts>, ParseCaptureError> {
        self.quote.as_ref().map(CapturedQuote::parts).transpose()
    }

    /// What a reader of the logs has to know: where data is not what was measured.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        let masked = |log: &CapturedLog| log.masked_events.len();
        let events = self.logs.values().map(masked).fold(0_usize, usize::saturating_add);
        (events > 0).then(|| {
            format!(
                "the data of {events} events was masked when it was captured; their digests are as recorded, and \
                 don't fit what is shown of the data"
            )
        })
    }
}

/// Values by bank and PCR, hexadecimal.
type Texts = BTreeMap<String, BTreeMap<String, String>>;

fn values_of(texts: &Texts) -> Result<PcrValues, ParseCaptureError> {
    parse_registers(&serde_json::to_string(texts)?).map_err(ParseCaptureError::Pcrs)
}

fn texts_of(values: &PcrValues) -> Texts {
    let bank = |(bank, registers): (HashAlgorithm, &BTreeMap<PcrIndex, Digest>)| {
        let registers = registers.iter().map(|(pcr, value)| (pcr.to_string(), value.to_string()));
        (bank.name().to_owned(), registers.collect())
    };
    values.banks().map(bank).collect()
}
