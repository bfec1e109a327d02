//! Events for people: a table, or everything.

use std::fmt::Write;

use super::input::Logs;
use super::show::{Shown, Trust};
use crate::cli::output::{BAD, CAUTION, FAINT, GOOD, STRONG, print, printable, styled};
use crate::cli::table::{Align, Cell, Table};
use crate::tcg::event_data::{Field, Value, txt_type_name};

/// Digits of a digest in the table.
const SHORT_DIGEST: usize = 16;

pub(super) fn print_table<'l>(
    logs: &Logs<'_>,
    events: impl Iterator<Item = Shown<'l>>,
    compared: bool,
) -> anyhow::Result<()> {
    let several = logs.logs.len() > 1;
    let mut columns = vec![("#", Align::Right), ("PCR", Align::Right), ("type", Align::Left)];
    columns.extend([("digest", Align::Left), ("data", Align::Left), ("event", Align::Left)]);
    if compared {
        columns.insert(4, ("register", Align::Left));
    }
    if several {
        columns.insert(0, ("log", Align::Left));
    }
    let name = |index: usize| logs.names.get(index).copied().unwrap_or_default();
    let rows = events.map(|event| {
        let mut cells = cells(&event, compared);
        if several {
            cells.insert(0, Cell::from(name(event.record.log)));
        }
        cells
    });
    Table::new(columns).stream(rows, print)
}

fn cells(event: &Shown<'_>, compared: bool) -> Vec<Cell> {
    let style = if event.problem.is_some() { BAD } else { anstyle::Style::new() };
    let mut cells = vec![
        Cell::from(event.record.number.to_string()),
        Cell::from(event.record.record.register.to_string()),
        Cell::from(short_type(&event.type_name())),
        Cell::styled(short_digest(event), FAINT),
    ];
    if compared {
        let (word, style) = vouched(event);
        cells.push(Cell::styled(word, style));
    }
    cells.extend([
        Cell::styled(event.trust().name(), trust_style(event.trust())),
        Cell::styled(&event.summary, style),
    ]);
    cells
}

/// What the register's value says of the event's digest.
fn vouched(event: &Shown<'_>) -> (&'static str, anstyle::Style) {
    match event.vouched {
        Some(true) => ("vouches", GOOD),
        Some(false) => ("differs", BAD),
        None => ("-", FAINT),
    }
}

fn short_digest(event: &Shown<'_>) -> String {
    let record = &event.record.record;
    let digest = event.bank.and_then(|bank| record.digests.get(bank));
    if !record.is_extended() {
        return "-".to_owned();
    }
    match digest {
        Some(digest) => digest.to_string().chars().take(SHORT_DIGEST).collect(),
        None => "(no digest)".to_owned(),
    }
}

/// `EV_` and `EV_EFI_` say nothing in a column of types.
fn short_type(name: &str) -> String {
    name.strip_prefix("EV_").map_or(name, |rest| rest.strip_prefix("EFI_").unwrap_or(rest)).to_owned()
}

pub(super) fn print_verbose<'l>(
    logs: &Logs<'_>,
    events: impl Iterator<Item = Shown<'l>>,
) -> anyhow::Result<()> {
    for event in events {
        print(&verbose(logs, &event))?;
    }
    Ok(())
}

fn verbose(logs: &Logs<'_>, event: &Shown<'_>) -> String {
    let record = &event.record.record;
    let mut text = String::new();
    let log = match logs.names.get(event.record.log) {
        Some(name) if logs.logs.len() > 1 => format!("{} ", printable(name)),
        _ => String::new(),
    };
    let head = format!("{log}#{} {} {}", event.record.number, register(event), event.type_name());
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{}  {}  {}",
        styled(STRONG, printable(&head)),
        mark(event.trust()),
        printable(&event.summary)
    );
    // A digest proves data; what proves a digest is the value of its register.
    let of_digest = |bank| if event.proves(bank) { Trust::Verified } else { Trust::Claimed };
    if record.is_extended() {
        for (algorithm, digest) in record.digests.iter() {
            let mark = mark_wide(of_digest(algorithm));
            let _ = writeln!(text, "  {mark}  {:<8}  {}", algorithm.to_string(), hex::encode(digest));
        }
    }
    if event.vouched.is_some() {
        let (word, style) = vouched(event);
        let _ = writeln!(text, "  {}  the value of {}", styled(style, word), register(event));
    }
    let of_txt = record.event_type().and_then(txt_type_name).map(|name| format!(" ({name})"));
    let name = event.type_name() + of_txt.as_deref().unwrap_or_default();
    let _ = writeln!(text, "  {}  EventType  {}", mark_wide(Trust::Claimed), printable(&name));
    if let Some(problem) = &event.problem {
        let _ = writeln!(text, "  {}  {}", styled(BAD, "undecodable"), printable(problem));
    }
    for field in &event.fields {
        write_field(&mut text, event, field, 0);
    }
    text.push('\n');
    text
}

fn register(event: &Shown<'_>) -> String {
    match event.record.record.register {
        crate::tcg::eventlog::Register::Pcr(pcr) => format!("PCR {pcr}"),
        other => other.to_string(),
    }
}

fn write_field(text: &mut String, event: &Shown<'_>, field: &Field, depth: usize) {
    let mark = mark_wide(event.trust_of(field));
    let indent = "  ".repeat(depth);
    let name = printable(&field.name);
    let _ = match &field.value {
        Value::Fields(parts) => {
            let _ = writeln!(text, "  {mark}  {indent}{name}");
            for part in parts {
                write_field(text, event, part, depth.saturating_add(1));
            }
            Ok(())
        }
        Value::Text(value) => writeln!(text, "  {mark}  {indent}{name}  {}", printable(value)),
        Value::Number(number) => writeln!(text, "  {mark}  {indent}{name}  {number}"),
        Value::Hex(number) => writeln!(text, "  {mark}  {indent}{name}  {number:#x}"),
        Value::Bytes(bytes) => writeln!(text, "  {mark}  {indent}{name}  {bytes}"),
    };
}

fn mark(trust: Trust) -> String {
    styled(trust_style(trust), trust.name())
}

/// As wide as the longest of the three words.
fn mark_wide(trust: Trust) -> String {
    styled(trust_style(trust), format!("{:<8}", trust.name()))
}

fn trust_style(trust: Trust) -> anstyle::Style {
    match trust {
        Trust::Verified => GOOD,
        Trust::Partly => CAUTION,
        Trust::Claimed => FAINT,
    }
}
