//! `premeasure validate`: is this a sound reference document?

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::input::read_small;
use super::output::{BAD, EXIT_DIFFERS, GOOD, hinted, print, printable, styled};
use crate::reference::{Finding, ParseDocumentError, check, check_schema, parse};

/// Most bytes of a document.
pub(super) const MAX_DOCUMENT: u64 = 256 << 20;

/// Check reference documents.
///
/// Two checks: against the JSON Schema, and what a schema can't say: the measurements replay to the values in every bank
/// and at every stage, event data hashes to its digest where it has to, every name leads somewhere. Exit code 1 when
/// something is wrong with a document, 2 when a file is no document.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure validate reference.json
  premeasure predict uki.efi --json | premeasure validate -")]
pub(super) struct ValidateArgs {
    /// Documents; `-` for standard input
    #[arg(required = true, value_name = "DOC")]
    documents: Vec<PathBuf>,
}

pub(super) fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    let mut sound = true;
    for path in &args.documents {
        let name = path.display().to_string();
        let findings = findings(path)?;
        sound &= findings.is_empty();
        let verdict = if findings.is_empty() { styled(GOOD, "sound") } else { styled(BAD, "not sound") };
        let _ = writeln!(text, "{}: {verdict}", printable(&name));
        for finding in findings {
            let _ = writeln!(text, "  {}", printable(&finding.to_string()));
        }
    }
    print(&text)?;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DIFFERS) })
}

fn findings(path: &std::path::Path) -> anyhow::Result<Vec<Finding>> {
    let bytes = read_small(path, MAX_DOCUMENT)?;
    let name = || path.display().to_string();
    let value: serde_json::Value = serde_json::from_slice(&bytes).with_context(name)?;
    if value.get("kind").and_then(serde_json::Value::as_str) != Some(crate::reference::KIND) {
        return Err(hinted(
            format!(
                "{}: not a reference document: member 'kind' is not '{}'",
                name(),
                crate::reference::KIND
            ),
            "premeasure predict UKI -o FILE writes one",
        ));
    }
    let mut findings = match parse(&bytes) {
        Ok(document) => check(&document),
        // The schema says it better.
        Err(ParseDocumentError::Json(_)) => Vec::new(),
        Err(error) => {
            return Err(hinted(
                format!("{}: {error}", name()),
                "use the version of premeasure that wrote it",
            ));
        }
    };
    findings.splice(0..0, check_schema(&value)?);
    if findings.is_empty() {
        // Structure and schema could only disagree through a defect of this program; don't call that sound.
        parse(&bytes).with_context(name)?;
    }
    Ok(findings)
}
