//! `premeasure check IMAGE`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::build_results::BuildResults;
use super::input::read_small;
use super::medium::{self, Subject, WalkArgs};
use super::output::{
    BAD, CAUTION, EXIT_DIFFERS, FAINT, GOOD, STRONG, hinted, print, print_json, printable, styled,
};
use super::progress::Bar;
use super::split_artifacts;
use crate::audit::{AuditOptions, Report, Severity, audit};
use crate::secure_boot::{Database, MAX_VARIABLE, read_key_file};
use crate::uefi::guid::Guid;
use crate::walk::Walk;

/// Check an image for what makes a measured boot worthless
///
/// Recomputes the dm-verity hash trees that the command lines promise, and looks at signatures, partitions, boot loader
/// settings and kernel parameters. Nothing is mounted, and no root is needed. Exit code 1 when there is a warning or an
/// error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure check disk.img
  premeasure check disk.img --certificate db.pem --certificate verity.pem
  premeasure check disk.img --json")]
pub(super) struct CheckArgs {
    /// A disk image, a boot partition, a container image, or a folder with one; `-` for standard input
    image: PathBuf,
    #[command(flatten)]
    walk: WalkArgs,
    /// Certificate (PEM or DER) that has to account for the programs and for the signatures of dm-verity partitions; repeatable
    #[arg(long = "certificate", value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// Print JSON instead (schemas/check.schema.json)
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let options = AuditOptions { certificates: certificates(&args.certificates)?, ..AuditOptions::default() };
    let report = report(&args.image, &args.walk, &options)?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&text(&report))?;
    }
    Ok(if report.has_findings() { ExitCode::from(EXIT_DIFFERS) } else { ExitCode::SUCCESS })
}

/// The certificates as a database like the firmware's.
fn certificates(paths: &[PathBuf]) -> anyhow::Result<Option<Database>> {
    let mut lists = Vec::new();
    for path in paths {
        let bytes = read_small(path, MAX_VARIABLE)?;
        let named = || format!("--certificate {}", path.display());
        lists.extend(read_key_file(&bytes, Some(Guid::ZERO)).with_context(named)?);
    }
    let parsed = (!paths.is_empty()).then(|| Database::parse(&lists)).transpose();
    parsed.context("--certificate")
}

fn report(path: &Path, args: &WalkArgs, options: &AuditOptions) -> anyhow::Result<Report> {
    let medium = match medium::identify(path, args)? {
        Subject::Medium(medium) => medium,
        Subject::Other(_, error) => return Err(error),
        Subject::Program(_) => {
            let hint =
                format!("premeasure inspect {} shows what is unusual about a single file", path.display());
            return Err(hinted(format!("{}: is a single program, not a disk", path.display()), hint));
        }
    };
    let results = medium::build_results(path);
    let mut options = options.clone();
    if let Some(results) = &results {
        options.root_hashes = results.root_hashes()?;
    }
    let walk = medium::walk_of(&medium, path, args, medium::Machine::default())?;
    let bar = Bar::new();
    let mut report = audit(&medium, &walk, &options, &|total| bar.start(total), &|bytes| bar.advance(bytes));
    bar.finish();
    if let Some(results) = &results {
        compare_files(results, &walk, &mut report)?;
    }
    Ok(report)
}

/// The files beside the image: their sums, and that they are parts of the image.
fn compare_files(results: &BuildResults, walk: &Walk, report: &mut Report) -> anyhow::Result<()> {
    for (name, why) in results.wrong_sums(true)? {
        report.add(Severity::Error, "sha256sums", &name, why);
    }
    for difference in split_artifacts::compare(results, walk)? {
        report.add(difference.severity, difference.code, &difference.name, difference.text);
    }
    Ok(())
}

fn text(report: &Report) -> String {
    let mut text = super::render::walk(&report.walked);
    for program in &report.programs {
        let signers = if program.signers.is_empty() {
            "unsigned".to_owned()
        } else {
            format!("signed by {}", program.signers.join(", "))
        };
        let version = program.version.as_deref().unwrap_or(program.role);
        let _ = writeln!(
            text,
            "{}  {}",
            printable(&format!("{}: {version}", program.path)),
            styled(FAINT, printable(&signers))
        );
    }
    for tree in &report.verity {
        let fits = tree.computed == tree.expected && tree.wrong_blocks == 0;
        let verdict = if fits { styled(GOOD, "matches") } else { styled(BAD, "does not match") };
        let by = tree.signed_by.as_ref().map_or(String::new(), |name| format!(", signed by {name}"));
        let line =
            format!("{} {}: {} MiB of {}{by}", tree.parameter, tree.expected, tree.size >> 20, tree.data);
        let _ = writeln!(text, "{} {verdict}", printable(&line));
    }
    if report.findings.is_empty() {
        let _ = writeln!(text, "\n{}", styled(GOOD, "nothing found"));
        return text;
    }
    let _ = writeln!(text, "\n{}", styled(STRONG, "Findings"));
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Error => styled(BAD, "error  "),
            Severity::Warning => styled(CAUTION, "warning"),
            Severity::Note => styled(FAINT, "note   "),
        };
        let line = format!("{}: {}", finding.place, finding.text);
        let _ = writeln!(
            text,
            "{severity}  {} {}",
            printable(&line),
            styled(FAINT, format!("[{}]", finding.code))
        );
    }
    text
}
