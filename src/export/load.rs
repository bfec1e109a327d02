//! Taking in documents: whole, unaltered, and nothing else.

use crate::reference::{self, Document, Finding, ParseDocumentError};
use crate::tcg::{Digest, HashAlgorithm};

/// A document and the file that it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The file's name, for messages.
    pub file: String,
    /// The document.
    pub document: Document,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

/// A file that no reference values may be taken from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An image, not a document.
    #[error("{file}: is an image, not a reference document")]
    Image {
        /// The file.
        file: String,
    },
    /// JSON, but no document: a list of PCR values, perhaps.
    #[error(
        "{file}: is no reference document: it has no schema_version. A list of PCR values does not say what they were derived from"
    )]
    NoDocument {
        /// The file.
        file: String,
    },
    /// Unreadable.
    #[error("{file}: {error}")]
    Parse {
        /// The file.
        file: String,
        /// Why.
        #[source]
        error: ParseDocumentError,
    },
    /// It contradicts itself.
    #[error("{file}: was altered or damaged: {}", describe(findings))]
    Altered {
        /// The file.
        file: String,
        /// Where.
        findings: Vec<Finding>,
    },
}

impl LoadError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Image { .. } => "premeasure predict IMAGE -o reference.json makes the document",
            Self::NoDocument { .. } => "premeasure predict UKI -o reference.json makes a document",
            Self::Parse { error: ParseDocumentError::Version { .. }, .. } => {
                "a newer premeasure wrote it: use that one, or predict again"
            }
            Self::Parse { .. } => "premeasure predict UKI -o reference.json makes a document",
            Self::Altered { .. } => "predict again; values and measurements may not be edited by hand",
        }
    }
}

fn describe(findings: &[Finding]) -> String {
    let shown: Vec<String> = findings.iter().take(3).map(ToString::to_string).collect();
    let more = findings.len().saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{}{more}", shown.join("; "))
}

/// Reads a document and replays it: values that its measurements don't extend to are refused.
///
/// # Errors
/// [`LoadError`].
pub fn load(file: &str, bytes: &[u8]) -> Result<Loaded, LoadError> {
    let file = file.to_owned();
    if bytes.starts_with(b"MZ") {
        return Err(LoadError::Image { file });
    }
    let document = match reference::parse(bytes) {
        Ok(document) => document,
        Err(ParseDocumentError::Json(_)) if is_other_json(bytes) => {
            return Err(LoadError::NoDocument { file });
        }
        Err(error) => return Err(LoadError::Parse { file, error }),
    };
    let findings = reference::check(&document);
    if !findings.is_empty() {
        return Err(LoadError::Altered { file, findings });
    }
    Ok(Loaded { file, document, sha256: Digest::of(HashAlgorithm::Sha256, bytes) })
}

fn is_other_json(bytes: &[u8]) -> bool {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(value) => value.get("schema_version").is_none(),
        Err(_) => false,
    }
}
