//! `premeasure platforms`: which platforms are known, and how well.

use std::process::ExitCode;

use clap::Args;

use super::output::{FAINT, STRONG, print, print_json, styled};
use super::table::{Align, Cell, Table};
use crate::boot::Platform;
use crate::tcg::HashAlgorithm;

/// List the platforms that --platform knows.
#[derive(Debug, Args)]
pub(super) struct PlatformsArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PlatformsArgs) -> anyhow::Result<ExitCode> {
    if args.json {
        print_json(&Platform::ALL.iter().map(entry).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        Table::new(vec![("PLATFORM", Align::Left), ("BANKS", Align::Left), ("DESCRIPTION", Align::Left)]);
    for platform in Platform::ALL {
        table.row([
            Cell::styled(platform.id, STRONG),
            Cell::from(banks(platform).join(" ")),
            Cell::from(platform.description),
        ]);
    }
    let mut text = table.render(0);
    for platform in Platform::ALL {
        text.push_str(&format!("\n{}\n", styled(STRONG, platform.id)));
        text.push_str(&format!("  evidence: {}\n", platform.evidence));
        if !platform.unknown.is_empty() {
            text.push_str(&format!("  {}\n", styled(FAINT, format_args!("not known: {}", platform.unknown))));
        }
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn banks(platform: &Platform) -> Vec<&'static str> {
    platform.banks.iter().map(|bank: &HashAlgorithm| bank.name()).collect()
}

fn entry(platform: &Platform) -> serde_json::Value {
    serde_json::json!({
        "id": platform.id,
        "description": platform.description,
        "banks": banks(platform),
        "evidence": platform.evidence,
        "unknown": platform.unknown,
        "separator_only": platform.separator_only,
        "secure_boot": platform.secure_boot,
        "measures_dbr": platform.measures_dbr,
        "declare": platform.declarable.map_or(&[][..], |declarable| declarable.words()),
    })
}
