//! Comparing a replay with the registers of the machine.

use serde::Serialize;

use super::continuation::{Boot, Continuation};
use super::replay::{register_name, wanted};
use crate::cli::output::{BAD, CAUTION, GOOD, STRONG, print, print_json, styled};
use crate::cli::table::{Align, Cell, Table};
use crate::tcg::eventlog::{Register, RegisterKind, Replay};
use crate::tcg::timeline::BootLog;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues};

/// All registers that were given.
pub(super) struct Comparison {
    kind: RegisterKind,
    rows: Vec<Row>,
}

struct Row {
    bank: HashAlgorithm,
    register: PcrIndex,
    replayed: Option<Digest>,
    given: Digest,
    verdict: Verdict,
}

enum Verdict {
    /// The log accounts for the value.
    Match,
    /// The log does not extend it, and it was never extended.
    NeverExtended,
    /// The log accounts for the value up to what is known to come after it.
    Continued(Continuation),
    /// The log has no digests of this bank.
    BankNotInLog,
    /// The log does not extend it, but somebody did.
    NotInLog,
    /// The values differ, and nothing known explains it.
    Differs,
}

impl Comparison {
    /// A register is not accounted for, or there was none that could be compared.
    pub(super) fn differs(&self) -> bool {
        let unexplained = |row: &Row| matches!(row.verdict, Verdict::Differs | Verdict::NotInLog);
        self.rows.iter().any(unexplained) || self.banks().next().is_none()
    }

    /// The banks of the given values that the logs have, too.
    pub(super) fn banks(&self) -> impl Iterator<Item = HashAlgorithm> + '_ {
        self.rows.iter().filter(|row| !matches!(row.verdict, Verdict::BankNotInLog)).map(|row| row.bank)
    }

    /// Whether a register's value proves the digests of its events in one bank; `None` when it was not given. A value
    /// that known events after the log explain proves them too: nobody can choose digests that lead to it. A value that only
    /// IMA's zero-padded SHA-1 digests lead to says nothing of this bank's digests: none of them was extended.
    pub(super) fn vouches(&self, bank: HashAlgorithm, register: Register) -> Option<bool> {
        let slot = register.slot()?;
        let row = self.rows.iter().find(|row| row.bank == bank && row.register == slot)?;
        match row.verdict {
            Verdict::Continued(Continuation::PaddedIma(_)) => None,
            Verdict::Match | Verdict::Continued(_) => Some(true),
            Verdict::NeverExtended | Verdict::NotInLog | Verdict::Differs => Some(false),
            Verdict::BankNotInLog => None,
        }
    }
}

/// Compares what logs replay to with given values.
pub(super) fn compare(
    logs: &[BootLog<'_>],
    (replay, kind): &(Replay, RegisterKind),
    given: &PcrValues,
    machine_id: Option<&str>,
    banks: &[HashAlgorithm],
) -> Comparison {
    let replayed = replay.values();
    let boot = Boot { kind: *kind, logs, replayed: &replayed, given, machine_id };
    // Not those of all logs: IMA's has computed digests of banks that nobody extended.
    let in_log: Vec<HashAlgorithm> = replay.banks().collect();
    let mut rows = Vec::new();
    for (bank, values) in given.banks().filter(|(bank, _)| wanted(*bank, banks)) {
        for (register, value) in values {
            let verdict = if in_log.contains(&bank) {
                verdict(&boot, replay, *register, *value)
            } else {
                Verdict::BankNotInLog
            };
            let replayed = replayed.get(bank, *register);
            rows.push(Row { bank, register: *register, replayed, given: *value, verdict });
        }
    }
    Comparison { kind: *kind, rows }
}

fn verdict(boot: &Boot<'_>, replay: &Replay, register: PcrIndex, given: Digest) -> Verdict {
    let bank = given.algorithm();
    let replayed = boot.replayed.get(bank, register);
    if replayed == Some(given) {
        return Verdict::Match;
    }
    let start = match replay.pcr0_start().filter(|_| register.get() == 0 && boot.kind == RegisterKind::Pcr) {
        Some(start) => start.value(bank),
        None => register.start_value(bank),
    };
    if replayed.is_none() && (given == start || given.is_zero()) {
        return Verdict::NeverExtended;
    }
    match (boot.find(register, replayed.unwrap_or(start), given), replayed) {
        (Some(continuation), _) => Verdict::Continued(continuation),
        (None, None) => Verdict::NotInLog,
        (None, Some(_)) => Verdict::Differs,
    }
}

#[derive(Serialize)]
struct JsonRow {
    bank: &'static str,
    register: u8,
    verdict: &'static str,
    replayed: Option<String>,
    given: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after_the_log: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'static str>,
}

#[derive(Serialize)]
struct JsonComparison {
    equal: bool,
    registers: Vec<JsonRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// `error` is why the logs end early, if they do.
pub(super) fn print_comparison_json(comparison: &Comparison, error: Option<String>) -> anyhow::Result<()> {
    let registers = comparison.rows.iter().map(json_row).collect();
    print_json(&JsonComparison { equal: !comparison.differs(), registers, error })
}

pub(super) fn print_comparison(comparison: &Comparison) -> anyhow::Result<()> {
    let mut text = String::new();
    let mut bank = None;
    for chunk in comparison.rows.chunk_by(|a, b| a.bank == b.bank) {
        let mut table =
            Table::new([("", Align::Right), ("", Align::Left), ("", Align::Left), ("", Align::Left)]);
        for row in chunk {
            if bank != Some(row.bank) {
                bank = Some(row.bank);
                text.push_str(&styled(STRONG, row.bank));
                text.push('\n');
            }
            let (word, style, detail) = words(row);
            table.row([
                Cell::from(row.register.to_string()),
                Cell::from(register_name(comparison.kind, row.register)),
                Cell::styled(word, style),
                Cell::from(detail),
            ]);
        }
        text.push_str(&table.render(2));
    }
    print(&text)
}

fn words(row: &Row) -> (&'static str, anstyle::Style, String) {
    let replayed = row.replayed.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
    match &row.verdict {
        Verdict::Match => ("equal", GOOD, row.given.to_string()),
        Verdict::NeverExtended => ("never extended", GOOD, String::new()),
        Verdict::Continued(Continuation::After(events)) => {
            ("extended after the log", CAUTION, format!("by {}", events.join(", then ")))
        }
        Verdict::Continued(Continuation::Otherwise(why) | Continuation::PaddedIma(why)) => {
            ("equal, but", CAUTION, (*why).to_owned())
        }
        Verdict::BankNotInLog => ("bank not in the log", CAUTION, String::new()),
        Verdict::NotInLog => (
            "not in the log",
            BAD,
            format!("extended after the log or past it, by what is not known: the machine has {}", row.given),
        ),
        Verdict::Differs => {
            ("differs", BAD, format!("the log gives {replayed}, the machine has {}", row.given))
        }
    }
}

fn json_row(row: &Row) -> JsonRow {
    let (verdict, after_the_log, remark) = match &row.verdict {
        Verdict::Match => ("equal", Vec::new(), None),
        Verdict::NeverExtended => ("never-extended", Vec::new(), None),
        Verdict::Continued(Continuation::After(events)) => ("extended-after-log", events.clone(), None),
        Verdict::Continued(Continuation::Otherwise(why) | Continuation::PaddedIma(why)) => {
            ("equal", Vec::new(), Some(*why))
        }
        Verdict::BankNotInLog => ("bank-not-in-log", Vec::new(), None),
        Verdict::NotInLog => ("not-in-log", Vec::new(), None),
        Verdict::Differs => ("differs", Vec::new(), None),
    };
    JsonRow {
        bank: row.bank.name(),
        register: row.register.get(),
        verdict,
        replayed: row.replayed.map(|digest| digest.to_string()),
        given: row.given.to_string(),
        after_the_log,
        remark,
    }
}
