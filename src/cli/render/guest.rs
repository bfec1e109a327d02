//! The registers of a confidential guest: values, what is not known, what is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::pcrs::{MAX_VALUES, NumberedMap, OneOrMore};
use super::values::conditions;
use crate::boot::Stage;
use crate::cli::output::{CAUTION, FAINT, GOOD, STRONG, styled};
use crate::cli::table::{Align, Cell, Table};
use crate::prediction::{GuestRegisters, Prediction, StageValue, Status, Variant};
use crate::tcg::Digest;
use crate::tcg::eventlog::MeasurementRegister;

/// The variants that have such registers.
fn guests(prediction: &Prediction) -> impl Iterator<Item = (&Variant, &GuestRegisters)> {
    prediction.variants.iter().filter_map(|variant| Some((variant, variant.guest.as_ref()?)))
}

/// Everything about them, for people; empty where they are not asked for.
pub(super) fn tables(prediction: &Prediction, stage: Stage) -> String {
    if guests(prediction).next().is_none() {
        return String::new();
    }
    let title = "Registers of the confidential guest (SHA-384)";
    let mut text = format!("\n{}\n", styled(STRONG, title));
    text.push_str(&values(prediction, stage));
    text.push_str(&unknown(prediction, stage));
    text.push_str(&not_covered(prediction));
    text
}

fn values(prediction: &Prediction, stage: Stage) -> String {
    let mut table = Table::new([
        ("MR", Align::Right),
        ("REGISTER", Align::Left),
        ("VALUE", Align::Left),
        ("FROM", Align::Left),
    ]);
    for register in MeasurementRegister::ALL {
        let held = |guest: &GuestRegisters| guest.registers.get(&register)?.values.get(&stage).cloned();
        let all: BTreeSet<_> =
            guests(prediction).map(|(_, guest)| held(guest).map(|value| value.digests.clone())).collect();
        let mut seen = BTreeSet::new();
        for (variant, guest) in guests(prediction) {
            let Some(value) = held(guest) else { continue };
            let mut from = from(guest, register, stage, &value);
            if all.len() > 1 {
                from.push_str(&format!("; {}", condition(variant)));
            }
            if !seen.insert((value.digests.clone(), from.clone())) {
                continue;
            }
            let style = if value.status == Status::AssumedUnused { FAINT } else { GOOD };
            table.row([
                Cell::from(register.get().to_string()),
                Cell::from(register.name()),
                Cell::styled(digest(&value), style),
                Cell::styled(from, FAINT),
            ]);
        }
    }
    if table.is_empty() { "none is known\n".to_owned() } else { table.render(0) }
}

fn condition(variant: &Variant) -> String {
    let words = conditions(variant).map(|(_, words)| words);
    words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ")
}

fn digest(value: &StageValue) -> String {
    value.digests.get(MeasurementRegister::BANK).map(|digest| digest.to_string()).unwrap_or_default()
}

fn from(guest: &GuestRegisters, register: MeasurementRegister, stage: Stage, value: &StageValue) -> String {
    let measured = guest.recording.measurements.iter();
    let count = measured
        .filter(|of| MeasurementRegister::of_pcr(of.pcr) == Some(register) && of.stage <= stage)
        .count();
    match (value.status, count) {
        (Status::Declared, 0) => "declared".to_owned(),
        (Status::Declared, count) => format!("declared, then {count} measurements"),
        (_, 0) => "nothing measured".to_owned(),
        (Status::Observed, count) => format!("{count} measurements, as recorded"),
        (_, 1) => "1 measurement".to_owned(),
        (_, count) => format!("{count} measurements"),
    }
}

fn unknown(prediction: &Prediction, stage: Stage) -> String {
    let columns = [("REGISTER", Align::Left), ("WHY", Align::Left), ("WHAT WOULD SETTLE IT", Align::Left)];
    let mut table = Table::new(columns);
    let mut seen = BTreeSet::new();
    for register in MeasurementRegister::ALL {
        for (_, guest) in guests(prediction) {
            let Some(held) = guest.registers.get(&register) else { continue };
            if held.values.contains_key(&stage) {
                continue;
            }
            let gaps = held.gaps.iter().filter_map(|gap| guest.recording.gaps.get(*gap));
            for gap in gaps.filter(|gap| gap.stage <= stage) {
                if seen.insert((register, gap.reason.clone())) {
                    table.row([
                        Cell::styled(register.name(), CAUTION),
                        Cell::from(gap.reason.as_str()),
                        Cell::from(gap.remedy.as_str()),
                    ]);
                }
            }
        }
    }
    titled("Not known of these", &table)
}

fn not_covered(prediction: &Prediction) -> String {
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    let all: BTreeSet<(&str, &str)> = guests(prediction)
        .flat_map(|(_, guest)| &guest.recording.not_covered)
        .map(|entry| (entry.program.as_str(), entry.what.as_str()))
        .collect();
    for (program, what) in all {
        table.row([Cell::styled(program, CAUTION), Cell::from(what)]);
    }
    titled("Not covered by these", &table)
}

fn titled(title: &str, table: &Table) -> String {
    let mut text = String::new();
    if !table.is_empty() {
        let _ = write!(text, "\n{}\n{}", styled(STRONG, title), table.render(0));
    }
    text
}

/// `{"sha384": {"1": "hex"}}`, by the register's index as in CC event logs: those known in every variant.
pub(crate) fn registers(
    predictions: &[Prediction],
    stage: Stage,
) -> BTreeMap<&'static str, NumberedMap<OneOrMore>> {
    let bank = MeasurementRegister::BANK;
    let value = |guest: &GuestRegisters, register| {
        guest.registers.get(&register)?.values.get(&stage)?.digests.get(bank)
    };
    let known = MeasurementRegister::ALL.into_iter().filter_map(|register| {
        let all = predictions.iter().flat_map(guests);
        let values: Option<BTreeSet<Digest>> = all.map(|(_, guest)| value(guest, register)).collect();
        let values = values.filter(|values| !values.is_empty() && values.len() <= MAX_VALUES)?;
        Some((register.get(), OneOrMore::of(&values)))
    });
    BTreeMap::from([(bank.name(), NumberedMap::new(known.collect()))])
}
