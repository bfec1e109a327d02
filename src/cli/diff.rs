//! `premeasure diff`: what a new release changes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::html::HtmlArgs;
use super::input::{display_name, open};
use super::output::{BAD, EXIT_DIFFERS, FAINT, GOOD, STRONG, hinted, print, print_json, printable, styled};
use super::predict::{BootArgs, predictions, stage_parser};
use super::table::{Align, Cell, Table};
use crate::boot::Stage;
use crate::compare::WordChange;
use crate::compare::release::{ComponentDiff, ImageDiff, PcrChange, PcrDiff, ReleaseDiff, boots, diff};
use crate::export::load;
use crate::reference::Document;
use crate::report;

/// Largest document, in bytes.
const MAX_DOCUMENT: u64 = 64 << 20;

/// Say which PCRs change between two releases, and because of which component.
///
/// A and B are documents of predict, or images, boot partitions and folders, which are predicted now with the options of
/// predict. Exit code 0 when no PCR changes, 1 when one does, 2 on errors.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  premeasure diff old.json new.json                      which PCRs change, and why
  premeasure diff old.efi new.efi --loader systemd-bootx64.efi
  premeasure diff v1.raw v2.raw --format markdown        for release notes
  premeasure diff old.json new.json --html changes.html  also as a page for the browser
  premeasure diff old.json new.json --json | jq '.images[].scenarios[].pcrs[].index'")]
pub(super) struct DiffArgs {
    /// The old release: a document or an image
    old: PathBuf,
    /// The new release
    new: PathBuf,
    /// Moment of the boot whose values are compared
    #[arg(long, value_name = "STAGE", value_parser = stage_parser(), default_value = "exit-boot-services")]
    stage: Stage,
    /// How to print it
    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    format: Format,
    /// As JSON (schemas/diff.schema.json)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    html: HtmlArgs,
    #[command(flatten)]
    boot: BootArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for a terminal
    Text,
    /// Markdown for release notes
    Markdown,
    /// As --json
    Json,
}

pub(super) fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let (old, new) = (document(&args.old, &args.boot)?, document(&args.new, &args.boot)?);
    for (path, document) in [(&args.old, &old), (&args.new, &new)] {
        if !document.has_pcrs() {
            let text = format!("{}: has no PCRs, and only these are compared here", path.display());
            return Err(hinted(text, "predict with --registers pcr or both"));
        }
    }
    if !old.banks.iter().any(|bank| new.banks.contains(bank)) {
        let text = format!("no bank in common: {} and {}", old.banks.join(", "), new.banks.join(", "));
        return Err(hinted(text, "predict one of them again with --bank"));
    }
    let names = (display_name(&args.old), display_name(&args.new));
    let diff = diff((&names.0, &old), (&names.1, &new), args.stage);
    args.html.write(|| {
        let page = report::release(&diff, &boots(&old, &new, args.stage));
        Ok((page, serde_json::to_string_pretty(&diff)?))
    })?;
    match args.format {
        _ if args.json => print_json(&diff)?,
        Format::Json => print_json(&diff)?,
        Format::Text => print(&text(&diff))?,
        Format::Markdown => print(&markdown(&diff))?,
    }
    Ok(if diff.equal { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DIFFERS) })
}

fn document(path: &Path, boot: &BootArgs) -> anyhow::Result<Document> {
    if !path.is_dir() && path.as_os_str() != "-" {
        let file = open(path)?;
        if file.len() <= MAX_DOCUMENT && file.read_prefix(1)?.starts_with(b"{") {
            let loaded = load(&path.display().to_string(), &file.read(MAX_DOCUMENT)?)
                .map_err(|error| hinted(error.to_string(), error.hint()))?;
            return Ok(loaded.document);
        }
    }
    let predictions = predictions(path, boot, false)?;
    predictions.warn();
    predictions.document()
}

fn text(diff: &ReleaseDiff) -> String {
    let mut text = format!(
        "{}  {}\n{}  {}\n",
        styled(STRONG, "old"),
        printable(&diff.old),
        styled(STRONG, "new"),
        printable(&diff.new)
    );
    for image in &diff.images {
        text.push('\n');
        text.push_str(&image_text(image, diff.images.len() > 1));
    }
    let lone = [("only in the old release", &diff.removed), ("only in the new release", &diff.added)];
    for (what, images) in lone.iter().filter(|(_, images)| !images.is_empty()) {
        text.push_str(&format!("\n{}  {}\n", styled(STRONG, what), printable(&images.join(", "))));
    }
    if diff.equal {
        text.push_str(&format!("\nno PCR changes at {}\n", diff.stage));
    }
    text
}

fn image_text(image: &ImageDiff, with_name: bool) -> String {
    let mut text = String::new();
    if with_name {
        text.push_str(&format!("{}\n", styled(STRONG, printable(&image.new))));
    }
    if !image.components.is_empty() {
        let mut table =
            Table::new([("COMPONENT", Align::Left), ("PCR", Align::Left), ("CHANGE", Align::Left)]);
        for component in image.components.iter().filter(|component| component.words.is_empty()) {
            table.row([
                Cell::from(&component.component),
                Cell::from(list(&component.pcrs)),
                Cell::from(change(component)),
            ]);
        }
        text.push_str(&if table.is_empty() { String::new() } else { table.render(0) });
        for component in image.components.iter().filter(|component| !component.words.is_empty()) {
            text.push_str(&format!(
                "{}  {}  {}\n",
                printable(&component.component),
                list(&component.pcrs),
                words_text(component)
            ));
        }
    }
    for scenario in image.scenarios.iter().filter(|scenario| !scenario.pcrs.is_empty()) {
        text.push_str(&format!("\n{}\n", styled(STRONG, printable(&scenario.scenario))));
        let mut table = Table::new([
            ("PCR", Align::Right),
            ("NAME", Align::Left),
            ("", Align::Left),
            ("BECAUSE OF", Align::Left),
        ]);
        for pcr in &scenario.pcrs {
            table.row([
                Cell::from(pcr.index.to_string()),
                Cell::from(pcr.name),
                Cell::from(change_of_pcr(pcr)),
                Cell::styled(pcr.because.join(", "), FAINT),
            ]);
        }
        text.push_str(&table.render(0));
    }
    text
}

fn list(pcrs: &[u8]) -> String {
    pcrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn change(component: &ComponentDiff) -> String {
    match (&component.old, &component.new) {
        (Some(old), Some(new)) if old == new => format!("{old}, other content"),
        (Some(old), Some(new)) => format!("{old} -> {new}"),
        (Some(old), None) => format!("removed: {old}"),
        (None, Some(new)) => format!("added: {new}"),
        (None, None) => "other content".to_owned(),
    }
}

fn words_text(component: &ComponentDiff) -> String {
    let words = component.words.iter().map(|word| {
        let text = printable(&word.text);
        match word.change {
            WordChange::Kept => text,
            WordChange::Removed => styled(BAD, format!("[-{text}-]")),
            WordChange::Added => styled(GOOD, format!("{{+{text}+}}")),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn change_of_pcr(pcr: &PcrDiff) -> &'static str {
    match pcr.change {
        PcrChange::Changed => "changes",
        PcrChange::NowKnown => "is known now",
        PcrChange::NoLongerKnown => "is not known any more",
        PcrChange::PartlyChanged => "changes, not known as a whole",
    }
}

fn markdown(diff: &ReleaseDiff) -> String {
    let mut text = format!("## PCR changes from {} to {}\n", escaped(&diff.old), escaped(&diff.new));
    if diff.equal {
        text.push_str(&format!("\nNo PCR changes at `{}`.\n", diff.stage));
    }
    for image in &diff.images {
        if diff.images.len() > 1 {
            text.push_str(&format!("\n### {}\n", escaped(&image.new)));
        }
        if !image.components.is_empty() {
            text.push_str("\n| component | change | PCRs |\n|---|---|---|\n");
        }
        for component in &image.components {
            text.push_str(&format!(
                "| {} | {} | {} |\n",
                escaped(&component.component),
                escaped(&change(component)),
                list(&component.pcrs)
            ));
        }
        for scenario in image.scenarios.iter().filter(|scenario| !scenario.pcrs.is_empty()) {
            text.push_str(&format!("\n{}, values at `{}`:\n\n", escaped(&scenario.scenario), diff.stage));
            text.push_str("| PCR | because of | bank | old | new |\n|---|---|---|---|---|\n");
            scenario.pcrs.iter().for_each(|pcr| text.push_str(&markdown_rows(pcr)));
        }
    }
    let lone = [("Only in the old release", &diff.removed), ("Only in the new release", &diff.added)];
    for (what, images) in lone.iter().filter(|(_, images)| !images.is_empty()) {
        text.push_str(&format!("\n{what}: {}\n", escaped(&images.join(", "))));
    }
    text
}

fn markdown_rows(pcr: &PcrDiff) -> String {
    let banks: std::collections::BTreeSet<&str> = pcr.old.keys().chain(pcr.new.keys()).copied().collect();
    let value = |values: &std::collections::BTreeMap<&'static str, String>, bank: &str| {
        values.get(bank).map_or_else(|| "not known".to_owned(), |value| format!("`{value}`"))
    };
    let because = escaped(&pcr.because.join(", "));
    if banks.is_empty() {
        return format!("| {} | {because} | | not known | not known |\n", pcr.index);
    }
    let row = |bank: &&str| {
        format!(
            "| {} | {because} | {bank} | {} | {} |\n",
            pcr.index,
            value(&pcr.old, bank),
            value(&pcr.new, bank)
        )
    };
    banks.iter().map(row).collect()
}

/// Text from files as plain Markdown: nothing in it becomes markup, a link or another cell.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '#' | '|' | '!' | '~' | '@' => {
                safe.push('\\');
                safe.push(character);
            }
            plain => safe.push(plain),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_file_is_no_markup() {
        assert_eq!(escaped("a|b <i>[x](y)</i>\n"), "a\\|b &lt;i&gt;\\[x\\]\\(y\\)&lt;/i&gt;\\\\n");
    }
}
