//! `premeasure log`: event logs of every kind, shown, replayed, checked and converted.

mod against;
mod aggregate;
mod check;
mod continuation;
mod convert;
mod filter;
mod folder;
mod input;
mod nv;
mod replay;
mod show;
mod show_html;
mod show_json;
mod show_text;

use std::process::ExitCode;

pub(super) use input::MAX_LOG;

use clap::{Args, Subcommand};

/// Read event logs: of firmware, of confidential guests, of IMA, of systemd.
///
/// Formats are detected: TCG 1.2 and crypto-agile logs, CCEL with or without its ACPI table, Canonical Event Logs
/// (JSON, CBOR, TLV), systemd's tpm2-measure.log, IMA's runtime measurements.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    Show(show::ShowArgs),
    Replay(replay::ReplayArgs),
    Check(check::CheckArgs),
    Convert(convert::ConvertArgs),
}

pub(super) fn run(args: &LogArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        LogCommand::Show(args) => show::run(args),
        LogCommand::Replay(args) => replay::run(args),
        LogCommand::Check(args) => check::run(args),
        LogCommand::Convert(args) => convert::run(args),
    }
}
