//! The table of values: those that every variant shares, then those that depend on the machine.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::boot::{Declared, ExitBootServices, SecureBootSupport, Stage};
use crate::cli::output::{FAINT, GOOD, STRONG, styled};
use crate::cli::table::{Align, Cell, Table};
use crate::prediction::{Prediction, StageValue, Status, Variant};
use crate::tcg::PcrIndex;

/// What tells variants apart: a number to compare, and words for people (empty where it is the plain case).
type Condition = (usize, String);

/// The PCRs at one stage: one table where all variants agree, one more for those that don't.
pub(super) fn values_table(prediction: &Prediction, stage: Stage, only: &[PcrIndex]) -> String {
    let columns = |last| {
        vec![
            ("PCR", Align::Right),
            ("NAME", Align::Left),
            ("BANK", Align::Left),
            ("VALUE", Align::Left),
            last,
        ]
    };
    let mut shared = Table::new(columns(("FROM", Align::Left)));
    let mut split = Table::new(columns(("WHEN", Align::Left)));
    for pcr in PcrIndex::all().filter(|pcr| only.is_empty() || only.contains(pcr)) {
        let known: Vec<(&Variant, &StageValue)> = prediction
            .variants
            .iter()
            .filter_map(|variant| Some((variant, variant.pcrs.get(&pcr)?.values.get(&stage)?)))
            .collect();
        let Some((first, value)) = known.first() else { continue };
        let complete = known.len() == prediction.variants.len();
        if complete && known.iter().all(|(_, other)| other.digests == value.digests) {
            rows(&mut shared, prediction, pcr, value, from(first, pcr, stage, value));
            continue;
        }
        let mut seen = BTreeSet::new();
        for (variant, value) in &known {
            let when = when(variant, &known, pcr, stage);
            if seen.insert(when.clone()) {
                rows(&mut split, prediction, pcr, value, when);
            }
        }
    }
    let mut text = String::new();
    if shared.is_empty() && split.is_empty() {
        return "no PCR is known\n".to_owned();
    }
    if !shared.is_empty() {
        text.push_str(&shared.render(0));
    }
    if !split.is_empty() {
        let _ = writeln!(text, "\n{}", styled(STRONG, "Depends on the machine"));
        text.push_str(&split.render(0));
    }
    text
}

fn rows(table: &mut Table, prediction: &Prediction, pcr: PcrIndex, value: &StageValue, last: String) {
    let style = if value.status == Status::AssumedUnused { FAINT } else { GOOD };
    for (row, bank) in prediction.banks.iter().enumerate() {
        let digest = value.digests.get(*bank).map(|digest| digest.to_string()).unwrap_or_default();
        let first = |text: &str| if row == 0 { text.to_owned() } else { String::new() };
        table.row([
            Cell::from(first(&pcr.to_string())),
            Cell::from(first(pcr.name())),
            Cell::from(bank.name()),
            Cell::styled(digest, style),
            Cell::styled(first(&last), FAINT),
        ]);
    }
}

fn from(variant: &Variant, pcr: PcrIndex, stage: Stage, value: &StageValue) -> String {
    let measured = variant.recording.measurements.iter().filter(|m| m.pcr == pcr && m.stage <= stage).count();
    match (value.status, measured) {
        (Status::AssumedUnused, _) => "nothing measured".to_owned(),
        (Status::Observed, count) => format!("{count} measurements, as recorded"),
        (_, 1) => "1 measurement".to_owned(),
        (_, count) => format!("{count} measurements"),
    }
}

/// The conditions of a variant, in a fixed order.
pub(super) fn conditions(variant: &Variant) -> [Condition; 8] {
    let scenario = &variant.scenario;
    let secure_boot = match variant.secure_boot {
        None => (0, String::new()),
        Some(false) => (1, "Secure Boot off".to_owned()),
        Some(true) => (2, "Secure Boot on".to_owned()),
    };
    let exit = match scenario.exit_boot_services {
        ExitBootServices::Success => (0, "the first ExitBootServices succeeds".to_owned()),
        ExitBootServices::FailureThenSuccess => (1, "the first ExitBootServices fails".to_owned()),
    };
    let chosen = |number: &Declared<usize>, name: &str| match number {
        Declared::Is(number) => (number.saturating_add(1), format!("{name} number {number}")),
        Declared::Absent | Declared::Unknown => (0, format!("no {name}")),
    };
    let devicetree = chosen(&scenario.devicetree, ".dtbauto");
    let firmware = chosen(&scenario.firmware_image, ".efifw");
    let support = match scenario.secure_boot_support {
        SecureBootSupport::Present | SecureBootSupport::Absent => (0, String::new()),
        SecureBootSupport::AssumedPresent => (1, "firmware built with Secure Boot".to_owned()),
        SecureBootSupport::AssumedAbsent => (2, "firmware built without Secure Boot".to_owned()),
    };
    let recorded = match &scenario.baseline {
        Some(baseline) if baseline.count > 1 => {
            (baseline.number, format!("as recorded in {}", baseline.names()))
        }
        _ => (0, String::new()),
    };
    let guest = match &scenario.guest_baseline {
        Some(baseline) if baseline.count > 1 => {
            (baseline.number, format!("guest as recorded in {}", baseline.names()))
        }
        _ => (0, String::new()),
    };
    let architecture = match (&scenario.cloud.vm_id, scenario.cloud.measures_architecture) {
        (None, _) => (0, String::new()),
        (Some(_), false) => (0, "firmware that does not measure its architecture".to_owned()),
        (Some(_), true) => (1, "firmware that measures its architecture (2025-11 and later)".to_owned()),
    };
    [secure_boot, support, architecture, recorded, guest, exit, devicetree, firmware]
}

/// The conditions on which this PCR's value depends: those whose change alone changes it somewhere.
fn when(variant: &Variant, known: &[(&Variant, &StageValue)], pcr: PcrIndex, stage: Stage) -> String {
    let value =
        |variant: &Variant| variant.pcrs.get(&pcr).and_then(|known| known.values.get(&stage).cloned());
    let matters = |index: usize| {
        known.iter().any(|(one, _)| {
            known.iter().any(|(other, _)| {
                let pairs = conditions(one).into_iter().zip(conditions(other)).enumerate();
                let differing: Vec<usize> =
                    pairs.filter(|(_, (one, other))| one.0 != other.0).map(|(index, _)| index).collect();
                differing == [index] && value(one) != value(other)
            })
        })
    };
    let own = conditions(variant);
    let words: Vec<String> = own
        .iter()
        .enumerate()
        .filter(|(index, (_, words))| !words.is_empty() && matters(*index))
        .map(|(_, (_, words))| words.clone())
        .collect();
    if words.is_empty() {
        return own
            .into_iter()
            .map(|(_, words)| words)
            .filter(|words| !words.is_empty())
            .collect::<Vec<_>>()
            .join(", ");
    }
    words.join(", ")
}
