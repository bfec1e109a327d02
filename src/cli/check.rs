//! `premeasure check IMAGE`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::medium::{self, Subject, WalkArgs};
use super::output::{
    BAD, CAUTION, EXIT_DIFFERS, FAINT, GOOD, STRONG, hinted, print, print_json, printable, styled,
};
use super::progress::Bar;
use crate::audit::{Report, Severity, audit};

/// Check an image for what makes a measured boot worthless
///
/// Recomputes the dm-verity hash trees that the command lines promise, and looks at signatures, partitions, boot loader
/// settings and kernel parameters. Nothing is mounted, and no root is needed. Exit code 1 when there is a warning or an
/// error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure check disk.img
  premeasure check disk.img --json")]
pub(super) struct CheckArgs {
    /// A disk image, a boot partition, or a folder with one; `-` for standard input
    image: PathBuf,
    #[command(flatten)]
    walk: WalkArgs,
    /// Print JSON instead
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let report = report(&args.image, &args.walk)?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&text(&report))?;
    }
    Ok(if report.has_findings() { ExitCode::from(EXIT_DIFFERS) } else { ExitCode::SUCCESS })
}

fn report(path: &Path, args: &WalkArgs) -> anyhow::Result<Report> {
    let medium = match medium::identify(path, args)? {
        Subject::Medium(medium) => medium,
        Subject::Program(_) => {
            let hint =
                format!("premeasure inspect {} shows what is unusual about a single file", path.display());
            return Err(hinted(format!("{}: is a single program, not a disk", path.display()), hint));
        }
    };
    let walk = medium::walk_of(&medium, path, args)?;
    let bar = Bar::new();
    let report = audit(&medium, &walk, &|total| bar.start(total), &|bytes| bar.advance(bytes));
    bar.finish();
    Ok(report)
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
        let line = format!("{} {}: {} MiB of {}", tree.parameter, tree.expected, tree.size >> 20, tree.data);
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
