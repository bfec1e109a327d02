//! `premeasure predict`: from a UKI to its PCRs.

mod boot_args;
mod facts;
mod files;
mod requests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::html::HtmlArgs;
use super::medium;
use super::output::{hinted, print, print_json, warn, write_to};
use super::render;
use crate::audit::{Report, Severity};
use crate::boot::Stage;
use crate::prediction::Registers;
use crate::report;
use crate::tcg::PcrIndex;

pub(super) use boot_args::{BootArgs, parse_bank, stage_parser};
pub(super) use facts::machine_id;
pub(super) use requests::{other_requests, predict_all, predictions, requests};

/// Predict the PCR values of a unified kernel image, or of what a disk image boots.
///
/// Walks the boot as firmware, systemd-boot, systemd-stub, the kernel's EFI stub and systemd do, and prints every PCR
/// that the image determines. A PCR that it does not determine is reported as unknown, with the input that would settle
/// it. Exit code 0 whenever a prediction was made.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure predict uki.efi                             values right after the firmware, as a table
  premeasure predict disk.img                            what the disk boots, with its boot loader and addons
  premeasure predict disk.img --all-entries -o ref.json  every entry of its boot menu, as one document
  premeasure predict uki.efi --stages                    which PCR moves when
  premeasure predict uki.efi --loader systemd-bootx64.efi --secure-boot on --format systemd
  premeasure predict uki.efi --bank sha256 --format pcrs --stage ready
  premeasure predict uki.efi -o reference.json           the document, for export and comparison
  premeasure predict disk.img --html boot.html           also as a page for the browser
  premeasure predict uki.efi --registers rtmr --baseline ccel.bin   registers of a TDX guest
  zstdcat uki.efi.zst | premeasure predict - --json")]
pub(super) struct PredictArgs {
    /// A unified kernel image, a disk image, a boot partition, a container image, or a folder with one; `-` for standard input
    image: PathBuf,
    #[command(flatten)]
    boot: BootArgs,
    /// PCR to print, repeatable or separated by commas [default: all of 0 to 15 that matter]
    #[arg(long = "pcr", value_name = "N", value_delimiter = ',', help_heading = "Output")]
    pcrs: Vec<u32>,
    /// Moment of the boot at which the printed values are taken; documents carry every stage
    #[arg(long, value_name = "STAGE", value_parser = stage_parser(), default_value = "exit-boot-services", help_heading = "Output")]
    stage: Stage,
    /// Print the table of what moves when, over all stages
    #[arg(long, conflicts_with_all = ["json", "format"], help_heading = "Output")]
    stages: bool,
    /// Print the whole document as JSON (schemas/reference.schema.json)
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    json: bool,
    /// Print the values in another form
    #[arg(long, value_enum, help_heading = "Output")]
    format: Option<Format>,
    /// Write the document to FILE, atomically; `-` for standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
    /// Software bill of materials to be named in the document, with its digest; repeatable: SPDX (JSON, tag-value), CycloneDX
    /// (JSON, XML), manifest of mkosi
    #[arg(long = "sbom", value_name = "FILE", help_heading = "Output")]
    sboms: Vec<PathBuf>,
    /// Write the predicted firmware log to FILE, in the TCG's crypto-agile format
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    event_log: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Output")]
    html: HtmlArgs,
}

/// Forms for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// {"sha256": {"4": "hex", ...}}
    Pcrs,
    /// 7:sha256=...+11:sha256=..., as systemd-cryptenroll takes it
    Systemd,
}

pub(super) fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let pcrs: Vec<PcrIndex> =
        args.pcrs.iter().map(|pcr| PcrIndex::try_from(*pcr)).collect::<Result<_, _>>()?;
    refuse_two_results_on_standard_output(args)?;
    refuse_what_guests_lack(args)?;
    let to_output = args.output.as_deref().is_some_and(is_standard_output);
    let to_log = args.event_log.as_deref().is_some_and(is_standard_output);
    let prints_document = args.json || args.output.is_some();
    let needs_document = prints_document || args.html.is_given();
    let mut predictions = predictions(&args.image, &args.boot, needs_document)?;
    predictions.add_materials(&args.image, &args.sboms)?;
    predictions.warn();
    if let Some(path) = &args.event_log {
        write_to(path, &render::event_log(&predictions.all)?)?;
    }
    if needs_document {
        let document = predictions.document()?;
        let mut text = serde_json::to_string_pretty(&document)?;
        text.push('\n');
        args.html.write(|| Ok((report::prediction(&document, args.stage), text.clone())))?;
        if let Some(path) = &args.output {
            write_to(path, text.as_bytes())?;
        }
        if args.json && !to_output {
            super::output::print_bytes(text.as_bytes())?;
        }
    }
    let all = predictions.all.as_slice();
    match args.format {
        Some(Format::Pcrs) if args.boot.guest.registers() == Registers::Rtmr => {
            print_json(&render::registers(all, args.stage))?;
        }
        Some(Format::Pcrs) => print_json(&render::pcrs(all, args.stage, &pcrs))?,
        Some(Format::Systemd) => match render::systemd(all, args.stage, &pcrs)? {
            text if text.is_empty() => warn("no PCR has one known value at this stage"),
            text => print(&format!("{text}\n"))?,
        },
        None if args.stages => {
            let tables = all.iter().map(|prediction| render::stages_table(prediction, &pcrs));
            print(&tables.collect::<Vec<_>>().join("\n"))?;
        }
        None if !prints_document && !to_log => {
            let tables = all.iter().map(|prediction| render::table(prediction, args.stage, &pcrs));
            let walk = render::walk(&predictions.steps);
            let check = predictions.checked.as_ref().map(|report| summary(report, &args.image));
            let tables: Vec<String> = [walk].into_iter().chain(tables).chain(check).collect();
            print(&tables.iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join("\n"))?;
        }
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What a check without hashing found, in a line.
fn summary(report: &Report, image: &Path) -> String {
    let count = |severity: Severity, word: &str| {
        let count = report.findings.iter().filter(|finding| finding.severity == severity).count();
        (count > 0).then(|| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
    };
    let all = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let found: Vec<String> = all.into_iter().filter_map(|(severity, word)| count(severity, word)).collect();
    let found = if found.is_empty() { "nothing found".to_owned() } else { found.join(", ") };
    let image = super::output::printable(&image.display().to_string()).to_string();
    format!(
        "Check without hashing: {found} (premeasure check {image} lists them and recomputes hash trees)\n"
    )
}

fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Standard output takes one result: two would be of no use to whoever reads it.
fn refuse_two_results_on_standard_output(args: &PredictArgs) -> anyhow::Result<()> {
    let to_output = args.output.as_deref().is_some_and(is_standard_output);
    let to_log = args.event_log.as_deref().is_some_and(is_standard_output);
    let other = args.format.is_some() || args.stages || args.json;
    if (to_output && (to_log || args.format.is_some() || args.stages)) || (to_log && (to_output || other)) {
        return Err(hinted("more than one result for standard output", "give -o or --event-log a file name"));
    }
    Ok(())
}

/// Not every form of output has a place for the registers of a confidential guest.
fn refuse_what_guests_lack(args: &PredictArgs) -> anyhow::Result<()> {
    let without = "leave it out, or predict PCRs";
    let refused = match (args.boot.guest.registers(), args.format) {
        (Registers::Pcr, _) => None,
        (Registers::Both, Some(_)) => {
            Some(("--format", "numbers of PCRs and of registers can't stand in one list"))
        }
        (Registers::Both, None) if args.stages => {
            Some(("--stages", "registers of a confidential guest don't change after the kernel starts"))
        }
        (Registers::Rtmr, Some(Format::Systemd)) => {
            Some(("--format systemd", "a policy of systemd's is about PCRs"))
        }
        (Registers::Rtmr, _) if args.stages => {
            Some(("--stages", "registers of a confidential guest don't change after the kernel starts"))
        }
        (Registers::Rtmr, _) if !args.pcrs.is_empty() => Some(("--pcr", "no PCRs are predicted")),
        (Registers::Rtmr, _) if args.html.is_given() => Some(("--html", "the page is about PCRs")),
        (Registers::Rtmr, _) if args.event_log.is_some() => Some(("--event-log", "the log is that of a TPM")),
        _ => None,
    };
    match refused {
        Some((option, why)) => Err(hinted(format!("{option} with --registers: {why}"), without)),
        None => Ok(()),
    }
}
