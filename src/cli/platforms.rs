//! `premeasure platforms`: which platforms are known, and how well.

use std::process::ExitCode;

use clap::Args;

use super::output::{FAINT, STRONG, print, print_json, styled};
use super::table::{Align, Cell, Table};
use crate::boot::{Evidence, Platform, Published};
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
        print_json(&Platform::all().iter().map(entry).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        Table::new(vec![("PLATFORM", Align::Left), ("BANKS", Align::Left), ("DESCRIPTION", Align::Left)]);
    for platform in Platform::all() {
        table.row([
            Cell::styled(platform.id.as_str(), STRONG),
            Cell::from(banks(platform).join(" ")),
            Cell::from(platform.title.as_str()),
        ]);
    }
    let mut text = table.render(0);
    for platform in Platform::all() {
        text.push_str(&format!("\n{}\n", styled(STRONG, &platform.id)));
        for Evidence { what, place, seen } in &platform.evidence {
            text.push_str(&format!("  evidence: {what} ({place}; {seen})\n"));
        }
        for Published { pcr, bank, value, on, seen, place } in &platform.published {
            text.push_str(&format!(
                "  published, not predicted: PCR {pcr} {bank} {value} of {on} ({place}; {seen})\n"
            ));
        }
        for unknown in &platform.unknown {
            text.push_str(&format!("  {}\n", styled(FAINT, format_args!("not known: {unknown}"))));
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
        "title": platform.title,
        "banks": banks(platform),
        "evidence": platform.evidence,
        "unknown": platform.unknown,
        "separator_only": platform.separator_only,
        "secure_boot": platform.secure_boot,
        "measures_calling": platform.measures_calling,
        "measures_dbr": platform.measures_dbr,
        "exit_boot_services": platform.exit_boot_services.iter().map(|outcome| outcome.name()).collect::<Vec<_>>(),
        "published": platform.published,
        "declare": platform.declarable.map_or(&[][..], |declarable| declarable.words()),
    })
}
