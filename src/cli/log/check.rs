//! `premeasure log check`: what a verifier would object to.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::input::InputArgs;
use crate::cli::output::{BAD, CAUTION, EXIT_DIFFERS, FAINT, GOOD, print, print_json, styled};
use crate::cli::table::{Align, Cell, Table};
use crate::tcg::check::{Finding, Level, check};

/// Check a log as an attestation verifier would.
///
/// Exit code 1 when there are findings of the chosen level or above. Firmware quirks that are known are called by
/// their name, and are notes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure log check eventlog.bin
  premeasure log check eventlog.bin --level error --json")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    input: InputArgs,

    /// The lowest level that counts
    #[arg(long, value_name = "LEVEL", default_value = "warning")]
    level: CheckLevel,

    /// As JSON (schemas/log-check.schema.json)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CheckLevel {
    Note,
    Warning,
    Error,
}

#[derive(Serialize)]
struct JsonFinding<'f> {
    log: &'f str,
    level: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    register: Option<u32>,
    text: &'f str,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let files = args.input.read()?;
    let logs = args.input.parse(&files)?;
    let mut all = Vec::new();
    for ((name, log), masked) in logs.names.iter().zip(&logs.logs).zip(&logs.masked) {
        let mut findings: Vec<Finding> =
            check(log).into_iter().map(|finding| of_masked(finding, masked)).collect();
        findings.dedup();
        all.extend(findings.into_iter().map(|finding| (*name, finding)));
    }
    if args.json {
        let findings: Vec<JsonFinding<'_>> = all.iter().map(|(name, finding)| json(name, finding)).collect();
        print_json(&findings)?;
    } else {
        print(&text(&all, logs.logs.len() > 1))?;
    }
    let level = match args.level {
        CheckLevel::Note => Level::Note,
        CheckLevel::Warning => Level::Warning,
        CheckLevel::Error => Level::Error,
    };
    let found = all.iter().any(|(_, finding)| finding.level >= level);
    Ok(logs.report(if found { ExitCode::from(EXIT_DIFFERS) } else { ExitCode::SUCCESS }))
}

/// A digest can't fit data that was masked when the log was captured: that is no fault of the log, and no proof that there is
/// none.
fn of_masked(finding: Finding, masked: &[u64]) -> Finding {
    let is_masked = finding.event.is_some_and(|event| masked.contains(&event));
    if !is_masked || finding.code != "digest-mismatch" {
        return finding;
    }
    let text = "the data was masked when the log was captured: its digests can't be tested".to_owned();
    Finding { level: Level::Note, code: "data-masked", text, ..finding }
}

fn json<'f>(name: &'f str, finding: &'f Finding) -> JsonFinding<'f> {
    JsonFinding {
        log: name,
        level: finding.level.name(),
        code: finding.code,
        event: finding.event,
        register: finding.register.map(|register| register.index()),
        text: &finding.text,
    }
}

fn text(findings: &[(&str, Finding)], several: bool) -> String {
    if findings.is_empty() {
        return format!("{}\n", styled(GOOD, "no findings"));
    }
    let mut columns = vec![("level", Align::Left), ("event", Align::Right), ("PCR", Align::Right)];
    columns.extend([("finding", Align::Left), ("", Align::Left)]);
    if several {
        columns.insert(0, ("log", Align::Left));
    }
    let mut table = Table::new(columns);
    for (name, finding) in findings {
        let style = match finding.level {
            Level::Note => FAINT,
            Level::Warning => CAUTION,
            Level::Error => BAD,
        };
        let mut cells = Vec::new();
        if several {
            cells.push(Cell::from(name));
        }
        cells.extend([
            Cell::styled(finding.level.name(), style),
            Cell::from(finding.event.map_or_else(String::new, |event| event.to_string())),
            Cell::from(finding.register.map_or_else(String::new, |register| register.to_string())),
            Cell::from(finding.code),
            Cell::from(&finding.text),
        ]);
        table.row(cells);
    }
    table.render(0)
}
