//! The command line: arguments, one file per subcommand, and what they share.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 fine, 1 differs or findings,
//! 2 error. Nothing outside this folder knows of `clap`, `anyhow` or terminals.

mod baseline;
mod build_results;
mod capture;
mod check;
mod compare;
mod diff;
mod explain;
mod export;
mod format_options;
mod html;
mod input;
mod inspect;
mod key;
mod log;
mod medium;
mod oci;
mod output;
mod platforms;
mod predict;
mod progress;
#[cfg(not(feature = "tpm"))]
#[path = "no_quote.rs"]
mod quote;
#[cfg(feature = "tpm")]
mod quote;
mod registers;
mod render;
mod secure_boot;
mod sign;
mod split_artifacts;
mod table;
mod tpm;
mod validate;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Says, before a machine has ever booted, what its TPM will contain afterwards.
#[derive(Debug, Parser)]
#[command(name = "premeasure", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::InspectArgs),
    Predict(predict::PredictArgs),
    Export(export::ExportArgs),
    Sign(sign::SignArgs),
    VerifyDocument(sign::VerifyArgs),
    Check(check::CheckArgs),
    Compare(Box<compare::CompareArgs>),
    Diff(Box<diff::DiffArgs>),
    Capture(capture::CaptureArgs),
    Baseline(baseline::BaselineArgs),
    Platforms(platforms::PlatformsArgs),
    Explain(explain::ExplainArgs),
    Validate(validate::ValidateArgs),
    Log(log::LogArgs),
    Verify(verify::VerifyArgs),
    Quote(quote::QuoteArgs),
}

/// Runs the command of the process's arguments and reports errors on standard error.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Printing fails only when the stream is gone; there is nobody left to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(output::EXIT_ERROR) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::report(&error);
            ExitCode::from(output::EXIT_ERROR)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::VerifyDocument(args) => sign::verify(&args),
        Command::Check(args) => check::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Baseline(args) => baseline::run(&args),
        Command::Platforms(args) => platforms::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Quote(args) => quote::run(&args),
    }
}
