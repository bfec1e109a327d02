//! The vocabulary of the Trusted Computing Group: banks, digests, PCRs, event types and event logs.
//!
//! Nothing in here knows of PE files, systemd or the file system. Specifications named below, once:
//!
//! - *PFP*: TCG PC Client Platform Firmware Profile Specification, version 1.06 (and 1.05, 1.04)
//! - *Registry*: TCG Algorithm Registry, revision 1.34
//! - *Library*: Trusted Platform Module Library, part 2 "Structures", revision 1.59
//! - *CEL*: TCG Canonical Event Log Format, version 1.0

mod algorithm;
pub mod boot_aggregate;
pub mod cel;
pub mod check;
mod digest;
pub mod event_data;
mod event_type;
pub mod eventlog;
pub mod ima;
pub mod nvpcr;
mod overlap;
mod pcr;
pub mod tcg2_writer;
pub mod timeline;
pub(crate) mod words;

pub use algorithm::{AlgorithmId, HashAlgorithm, UnknownAlgorithm};
pub use digest::{Digest, DigestSet, Hasher};
pub use event_type::EventType;
pub use pcr::{PcrIndex, PcrIndexOutOfRange, PcrValues, extend};
