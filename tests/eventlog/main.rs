//! Event logs against values that we did not compute: registers of machines that we booted, the values of other
//! projects' logs, other tools.
//!
//! `PREMEASURE_CORPUS` names a folder with logs of other projects; without it those tests say that they were
//! skipped.

#![allow(clippy::print_stdout, clippy::print_stderr)] // what was skipped, and how much was compared

#[path = "../support/fuzz_inputs.rs"]
mod fuzz_inputs;

mod against;
mod command;
mod corpus;
mod documentation;
mod filters;
mod fixtures;
mod formats;
mod hostile;
mod malformed;
mod merging;
mod oracle;
mod quirks;
mod regressions;
mod terminal;
mod trailing;
