//! The Canonical Event Log: one model for events of any writer, and its encodings.
//!
//! Encodings: JSON, CBOR and TLV as CEL 1.0 and 1.1 define them, and systemd's `tpm2-measure.log`, which is a
//! JSON text sequence (RFC 7464) of records without number.
//!
//! A reader hands back the sound records before the first one that it can't read, and why it stopped.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod cbor;
mod convert;
mod json;
mod json_write;
mod record;
mod tlv;

pub(crate) use cbor::looks_like_cbor;
pub use cbor::read_cbor;
pub(crate) use convert::record_in;
pub use convert::{Numbering, number, record_of};
pub use json::{JsonError, read_json, read_json_sequence};
pub use json_write::write_json;
pub use record::{Content, DigestError, Management, Record, RecordDigests, Systemd};
pub(crate) use tlv::looks_like_tlv;
pub use tlv::read_tlv;

use crate::bytes::ParseError;

/// Records that one log may have: a bound for what a hostile file can make us hold.
pub const MAX_RECORDS: usize = 1 << 20;

/// Why a canonical event log ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CelError {
    /// A binary encoding.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A JSON encoding.
    #[error(transparent)]
    Json(#[from] JsonError),
}

/// The records of a log up to where it stopped making sense.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    /// The sound records, in order.
    pub records: Vec<Record<'a>>,
    /// Why there are no more, if the log does not simply end.
    pub error: Option<CelError>,
}
