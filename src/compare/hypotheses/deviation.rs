//! One deviation: what would have been measured otherwise.

use std::collections::BTreeMap;

use crate::compare::Code;
use crate::tcg::{Digest, PcrIndex};

/// A deviation from the expected boot.
#[derive(Debug, Clone)]
pub struct Deviation {
    /// What kind it is.
    pub code: Code,
    /// One sentence.
    pub detail: String,
    /// What it changes, by register.
    pub edits: BTreeMap<PcrIndex, Vec<Edit>>,
    /// How far-fetched it is: of equally short explanations the one with the smallest sum counts.
    pub rank: u8,
    /// One of very many: it is not tried together with two others.
    pub many: bool,
    /// One of so many that it is tried alone.
    pub alone: bool,
}

/// A change of a register's list of digests. Events are named by their index in the list of the whole boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The event has another digest.
    Replace(usize, Digest),
    /// The event did not happen.
    Remove(usize),
    /// Events happened before this one.
    Before(usize, Vec<Digest>),
    /// Events happened after all others.
    Append(Vec<Digest>),
    /// The register started with another value.
    Start(Digest),
    /// The same events in another order.
    Order(Vec<usize>),
}

impl Deviation {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), edits: BTreeMap::new(), rank: 0, many: false, alone: false }
    }

    pub(super) fn with(mut self, pcr: PcrIndex, edit: Edit) -> Self {
        self.edits.entry(pcr).or_default().push(edit);
        self
    }

    pub(super) fn ranked(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    pub(super) fn one_of_many(self) -> Self {
        Self { many: true, ..self }
    }

    pub(super) fn tried_alone(self) -> Self {
        Self { many: true, alone: true, ..self }
    }
}
