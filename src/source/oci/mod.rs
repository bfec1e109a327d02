//! Container images: an OCI layout as a folder or archive, and what `docker save` writes. Their layers are merged into one
//! tree of the files that a machine could boot from; nothing else is unpacked.
//!
//! Sources: OCI Image Format Specification 1.1 (`image-layout.md`, `manifest.md`, `layer.md`), Docker Image Specification 1.2.

mod layers;
mod layout;

use std::io;

pub use layers::{Node, Tree};
pub use layout::{Layout, open_archive, open_folder};

/// A container image that can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// Reading failed.
    #[error("{what}: {error}")]
    Io {
        /// What was read.
        what: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A JSON file is not what it should be.
    #[error("{what}: {error}")]
    Json {
        /// The file.
        what: String,
        /// Why.
        #[source]
        error: serde_json::Error,
    },
    /// A part is missing, or not as announced.
    #[error("{what}: {why}")]
    Wrong {
        /// The part.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// More bytes or entries than allowed.
    #[error("{what}: more than {limit} {unit}")]
    TooLarge {
        /// The part.
        what: String,
        /// The limit.
        limit: u64,
        /// What is counted.
        unit: &'static str,
    },
}

impl OciError {
    fn io(what: impl Into<String>, error: io::Error) -> Self {
        Self::Io { what: what.into(), error }
    }

    fn wrong(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Wrong { what: what.into(), why: why.into() }
    }
}
