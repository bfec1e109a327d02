//! `compare` and `diff` against real boots: what differs is known from how the boots were made.

#[path = "../support/mod.rs"]
mod support;

mod changed;
mod inputs;
mod outcome;
mod pairs;
mod releases;
mod values;
