//! The result for people.

use std::fmt::Write;

use crate::attest::{Appraisal, Class, PcrVerdict, Refusal, SignerSummary, Verdict};
use crate::cli::output::{BAD, CAUTION, FAINT, GOOD, STRONG, printable, styled};
use crate::cli::table::{Align, Cell, Table};

pub(super) fn text(appraisal: &Appraisal) -> String {
    let mut text = headline(appraisal);
    facts(&mut text, appraisal);
    findings(&mut text, "Refused because", &appraisal.refusals);
    findings(&mut text, "Warnings", &appraisal.warnings);
    if !appraisal.pcrs.is_empty() {
        text.push('\n');
        text.push_str(&pcrs(&appraisal.pcrs).render(0));
    }
    if !appraisal.assumptions.is_empty() {
        let _ = writeln!(text, "\n{}", styled(STRONG, "The policy takes for granted"));
        let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
        for assumption in &appraisal.assumptions {
            table.row([Cell::from(&assumption.id), Cell::from(&assumption.statement)]);
        }
        text.push_str(&table.render(2));
    }
    text
}

fn headline(appraisal: &Appraisal) -> String {
    let words = match (appraisal.refusals.is_empty(), appraisal.warnings.is_empty()) {
        (true, true) => styled(GOOD.bold(), "ACCEPTED"),
        (true, false) => styled(CAUTION.bold(), "ACCEPTED, with warnings"),
        (false, _) => styled(BAD.bold(), "REFUSED"),
    };
    let boot = appraisal.boot.as_ref().map_or_else(String::new, |boot| format!(": {}", printable(boot)));
    format!("{words}{boot}\n")
}

fn facts(text: &mut String, appraisal: &Appraisal) {
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    let mut row = |name: &str, value: String| table.row([Cell::from(name), Cell::from(value)]);
    match &appraisal.signer {
        Some(signer) => row("key", key(signer)),
        None => row("key", "nothing is proven: see below".to_owned()),
    }
    for quote in &appraisal.quotes {
        let safe = if quote.clock.safe { "" } else { ", clock not safe" };
        let clock = format!(
            "{}; reset {}, restart {}, clock {} ms{safe}; TPM firmware {:016x}",
            quote.signed_with,
            quote.clock.reset_count,
            quote.clock.restart_count,
            quote.clock.clock,
            quote.firmware_version
        );
        row("quote", clock);
    }
    row("nonce", hex::encode(&appraisal.nonce));
    row("certificates", format!("valid at {}", appraisal.at));
    row("policy", format!("{} sha256:{}", appraisal.policy_format, appraisal.policy_source));
    row("policy id", appraisal.policy.to_string());
    for note in &appraisal.notes {
        row("note", note.clone());
    }
    text.push_str(&table.render(2));
}

fn key(signer: &SignerSummary) -> String {
    let trusted = match signer.chain.as_slice() {
        [] => "pinned".to_owned(),
        chain => chain.join(" < "),
    };
    let attributes =
        if signer.attributes_checked { "restricted to what the TPM states" } else { "attributes not known" };
    let hierarchy =
        signer.primary_of.map_or_else(String::new, |of| format!(", primary key of the {of} hierarchy"));
    format!("{} sha256:{}, {trusted}, {attributes}{hierarchy}", signer.kind, signer.fingerprint)
}

fn findings(text: &mut String, heading: &str, findings: &[Refusal]) {
    if findings.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", styled(STRONG, heading));
    let mut table = Table::new([("", Align::Left), ("", Align::Left), ("", Align::Left)]);
    for finding in findings {
        let pcr = finding.pcr.map_or_else(String::new, |pcr| format!("PCR {pcr}"));
        table.row([Cell::styled(finding.code.name(), BAD), Cell::from(pcr), Cell::from(&finding.detail)]);
    }
    text.push_str(&table.render(2));
}

fn pcrs(verdicts: &[PcrVerdict]) -> Table {
    let columns = [
        ("PCR", Align::Right),
        ("NAME", Align::Left),
        ("COUNTS", Align::Left),
        ("VERDICT", Align::Left),
        ("LOG", Align::Left),
        ("VALUE", Align::Left),
    ];
    let mut table = Table::new(columns);
    for entry in verdicts {
        let class = match entry.class {
            Class::Enforced => Cell::from("enforced"),
            Class::Warned => Cell::from("warned"),
            Class::Ignored => Cell::styled("ignored", FAINT),
        };
        let style = match (entry.verdict, entry.class) {
            (Verdict::Match, _) => GOOD,
            (_, Class::Enforced) => BAD,
            (_, Class::Warned) => CAUTION,
            (_, Class::Ignored) => FAINT,
        };
        let verdict = match entry.verdict {
            Verdict::Match => "match",
            Verdict::Mismatch => "differs",
            Verdict::NotQuoted => "not quoted",
            Verdict::NotInPolicy => "not in the policy",
            Verdict::NotChecked => "not checked",
        };
        let log = match entry.replayed {
            Some(true) => Cell::from("replays"),
            Some(false) if entry.verdict == Verdict::Match => Cell::styled("a part", FAINT),
            Some(false) => Cell::styled("differs", style),
            None => Cell::from(""),
        };
        let mut values: Vec<String> = entry.values.iter().map(|value| format!("{value:?}")).collect();
        if !entry.detail.is_empty() {
            values.push(format!("({})", entry.detail));
        }
        table.row([
            Cell::from(entry.pcr.to_string()),
            Cell::from(entry.pcr.name()),
            class,
            Cell::styled(verdict, style),
            log,
            Cell::from(values.join(" ")),
        ]);
    }
    table
}
