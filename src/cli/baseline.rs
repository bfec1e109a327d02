//! `premeasure baseline`: what a platform measured, from logs of it; and reading baselines for a prediction.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::input::{display_name, read_small};
use super::output::{hinted, warn, write_to};
use crate::baseline::{self, PlatformPart, RecordedGrub, from_profile, merge, to_profile};
use crate::boot::{Input, InputId, InputRole, RecordedPlatform};
use crate::prediction::Registers;
use crate::source::Blob;
use crate::tcg::eventlog::{EventLog, RegisterKind};

/// Work with recorded boots of a platform.
#[derive(Debug, Args)]
pub(super) struct BaselineArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Make(MakeArgs),
}

/// Distil a profile of a platform from event logs of it.
///
/// Keeps what the platform measured (firmware, tables, boot variables, Secure Boot variables), leaves out what the image
/// determined, and of what could identify a machine keeps nothing but digests. The profile is JSON, to be reviewed and
/// passed around, and is used by predict --baseline.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure baseline make /sys/kernel/security/tpm0/binary_bios_measurements -o platform.json
  premeasure baseline make boot1.bin boot2.bin boot3.bin -o platform.json
  premeasure predict new-uki.efi --baseline platform.json")]
struct MakeArgs {
    /// Event logs, all of one platform; profiles are joined, too
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// Write the profile to FILE, atomically; `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

pub(super) fn run(args: &BaselineArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Make(args) => make(args),
    }
}

fn make(args: &MakeArgs) -> anyhow::Result<ExitCode> {
    let mut parts = Vec::new();
    for path in &args.logs {
        parts.extend(read(path)?.1);
    }
    if parts.windows(2).any(|pair| matches!(pair, [one, other] if one.kind != other.kind)) {
        return Err(hinted(
            "logs of PCRs and of a confidential guest's registers are given: a profile is of one kind",
            "make one of each",
        ));
    }
    let parts = merge(parts);
    if parts.iter().all(|part| part.banks.is_empty()) {
        return Err(hinted("the logs have no bank in common", "take logs of one platform"));
    }
    if parts.len() > 1 {
        warn(format!("the platform was seen in {} different ways; a prediction follows each", parts.len()));
    }
    write_to(&args.output, to_profile(&parts)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What recorded boots show.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Of PCRs.
    pub(super) pcrs: Vec<RecordedPlatform>,
    /// Of the registers of a confidential guest.
    pub(super) guest: Vec<RecordedPlatform>,
}

/// Reads the files of `--baseline`, notes them among the inputs, and finds how many kinds of boots they show.
pub(super) fn recorded(
    paths: &[PathBuf],
    registers: Registers,
    inputs: &mut Vec<Input>,
) -> anyhow::Result<Recorded> {
    let (mut pcrs, mut guest) = (Parts::default(), Parts::default());
    for path in paths {
        let (bytes, read) = read(path)?;
        let is_guest = read.iter().any(|part| part.kind == RegisterKind::Mr);
        refuse_other_registers(path, is_guest, registers)?;
        let input = InputId(inputs.len());
        inputs.push(Input {
            role: InputRole::Baseline,
            name: display_name(path),
            file: Blob::from_bytes(bytes),
        });
        let of_kind = if is_guest { &mut guest } else { &mut pcrs };
        of_kind.inputs.push(input);
        of_kind.parts.extend(read);
    }
    Ok(Recorded { pcrs: pcrs.merged(), guest: guest.merged() })
}

/// The run of GRUB that the logs among the files of `--baseline` show; `None` when none ran. A profile has none.
pub(super) fn recorded_grub(paths: &[PathBuf]) -> anyhow::Result<Option<Result<RecordedGrub, String>>> {
    let mut found: Option<Result<RecordedGrub, String>> = None;
    for path in paths {
        let bytes = read_small(path, baseline::MAX_SIZE)?;
        // What is wrong with a log is said where the platform is read.
        let Ok(log) = EventLog::parse(&bytes) else { continue };
        let name = display_name(path);
        let state = PlatformPart::from_log(&log, &name, &bytes).ok().and_then(|part| part.variables().ok());
        let run = RecordedGrub::from_log(&log, state.and_then(|variables| variables.state()));
        let Some(run) = run.map(|run| run.map_err(|why| format!("{name}: {why}"))) else { continue };
        found = Some(match found {
            None => run,
            Some(other) if other == run => other,
            Some(_) => Err("the logs show different runs of GRUB".to_owned()),
        });
    }
    Ok(found)
}

/// A log of registers that nobody asked for would be of no use, or worse.
fn refuse_other_registers(path: &Path, is_guest: bool, registers: Registers) -> anyhow::Result<()> {
    let name = path.display();
    match (is_guest, registers) {
        (true, Registers::Pcr) => Err(hinted(
            format!("--baseline {name}: is of a confidential guest's registers, PCRs are asked for"),
            "--registers rtmr or both, or the event log of the TPM",
        )),
        (false, Registers::Rtmr) => Err(hinted(
            format!(
                "--baseline {name}: is of a TPM's PCRs, the registers of a confidential guest are asked for"
            ),
            "the guest's CC event log (/sys/firmware/acpi/tables/data/CCEL), or --registers both",
        )),
        _ => Ok(()),
    }
}

/// Boots of one kind of registers.
#[derive(Default)]
struct Parts {
    parts: Vec<PlatformPart>,
    inputs: Vec<InputId>,
}

impl Parts {
    fn merged(self) -> Vec<RecordedPlatform> {
        let parts = merge(self.parts);
        let count = parts.len();
        let recorded = parts.into_iter().enumerate();
        recorded
            .map(|(number, part)| RecordedPlatform { part, inputs: self.inputs.clone(), number, count })
            .collect()
    }
}

/// A log or a profile, told apart by the first byte; its bytes, too.
fn read(path: &Path) -> anyhow::Result<(Vec<u8>, Vec<PlatformPart>)> {
    let bytes = read_small(path, baseline::MAX_SIZE)?;
    let named = || path.display().to_string();
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        let parts = from_profile(&bytes).map_err(|error| {
            hinted(format!("{}: {error}", named()), "a profile is written by premeasure baseline make")
        })?;
        return Ok((bytes, parts));
    }
    let part = match EventLog::parse(&bytes) {
        Ok(log) => PlatformPart::from_log(&log, &display_name(path), &bytes).with_context(named)?,
        Err(broken) => {
            return Err(hinted(
                format!("{}: {}", named(), broken.error),
                "an event log is needed here, as /sys/kernel/security/tpm0/binary_bios_measurements, or a profile made of \
                 such",
            ));
        }
    };
    Ok((bytes, vec![part]))
}
