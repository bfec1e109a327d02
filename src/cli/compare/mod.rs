//! `premeasure compare`: what was expected of a boot against what a machine shows.

mod input;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::html::HtmlArgs;
use super::input::{display_name, read_small};
use super::output::{EXIT_DIFFERS, EXIT_ERROR, hinted, print, print_json};
use super::predict::{BootArgs, stage_parser};
use crate::boot::Stage;
use crate::compare::{Candidate, CompareError, Observation, Options, compare};
use crate::report;
use crate::secure_boot::{MAX_VARIABLE, read_key_file};
use crate::tcg::PcrIndex;

/// Compare what was expected of a boot with what a machine shows, and say why it differs.
///
/// EXPECTED is a document, an image, boot partition or folder (predicted now, with the options of predict), a policy of
/// any format that premeasure reads, or an event log. OBSERVED are event logs of one boot, PCR values (JSON, output of
/// tpm2_pcrread, a folder like /sys/class/tpm/tpm0), both together, or another prediction. A document's nearest variant
/// counts. Exit code 0 when every PCR that is predicted matches, 1 when one differs, 2 on errors.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure compare reference.json eventlog.bin                   which event differs, and why
  premeasure compare reference.json eventlog.bin pcrs.json         the TPM's values, explained by the log
  premeasure compare uki.efi pcrs.yaml --loader systemd-bootx64.efi   values alone: what would give them
  premeasure compare disk.img --live                               this machine
  premeasure compare disk.img --live --tcti swtpm:port=2321        the TPM of a guest, with the feature tpm
  premeasure compare measurements.json pcrs.json --json            a policy of Constellation, Keylime, AWS, ...
  premeasure compare uki.efi ccel.bin --registers rtmr --baseline earlier-ccel.bin   a TDX guest's registers
  premeasure compare yesterday.bin today.bin                       two boots of one machine
  premeasure compare reference.json eventlog.bin --html why.html   also as a page for the browser")]
pub(super) struct CompareArgs {
    /// What was expected: document, image, policy or event log
    expected: PathBuf,
    /// What is there: event logs of one boot, PCR values, or another prediction
    #[arg(required_unless_present = "live")]
    observed: Vec<PathBuf>,
    /// Observe this machine: PCRs from sysfs, the firmware's log and systemd's
    #[arg(long)]
    live: bool,
    /// Folder that holds the sys and run of --live
    #[arg(long, value_name = "DIR", default_value = "/", requires = "live")]
    live_root: PathBuf,
    /// TPM whose PCRs --live reads, instead of those in sysfs: device:PATH, swtpm:host=H,port=N, mssim:..., tabrmd:...; takes a
    /// build with the feature tpm
    #[arg(long, value_name = "TCTI", requires = "live")]
    tcti: Option<String>,
    /// Format of the policy EXPECTED, where its content does not tell
    #[arg(long, value_name = "NAME")]
    policy_format: Option<String>,
    /// Update of dbx that the machine may have got since (.esl, .auth), repeatable: tried when PCR 7 differs
    #[arg(long, value_name = "FILE")]
    dbx_update: Vec<PathBuf>,
    /// PCR to compare, repeatable or separated by commas [default: all]
    #[arg(long = "pcr", value_name = "N", value_delimiter = ',')]
    pcrs: Vec<u32>,
    /// Values are those of exactly this stage [default: exit-boot-services, or what is known to come later]
    #[arg(long, value_name = "STAGE", value_parser = stage_parser())]
    stage: Option<Stage>,
    /// Print every event, not only those that differ
    #[arg(long, conflicts_with = "json")]
    all_events: bool,
    /// As JSON (schemas/comparison.schema.json)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    html: HtmlArgs,
    #[command(flatten)]
    boot: BootArgs,
}

impl CompareArgs {
    fn options(&self) -> anyhow::Result<Options> {
        let pcrs = self.pcrs.iter().map(|pcr| PcrIndex::try_from(*pcr)).collect::<Result<_, _>>()?;
        let dbx_updates =
            self.dbx_update.iter().map(|path| dbx_update(path)).collect::<anyhow::Result<_>>()?;
        Ok(Options { stage: self.stage, pcrs, banks: self.boot.banks().to_vec(), dbx_updates })
    }
}

pub(super) fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let options = args.options()?;
    let mut observed = input::observed(args, &options)?;
    let expected = input::expected(args, &mut observed.observations)?;
    let evidence = |candidate: &Candidate, observation: &Observation| {
        expected.evidence(args, candidate, observation, &options)
    };
    let comparison =
        compare(&expected.expectation, &observed.observations, &options, &evidence).map_err(explain_error)?;
    args.html.write(|| Ok((report::comparison(&comparison), serde_json::to_string_pretty(&comparison)?)))?;
    if args.json {
        print_json(&comparison)?;
    } else {
        print(&text::text(&comparison, args.all_events))?;
    }
    Ok(match (comparison.equal, observed.broken) {
        (_, true) => ExitCode::from(EXIT_ERROR),
        (false, false) => ExitCode::from(EXIT_DIFFERS),
        (true, false) => ExitCode::SUCCESS,
    })
}

fn dbx_update(path: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    let name = display_name(path);
    let lists = read_key_file(&read_small(path, MAX_VARIABLE)?, None).map_err(|error| {
        hinted(
            format!("{name}: {error}"),
            "expected signature lists, or a signed write of them, such as DBXUpdate.bin",
        )
    })?;
    Ok((name, lists))
}

fn explain_error(error: CompareError) -> anyhow::Error {
    match error {
        CompareError::OtherRegisters { .. } => hinted(
            error.to_string(),
            "predict --registers rtmr is for CC event logs and register values of a guest, --registers pcr for those of a TPM",
        ),
        CompareError::NothingInCommon { .. } => hinted(
            error.to_string(),
            "observe the registers that are predicted; premeasure predict lists them",
        ),
        CompareError::NoCommonBank { .. } => {
            hinted(error.to_string(), "--bank computes others where EXPECTED is an image")
        }
        other => anyhow::Error::new(other),
    }
}
