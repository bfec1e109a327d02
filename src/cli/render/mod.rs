//! Predictions as text: tables for people, maps and lines for scripts, the binary log.

mod guest;
mod log;
mod pcrs;
mod tables;
mod values;

pub(super) use guest::registers;
pub(super) use log::event_log;
pub(super) use pcrs::{pcrs, systemd};
pub(super) use tables::{stages_table, table, walk};
