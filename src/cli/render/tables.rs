//! Tables for people.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::pcrs::values;
use crate::boot::{Payload, Stage};
use crate::cli::output::{CAUTION, FAINT, GOOD, STRONG, printable, styled};
use crate::cli::table::{Align, Cell, Table};
use crate::prediction::{PcrPrediction, Prediction, Variant};
use crate::tcg::PcrIndex;
use crate::uki::LoaderInfo;

/// The prediction at one stage: values first, then what is not known, then what was taken for granted.
pub(crate) fn table(prediction: &Prediction, stage: Stage, only: &[PcrIndex]) -> String {
    let mut text = heading(prediction, stage);
    text.push('\n');
    if prediction.variants.iter().any(|variant| !variant.pcrs.is_empty()) {
        text.push_str(&super::values::values_table(prediction, stage, only));
        text.push_str(&unknown_table(prediction, stage, only));
    }
    text.push_str(&super::guest::tables(prediction, stage));
    text.push_str(&assumptions(prediction, only));
    text
}

/// How the boot was walked; empty when nothing was.
pub(crate) fn walk(steps: &[String]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n", styled(STRONG, "The boot"));
    for step in steps {
        let _ = writeln!(text, "{}", printable(step));
    }
    text
}

fn heading(prediction: &Prediction, stage: Stage) -> String {
    let chain = &prediction.chain;
    let mut text = format!(
        "{}  {}\n",
        styled(STRONG, printable(prediction.entry.as_ref().unwrap_or(&chain.uki.name))),
        styled(FAINT, chain.uki.image.machine)
    );
    let program = |image: &crate::pe::PeImage| LoaderInfo::of(image).ok().flatten().map(|info| info.text);
    let what = match chain.payload {
        Payload::UnifiedKernelImage => {
            program(&chain.uki.image).unwrap_or_else(|| "stub of unknown version".to_owned())
        }
        Payload::Kernel => "Linux kernel without a stub".to_owned(),
        Payload::Grub => "GRUB".to_owned(),
        Payload::Unknown => "program that is not followed".to_owned(),
    };
    let starter = match chain.loader.as_ref().or(chain.shim.as_ref()) {
        Some(loader) => format!(
            "{} ({})",
            loader.name,
            program(&loader.image).unwrap_or_else(|| "unknown program".to_owned())
        ),
        None => "the firmware".to_owned(),
    };
    let _ = writeln!(text, "{}, started by {}", printable(&what), printable(&starter));
    let _ = writeln!(text, "values at {}: {}", styled(STRONG, stage), stage.description());
    text
}

fn variant_title(variant: &Variant) -> String {
    let words = super::values::conditions(variant).map(|(_, words)| words);
    let words: Vec<String> = words.into_iter().filter(|words| !words.is_empty()).collect();
    if words.is_empty() { "nothing selected by the machine".to_owned() } else { words.join(", ") }
}

fn unknown_table(prediction: &Prediction, stage: Stage, only: &[PcrIndex]) -> String {
    let mut table =
        Table::new(vec![("PCR", Align::Right), ("WHY", Align::Left), ("WHAT WOULD SETTLE IT", Align::Left)]);
    let mut seen = BTreeSet::new();
    let mut rows: Vec<(PcrIndex, &str, &str)> = Vec::new();
    for variant in &prediction.variants {
        for (pcr, known) in &variant.pcrs {
            let runtime = pcr.get() == 10 || pcr.get() >= 16;
            if known.values.contains_key(&stage) || !wanted(*pcr, only) || (runtime && only.is_empty()) {
                continue;
            }
            let gaps = known.gaps.iter().filter_map(|gap| variant.recording.gaps.get(*gap));
            for gap in gaps.filter(|gap| gap.stage <= stage) {
                if seen.insert((*pcr, &gap.reason)) {
                    rows.push((*pcr, &gap.reason, &gap.remedy));
                }
            }
        }
    }
    rows.sort_by_key(|(pcr, ..)| *pcr);
    // PCRs with one reason share a row.
    let mut merged: Vec<(Vec<PcrIndex>, &str, &str)> = Vec::new();
    for (pcr, why, remedy) in rows {
        match merged.iter_mut().find(|(_, other, _)| *other == why) {
            Some((pcrs, ..)) => pcrs.push(pcr),
            None => merged.push((vec![pcr], why, remedy)),
        }
    }
    for (pcrs, why, remedy) in merged {
        let pcrs = pcrs.iter().map(PcrIndex::to_string).collect::<Vec<_>>().join(",");
        table.row([Cell::styled(pcrs, CAUTION), Cell::from(why), Cell::from(remedy)]);
    }
    if table.is_empty() {
        String::new()
    } else {
        format!("\n{}\n{}", styled(STRONG, "Not known"), table.render(0))
    }
}

fn assumptions(prediction: &Prediction, only: &[PcrIndex]) -> String {
    let mut table = Table::new(vec![("", Align::Left), ("", Align::Left), ("", Align::Left)]);
    let mut seen = BTreeSet::new();
    let recordings = prediction.variants.iter().flat_map(Variant::recordings);
    for assumption in recordings.flat_map(|recording| &recording.assumptions) {
        if !assumption.affects.is_empty() && !assumption.affects.iter().any(|pcr| wanted(*pcr, only))
            || !seen.insert(assumption.id)
        {
            continue;
        }
        let remedy =
            if assumption.remedy.is_empty() { String::new() } else { format!("({})", assumption.remedy) };
        table.row([
            Cell::styled(assumption.id, FAINT),
            Cell::from(assumption.statement.as_str()),
            Cell::styled(remedy, FAINT),
        ]);
    }
    if table.is_empty() {
        String::new()
    } else {
        format!("\n{}\n{}", styled(STRONG, "Taken for granted"), table.render(0))
    }
}

fn wanted(pcr: PcrIndex, only: &[PcrIndex]) -> bool {
    only.is_empty() || only.contains(&pcr)
}

/// What moves when: a row for each PCR and stage at which its value changes.
pub(crate) fn stages_table(prediction: &Prediction, only: &[PcrIndex]) -> String {
    let Some(bank) = prediction.banks.first() else { return String::new() };
    let mut text = heading_of_stages(prediction);
    for variant in &prediction.variants {
        if prediction.variants.len() > 1 {
            let _ = writeln!(text, "\n{}", styled(STRONG, variant_title(variant)));
        }
        let columns = vec![
            ("STAGE", Align::Left),
            ("PCR", Align::Right),
            (bank.name(), Align::Left),
            ("BY", Align::Left),
        ];
        let mut table = Table::new(columns);
        for stage in Stage::ALL {
            for (pcr, known) in variant.pcrs.iter().filter(|(pcr, _)| wanted(**pcr, only)) {
                let moves: Vec<&str> = variant
                    .recording
                    .measurements
                    .iter()
                    .filter(|m| m.pcr == *pcr && m.stage == stage)
                    .map(|m| m.description.as_str())
                    .collect();
                let shown = stage == Stage::ExitBootServices && known.values.contains_key(&stage);
                if (moves.is_empty() || stage == Stage::ExitBootServices) && !shown {
                    continue;
                }
                table.row([
                    Cell::from(stage.name()),
                    Cell::from(pcr.to_string()),
                    value_cell(known, stage, *bank),
                    Cell::styled(by(stage, &moves), FAINT),
                ]);
            }
        }
        text.push('\n');
        text.push_str(&table.render(0));
    }
    let differ = PcrIndex::all().any(|pcr| {
        values(std::slice::from_ref(prediction), Stage::ExitBootServices, pcr, *bank)
            .is_none_or(|v| v.len() > 1)
    });
    if differ && prediction.variants.len() > 1 {
        text.push_str("\nThe variants are alternatives: all PCRs of a boot come from one of them.\n");
    }
    text
}

fn heading_of_stages(prediction: &Prediction) -> String {
    let name = styled(STRONG, printable(&prediction.chain.uki.name));
    format!("{name}: a row for each stage at which a PCR changes; between them it keeps its value\n")
}

fn value_cell(known: &PcrPrediction, stage: Stage, bank: crate::tcg::HashAlgorithm) -> Cell {
    match known.values.get(&stage).and_then(|value| value.digests.get(bank)) {
        Some(digest) => Cell::styled(digest.to_string(), GOOD),
        None => Cell::styled("unknown", CAUTION),
    }
}

fn by(stage: Stage, moves: &[&str]) -> String {
    match moves {
        [] => "nothing measured".to_owned(),
        _ if stage == Stage::ExitBootServices => format!("{} measurements", moves.len()),
        _ => moves.join("; "),
    }
}
