//! A comparison for people: PCRs, the first difference, the events that differ, the causes.

use crate::cli::output::{BAD, CAUTION, FAINT, GOOD, STRONG, printable, styled};
use crate::cli::table::{Align, Cell, Table};
use crate::compare::{Change, Comparison, EventRow, EventSide, EventStatus, PcrVerdict, Verdict, WordChange};

/// The whole text.
pub(super) fn text(comparison: &Comparison, all_events: bool) -> String {
    let parts = [
        sides(comparison),
        pcrs(comparison),
        not_predicted(comparison),
        divergence(comparison),
        events(comparison, all_events),
        causes(comparison),
        notes(comparison),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn sides(comparison: &Comparison) -> String {
    let expected = &comparison.expected;
    let mut ours = expected.name.clone();
    if !expected.variant.is_empty() && expected.variants > 1 {
        ours.push_str(&format!(", nearest of {} variants: {}", expected.variants, expected.variant));
    }
    let theirs = comparison.observed.names.join(", ");
    let when = match comparison.stage_fixed {
        true => format!("values at {}", comparison.stage),
        false => format!("values at {}, or what is known to come later", comparison.stage),
    };
    let line = |word: &str, text: &str| format!("{}  {}\n", styled(STRONG, word), printable(text));
    [line("expected", &ours), line("observed", &theirs), printable(&when) + "\n"].concat()
}

fn pcrs(comparison: &Comparison) -> String {
    let columns = [
        (word(comparison), Align::Right),
        ("NAME", Align::Left),
        ("VERDICT", Align::Left),
        ("", Align::Left),
    ];
    let mut table = Table::new(columns);
    for pcr in comparison.pcrs.iter().filter(|pcr| is_worth_a_row(pcr)) {
        let style = match pcr.verdict {
            Verdict::Match => GOOD,
            Verdict::Differs if pcr.warn_only => CAUTION,
            Verdict::Differs => BAD,
            _ => CAUTION,
        };
        table.row([
            Cell::from(pcr.index.to_string()),
            Cell::from(pcr.name),
            Cell::styled(pcr.verdict.name().replace('-', " "), style),
            Cell::from(detail(pcr)),
        ]);
    }
    table.render(0)
}

/// What a register is called.
fn word(comparison: &Comparison) -> &'static str {
    if comparison.registers.is_some() { "MR" } else { "PCR" }
}

fn is_worth_a_row(pcr: &PcrVerdict) -> bool {
    matches!(pcr.verdict, Verdict::Match | Verdict::ExtendedLater | Verdict::Differs)
}

/// Registers that nothing is expected of, by what would settle them.
fn not_predicted(comparison: &Comparison) -> String {
    let mut by_remedy: Vec<(&str, Vec<String>)> = Vec::new();
    let open = comparison.pcrs.iter().filter(|pcr| pcr.verdict == Verdict::NotPredicted);
    for pcr in open.filter(|pcr| pcr.index.get() < 16) {
        let remedy = pcr.gaps.first().map_or("", |gap| gap.remedy.as_str());
        match by_remedy.iter_mut().find(|(known, _)| *known == remedy) {
            Some((_, pcrs)) => pcrs.push(pcr.index.to_string()),
            None => by_remedy.push((remedy, vec![pcr.index.to_string()])),
        }
    }
    if by_remedy.is_empty() {
        return String::new();
    }
    let mut table = Table::new([(word(comparison), Align::Left), ("WHAT WOULD SETTLE IT", Align::Left)]);
    for (remedy, pcrs) in by_remedy {
        table.row([Cell::from(pcrs.join(" ")), Cell::from(remedy)]);
    }
    styled(STRONG, "Not predicted") + "\n" + &table.render(0)
}

fn detail(pcr: &PcrVerdict) -> String {
    let banks = |verdict: Verdict| {
        let banks = pcr.banks.iter().filter(|bank| bank.verdict == verdict).map(|bank| bank.bank);
        banks.collect::<Vec<_>>().join(", ")
    };
    match pcr.verdict {
        Verdict::Match => banks(Verdict::Match),
        Verdict::ExtendedLater => match pcr.later_stage {
            Some(stage) => format!("at {stage}"),
            None => format!("by {}", pcr.later_words.join(", then ")),
        },
        Verdict::Differs => {
            let bank = pcr.banks.iter().find(|bank| bank.verdict == Verdict::Differs);
            let short = |value: &Option<String>| match value {
                Some(value) => value.get(..16).unwrap_or(value).to_owned() + "…",
                None => "nothing known".to_owned(),
            };
            let values = bank.map(|bank| {
                format!(
                    "{} expected {}, observed {}",
                    bank.bank,
                    short(&bank.expected),
                    short(&bank.observed)
                )
            });
            let warned = if pcr.warn_only { " (the policy only warns)" } else { "" };
            values.unwrap_or_else(|| "a measurement that is expected is missing or another one".to_owned())
                + warned
        }
        Verdict::NotPredicted | Verdict::NotObserved => String::new(),
    }
}

fn divergence(comparison: &Comparison) -> String {
    let Some(first) = &comparison.first_divergence else { return String::new() };
    let (title, word) = (styled(STRONG, "First difference"), word(comparison));
    format!("{title}  {word} {}: {}\n", first.pcr, printable(&first.what))
}

fn events(comparison: &Comparison, all: bool) -> String {
    let in_question = |pcr| {
        comparison.pcrs.iter().any(|verdict| verdict.index == pcr && verdict.verdict == Verdict::Differs)
    };
    let differs = |status| matches!(status, EventStatus::Changed | EventStatus::Missing | EventStatus::Added);
    let wanted = |row: &&EventRow| all || (differs(row.status) && in_question(row.pcr));
    let rows: Vec<&EventRow> = comparison.events.iter().filter(wanted).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = styled(STRONG, if all { "Events" } else { "Events that differ" }) + "\n";
    for row in rows {
        let (word, style) = match row.status {
            EventStatus::Equal => ("equal", GOOD),
            EventStatus::Changed => ("changed", BAD),
            EventStatus::Missing => ("missing", BAD),
            EventStatus::Added => ("added", BAD),
            EventStatus::NotPredicted => ("not predicted", FAINT),
            EventStatus::Later => ("later", CAUTION),
        };
        let what = |side: &Option<EventSide>| side.as_ref().map(|side| side.what.clone());
        let what = match (what(&row.expected), what(&row.observed)) {
            (Some(ours), Some(theirs)) if ours != theirs && row.status != EventStatus::Equal => {
                format!("{ours}  ->  {theirs}")
            }
            (Some(one), _) | (None, Some(one)) => one,
            (None, None) => String::new(),
        };
        text.push_str(&format!(
            "{:>3}  {}  {}\n",
            row.pcr,
            styled(style, format!("{word:<13}")),
            printable(&what)
        ));
        for change in &row.changes {
            text.push_str(&format!("                    {}\n", change_text(change)));
        }
    }
    text
}

fn change_text(change: &Change) -> String {
    let field = printable(&change.field);
    if !change.words.is_empty() {
        let words = change.words.iter().map(|word| {
            let text = printable(&word.text);
            match word.change {
                WordChange::Kept => text,
                WordChange::Removed => styled(BAD, format!("[-{text}-]")),
                WordChange::Added => styled(GOOD, format!("{{+{text}+}}")),
            }
        });
        return format!("{field}: {}", words.collect::<Vec<_>>().join(" "));
    }
    match (&change.expected, &change.observed) {
        (Some(ours), Some(theirs)) => format!("{field}: {} -> {}", printable(ours), printable(theirs)),
        (Some(ours), None) if change.field == "content" => format!("expected {}", printable(ours)),
        (Some(ours), None) => format!("{field}: {}", styled(BAD, format!("- {}", printable(ours)))),
        (None, Some(theirs)) => format!("{field}: {}", styled(GOOD, format!("+ {}", printable(theirs)))),
        (None, None) => field,
    }
}

fn causes(comparison: &Comparison) -> String {
    let mut text = String::new();
    if !comparison.causes.is_empty() {
        text.push_str(&(styled(STRONG, "Why") + "\n"));
    }
    for cause in &comparison.causes {
        let pcrs: Vec<String> = cause.pcrs.iter().map(ToString::to_string).collect();
        let how =
            if cause.explains_exactly { "reproduces the value" } else { "does not explain the value alone" };
        text.push_str(&format!(
            "  {}  PCR {}: {}\n      {}\n",
            styled(CAUTION, cause.code.name()),
            pcrs.join(", "),
            printable(&cause.detail),
            styled(FAINT, how)
        ));
    }
    if !comparison.unexplained.is_empty() {
        let pcrs: Vec<String> = comparison.unexplained.iter().map(ToString::to_string).collect();
        let hint = match comparison.events.is_empty() {
            true => "; the machine's event log would tell",
            false => "",
        };
        let (title, word) = (styled(BAD, "Not explained"), word(comparison));
        text.push_str(&format!("{title}  {word} {}{hint}\n", pcrs.join(", ")));
    }
    text
}

fn notes(comparison: &Comparison) -> String {
    comparison.notes.iter().map(|note| format!("{}  {}\n", styled(STRONG, "note"), printable(note))).collect()
}
