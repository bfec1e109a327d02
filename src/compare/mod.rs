//! What was expected of a boot against what a machine shows: values, events, and the deviation that explains them.
//!
//! [`compare`] takes an [`Expectation`] (from a document, a policy or a log) and [`Observation`]s (from logs, registers
//! or another document) and gives a [`Comparison`], which is what `premeasure compare --json` prints. It works in
//! steps, one file each:
//!
//! 1. `model`: both sides as events and values, whatever they came from,
//! 2. `verdict`: each PCR in each bank, and with it the nearest variant,
//! 3. `align`: the events of each PCR side by side, insertions and deletions found,
//! 4. `changes`: what differs inside two events that belong together,
//! 5. `causes`: what the differences mean; [`hypotheses`] where there are only values.
//!
//! Nothing in here is a judgement about trust: a log's claims are decoded and shown, and whoever needs a verdict that
//! an attacker can't influence compares values of a quote.

mod align;
mod causes;
mod changes;
mod classify;
mod document;
pub mod hypotheses;
mod later;
mod logs;
mod model;
mod nearest;
mod policy;
pub mod release;
mod report;
mod topic;
mod verdict;

pub use align::{AlignedEvent, EventStatus, align};
pub use causes::{Cause, Code};
pub use changes::{Change, Word, WordChange, changes, words};
pub use document::{expectation_of_document, observations_of_document};
pub use later::{Later, later};
pub use logs::{LogsError, expectation_of_logs, observation_of_logs};
pub use model::{
    Candidate, Event, Expectation, ExpectedPcr, ExpectedValue, Kind, Observation, Options, Origin,
};
pub use nearest::compare;
pub use policy::expectation_of_policy;
pub use report::{
    BankVerdict, Comparison, Divergence, EventRow, EventSide, ExpectedSide, GapText, Generator, KIND,
    ObservedSide, PcrVerdict, SCHEMA, SCHEMA_VERSION,
};
pub use topic::Topic;

use crate::tcg::eventlog::RegisterKind;
pub use verdict::Verdict;

/// Sides that have nothing to compare.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// No bank is on both sides.
    #[error("no bank in common: expected {expected}, observed {observed}")]
    NoCommonBank {
        /// Banks of the expected side.
        expected: String,
        /// Banks of the observed side.
        observed: String,
    },
    /// No register has a value on both sides.
    #[error("nothing to compare: no register with a predicted value was observed (observed: {observed})")]
    NothingInCommon {
        /// The registers that were observed.
        observed: String,
    },
    /// One side has PCRs, the other the registers of a confidential guest.
    #[error("expected are {}, observed are {}", registers_of(*expected), registers_of(*observed))]
    OtherRegisters {
        /// Of the expected side.
        expected: RegisterKind,
        /// Of the observed side.
        observed: RegisterKind,
    },
    /// There is no variant.
    #[error("nothing is expected: there is no variant")]
    NothingExpected,
    /// There is nothing on the other side.
    #[error("nothing was observed")]
    NothingObserved,
}

fn registers_of(kind: RegisterKind) -> &'static str {
    match kind {
        RegisterKind::Pcr => "PCRs of a TPM",
        RegisterKind::Mr => "registers of a confidential guest",
    }
}
