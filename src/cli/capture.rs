//! `premeasure capture`: what this machine knows about its boot, in one file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::input::read_small;

use super::output::{FAINT, STRONG, hinted, note, plain_json, print_bytes, printable, styled, warn};
use super::tpm::{self, DEFAULT_TCTI, Kind, Nonce, Pcrs, parse_nonce, parse_selection};
use crate::attest::{Quote, read_pcr_values};
use crate::capture::{
    Capture, CaptureError, CaptureOptions, CapturedQuote, CapturedQuoteError, MAX_CAPTURE, QuoteParts,
    Treatment, collect,
};
use crate::source::{read_registers, write_atomically, write_private};
use crate::tcg::PcrValues;

/// Largest part of a quote, in bytes.
const MAX_PART: u64 = 64 << 10;

/// Take this machine's logs, PCR values and facts about its boot into one file.
///
/// The file can be given to compare and log on any machine. Secrets and what identifies the machine are left out or hashed:
/// machine-id, serial numbers, UUIDs, addresses, credentials, values on the command line that look secret, also in the data
/// of the logs. What is taken, hashed and left out is listed before the file is written. Reading firmware's log takes root.
///
/// With a quote of the TPM over a verifier's nonce, the file is evidence: `premeasure verify --evidence`. A quote tells which
/// TPM it is from, and can't be masked. --quote makes one with a throw-away key, in a build with the feature tpm;
/// --quote-files takes what tpm2_quote wrote.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure capture -o capture.json                    this machine, for a bug report
  premeasure capture -o capture.json --full             with secrets and identities, readable by its owner only
  premeasure capture -o capture.json --esp /mnt/esp     with the hashes of the files of this boot partition
  premeasure capture -o capture.json --quote --nonce 8f3a...
                                                        with a quote by a throw-away key, for a verifier
  premeasure capture -o capture.json --quote-files quote.msg quote.sig ak.pub quote.pcrs
                                                        with a quote that tpm2_quote made
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
    /// Have the TPM quote its PCRs, with a key made for it; takes a build with the feature tpm
    #[arg(long, requires = "nonce", conflicts_with = "quote_files", help_heading = "Quote")]
    quote: bool,
    /// Nonce of the verifier, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = parse_nonce, requires = "quote", help_heading = "Quote")]
    nonce: Option<Nonce>,
    /// PCRs to quote, as tpm2-tools has them: BANK:N,N+BANK:N
    #[arg(long, value_name = "LIST", value_parser = parse_selection, default_value = QUOTED, help_heading = "Quote")]
    pcrs: Pcrs,
    /// Kind of the key that quotes
    #[arg(long, value_enum, default_value_t = Kind::Ecc, help_heading = "Quote")]
    key: Kind,
    /// TPM to read and to quote: device:PATH, swtpm:host=H,port=N, mssim:..., tabrmd:... [default: PCRs from sysfs, quotes from
    /// device:/dev/tpmrm0]; takes a build with the feature tpm
    #[arg(long, value_name = "TCTI", help_heading = "Quote")]
    tcti: Option<String>,
    /// Files of a quote that was made before: message, signature, attestation key (public area, PEM, certificate), and the PCR
    /// values under it as tpm2_quote --pcr writes them, unless they are still the machine's
    #[arg(long, value_names = ["MSG", "SIG", "AK", "PCRS"], num_args = 3..=4, help_heading = "Quote")]
    quote_files: Vec<PathBuf>,
}

/// What is quoted unless something else is asked for: what can't be reset while the machine runs.
const QUOTED: &str = "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15";

pub(super) fn run(args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    let values = tpm::values(args.tcti.as_deref(), &args.root)?;
    let quote = quote(args, values.as_ref().map(|(_, values)| values))?;
    let options =
        CaptureOptions { root: args.root.clone(), esp: args.esp.clone(), full: args.full, values, quote };
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

/// The quote that was asked for, or whose files were named.
fn quote(args: &CaptureArgs, values: Option<&PcrValues>) -> anyhow::Result<Option<CapturedQuote>> {
    let parts = match (args.quote_files.as_slice(), &args.nonce) {
        ([message, signature, key, pcrs @ ..], _) => {
            parts([message, signature, key], pcrs.first(), args, values)?
        }
        (_, Some(nonce)) => {
            let tcti = args.tcti.as_deref().unwrap_or(DEFAULT_TCTI);
            let quoted = tpm::quote(tcti, &nonce.0, &args.pcrs, args.key)?;
            let tpm::Quoted { message, signature, public_area: key, values } = quoted;
            QuoteParts { message, signature, key, values }
        }
        _ => return Ok(None),
    };
    CapturedQuote::of(&parts).map(Some).map_err(|error| match error {
        CapturedQuoteError::Key(_) => hinted(error.to_string(), "name the key's file third: MSG SIG AK"),
        CapturedQuoteError::Apart(_) => hinted(
            format!("the quote's files do not belong together: {error}"),
            "name message, signature, key and values of one run of tpm2_quote; without the values, those of now have to be \
             those that were quoted",
        ),
    })
}

/// The files of a quote, with the values of a file or of the machine.
fn parts(
    [message, signature, key]: [&PathBuf; 3],
    pcrs: Option<&PathBuf>,
    args: &CaptureArgs,
    values: Option<&PcrValues>,
) -> anyhow::Result<QuoteParts> {
    let read = |path: &Path| read_small(path, MAX_PART);
    let message = read(message)?;
    let values = match (pcrs, values) {
        (Some(path), _) => {
            let selection = Quote::read(&message).map(|quote| quote.selection).unwrap_or_default();
            read_pcr_values(&read(path)?, &selection).with_context(|| path.display().to_string())?
        }
        (None, Some(values)) => values.clone(),
        (None, None) => {
            let folder = args.root.join("sys/class/tpm/tpm0");
            read_registers(&folder).map_err(|error| {
                hinted(
                    format!("{}: {error}", folder.display()),
                    "name the values under the quote too: --quote-files MSG SIG AK PCRS",
                )
            })?
        }
    };
    Ok(QuoteParts { message, signature: read(signature)?, key: read(key)?, values })
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
