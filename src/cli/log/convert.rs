//! `premeasure log convert`: any log as CEL-JSON, and a firmware log as it was.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::input::{InputArgs, Logs};
use crate::cli::output::{hinted, plain_json, write_to};
use crate::tcg::cel::{Numbering, write_json};
use crate::tcg::eventlog::write_log;
use crate::tcg::timeline::{check_mergeable, merge};

/// Write logs in another format.
///
/// `cel-json` holds any log, and several of one boot in one. `tcg2` writes a firmware log field by field: what was
/// read comes out byte for byte, a broken log up to where it was sound.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure log convert eventlog.bin tpm2-measure.log -o boot.cel.json
  premeasure log convert ccel.bin --to tcg2 -o copy.bin")]
pub(super) struct ConvertArgs {
    #[command(flatten)]
    input: InputArgs,

    /// The format
    #[arg(long, value_name = "FORMAT", default_value = "cel-json")]
    to: Format,

    /// Write to this file
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Canonical Event Log, JSON
    CelJson,
    /// TCG event log as firmware writes it
    Tcg2,
}

pub(super) fn run(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    let files = args.input.read()?;
    let logs = args.input.parse(&files)?;
    let bytes = match args.to {
        Format::CelJson => cel_json(&logs)?,
        Format::Tcg2 => tcg2(&logs)?,
    };
    if matches!(args.to, Format::Tcg2) && args.output.as_os_str() == "-" && std::io::stdout().is_terminal() {
        return Err(hinted("a firmware log is no text: it could drive the terminal", "name a file: -o FILE"));
    }
    write_to(&args.output, &bytes)?;
    Ok(logs.report(ExitCode::SUCCESS))
}

fn cel_json(logs: &Logs<'_>) -> anyhow::Result<Vec<u8>> {
    check_mergeable(&logs.logs)?;
    let mut numbering = Numbering::default();
    let records: Vec<_> = merge(&logs.logs)
        .into_iter()
        .map(|entry| {
            let mut record = entry.record;
            record.recnum = Some(numbering.next(record.register));
            record
        })
        .collect();
    Ok(plain_json(&write_json(&records)?).into_owned().into_bytes())
}

fn tcg2(logs: &Logs<'_>) -> anyhow::Result<Vec<u8>> {
    match logs.logs.as_slice() {
        [log] => match log.as_firmware() {
            Some(firmware) if log.error.is_none() => Ok(write_log(firmware)),
            Some(firmware) => {
                let mut bytes = write_log(firmware);
                // What could not be read is not written either.
                bytes.truncate(usize::try_from(firmware.end()).unwrap_or(usize::MAX));
                Ok(bytes)
            }
            None => Err(hinted(format!("a {} is no firmware log", log.format), "use --to cel-json")),
        },
        _ => Err(hinted("several logs don't go into one firmware log", "use --to cel-json")),
    }
}
