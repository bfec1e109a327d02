//! `premeasure capture`: what this machine knows about its boot, in one file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::{FAINT, STRONG, hinted, note, plain_json, print_bytes, printable, styled, warn};
use crate::capture::{Capture, CaptureError, CaptureOptions, MAX_CAPTURE, Treatment, collect};
use crate::source::{write_atomically, write_private};

/// Take this machine's logs, PCR values and facts about its boot into one file.
///
/// The file can be given to compare and log on any machine. Secrets and what identifies the machine are left out or hashed:
/// machine-id, serial numbers, UUIDs, addresses, credentials, values on the command line that look secret, also in the data
/// of the logs. What is taken, hashed and left out is listed before the file is written. Reading firmware's log takes root.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure capture -o capture.json                    this machine, for a bug report
  premeasure capture -o capture.json --full             with secrets and identities, readable by its owner only
  premeasure capture -o capture.json --esp /mnt/esp     with the hashes of the files of this boot partition
  premeasure compare reference.json capture.json        elsewhere: does it match, and if not, why
  premeasure log show capture.json                      its events")]
pub(super) struct CaptureArgs {
    /// File to write; `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Leave nothing out: the file is for its owner only then
    #[arg(long)]
    full: bool,
    /// Folder that holds sys, proc, run and etc
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// The boot partition [default: what is mounted as vfat at /efi, /boot or /boot/efi]
    #[arg(long, value_name = "DIR")]
    esp: Option<PathBuf>,
}

pub(super) fn run(args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    let options = CaptureOptions { root: args.root.clone(), esp: args.esp.clone(), full: args.full };
    let (capture, problems) = collect(&options).map_err(explain)?;
    problems.iter().for_each(warn);
    list(&capture);
    let mut text = serde_json::to_string_pretty(&capture)?;
    text.push('\n');
    let text = plain_json(&text);
    if text.len() > MAX_CAPTURE {
        return Err(hinted(
            format!("{} bytes, but a capture has at most {MAX_CAPTURE}", text.len()),
            "save IMA's log by itself; compare and log take several files",
        ));
    }
    if args.output.as_os_str() == "-" {
        print_bytes(text.as_bytes())?;
    } else if args.full {
        write_private(&args.output, text.as_bytes())?;
    } else {
        write_atomically(&args.output, text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what goes into the file, before there is one.
fn list(capture: &Capture) {
    for (treatment, title) in
        [(Treatment::Taken, "taken"), (Treatment::Hashed, "hashed"), (Treatment::LeftOut, "left out")]
    {
        for item in capture.contents.iter().filter(|item| item.treatment == treatment) {
            let title =
                styled(if treatment == Treatment::Taken { FAINT } else { STRONG }, format!("{title:>8}"));
            anstream::eprintln!("{title}  {}", printable(&item.what));
        }
    }
    if capture.full {
        note("--full: secrets and identities are in the file");
    } else {
        note("digests of events stay: who guesses what was measured can test it");
    }
}

fn explain(error: CaptureError) -> anyhow::Error {
    match error {
        CaptureError::Nothing { .. } => hinted(
            error.to_string(),
            "run it as root on a machine with a TPM, or name a folder with such a machine's files with --root",
        ),
        other => other.into(),
    }
}
