//! The firmware's event log: TCG 1.2 records, crypto-agile records, and the CC event log of confidential guests.
//!
//! An [`EventLog`] is what somebody *wrote*: nothing in it is proven. [`EventLog::replay`] computes what the
//! registers would hold if it were true, and [`EventLog::verify`] compares that with registers that were read
//! from the machine; only then there is a [`VerifiedLog`], and only of the registers that agreed.
//!
//! ```
//! use premeasure::tcg::eventlog::EventLog;
//! # fn f(bytes: &[u8]) {
//! match EventLog::parse(bytes) {
//!     Ok(log) => println!("{} events", log.events().count()),
//!     Err(broken) => println!("{} events, then {}", broken.prefix.events().count(), broken.error),
//! }
//! # }
//! ```

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod ccel;
mod final_events;
mod log;
mod record;
mod replay;
mod spec_id;
mod trailer;
mod verified;
mod writer;

pub use ccel::{CcelTable, MeasurementRegister};
pub(crate) use final_events::looks_like_final_events;
pub use final_events::read_final_events;
pub use log::{BrokenLog, EventLog, Events, Header, RegisterKind};
pub use record::{Digests, Event, Layout};
pub use replay::{Pcr0Start, Register, Replay, startup_locality};
pub use spec_id::{DigestSize, SpecId};
pub use trailer::Trailer;
pub use verified::{RegisterMismatch, VerifiedEvent, VerifiedLog, VerifyError};
pub use writer::{write_event, write_log};
