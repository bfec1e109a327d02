//! What a release changes, as a page.

use super::MAX_EVENTS;
use super::sides::{self, Names, list};
use super::text::Text;
use super::view::{Banner, Boot, Cause, Fact, Mark, Page, Register, Tone, Value};
use crate::compare::release::{ComponentDiff, PcrChange, PcrDiff, ReleaseBoot, ReleaseDiff, ScenarioDiff};

const NAMES: Names = ("old", "new");

/// The page of `diff --html`: the outcome, and the boots that it was made of.
#[must_use]
pub fn release(diff: &ReleaseDiff, boots: &[ReleaseBoot]) -> Page {
    let mut room = MAX_EVENTS;
    let boots = boots.iter().enumerate().map(|(number, shown)| {
        let image = diff.images.get(shown.image);
        let scenario = image.and_then(|image| image.scenarios.get(shown.scenario));
        let title = match (image, scenario) {
            (Some(image), Some(scenario)) if diff.images.len() > 1 => {
                format!("{}: {}", image.new, scenario.scenario)
            }
            (_, scenario) => scenario.map(|scenario| scenario.scenario.clone()).unwrap_or_default(),
        };
        let boot = Boot { title: title.into(), registers: registers(scenario, shown), ..Boot::default() };
        let boot = boot.with_events(sides::events(&shown.events, NAMES), number, room);
        room = room.saturating_sub(boot.event_count());
        Boot { open: number == 0, ..boot }
    });
    Page {
        boots: boots.collect(),
        command: "premeasure diff",
        title: format!("{} to {}", diff.old, diff.new).into(),
        banner: banner(diff),
        facts: facts(diff),
        first: None,
        causes_title: "What changed",
        causes_columns: ("Component", "Change"),
        flag: "differ",
        causes: components(diff),
        registers_title: "PCRs",
        lists: Vec::new(),
        notes: Vec::new(),
        json_name: "diff.json",
    }
}

fn banner(diff: &ReleaseDiff) -> Banner {
    let scenarios = diff.images.iter().flat_map(|image| &image.scenarios);
    let mut pcrs: Vec<u8> = scenarios.flat_map(|scenario| &scenario.pcrs).map(|pcr| pcr.index).collect();
    pcrs.sort_unstable();
    pcrs.dedup();
    let mark = match (diff.equal, pcrs.as_slice()) {
        (true, _) => Mark::new(Tone::Good, "=", "No PCR changes"),
        (false, []) => Mark::new(Tone::Caution, "≠", "Images come or go"),
        (false, [one]) => Mark::new(Tone::Caution, "≠", format!("PCR {one} changes")),
        (false, all) => Mark::new(Tone::Caution, "≠", format!("PCR {} change", list(all))),
    };
    Banner { mark, detail: format!("Values at {}", diff.stage).into() }
}

fn facts(diff: &ReleaseDiff) -> Vec<Fact> {
    let mut facts = vec![Fact::new("Old", &diff.old), Fact::new("New", &diff.new)];
    facts.push(Fact::new("Events aligned in", diff.bank));
    let lone = [("Only in the old release", &diff.removed), ("Only in the new release", &diff.added)];
    let lone = lone.into_iter().filter(|(_, images)| !images.is_empty());
    facts.extend(lone.map(|(name, images)| Fact::new(name, images.join(", "))));
    facts
}

fn components(diff: &ReleaseDiff) -> Vec<Cause> {
    let several = diff.images.len() > 1;
    let of = |image: &str, component: &ComponentDiff| Cause {
        name: match several {
            true => format!("{image}: {}", component.component).into(),
            false => component.component.as_str().into(),
        },
        registers: format!("PCR {}", list(&component.pcrs)).into(),
        detail: if component.words.is_empty() { change(component).into() } else { Text::default() },
        words: sides::words(&component.words),
        mark: match (&component.old, &component.new) {
            (Some(_), None) => Mark::new(Tone::Caution, "−", "removed"),
            (None, Some(_)) => Mark::new(Tone::Caution, "+", "added"),
            _ => Mark::new(Tone::Caution, "≠", "changed"),
        },
        meaning: Text::default(),
    };
    let images = diff.images.iter();
    images.flat_map(|image| image.components.iter().map(move |component| of(&image.new, component))).collect()
}

fn change(component: &ComponentDiff) -> String {
    match (&component.old, &component.new) {
        (Some(old), Some(new)) if old == new => format!("{old}, other content"),
        (Some(old), Some(new)) => format!("{old} → {new}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => "other content".to_owned(),
    }
}

fn registers(scenario: Option<&ScenarioDiff>, boot: &ReleaseBoot) -> Vec<Register> {
    let changed = |pcr: u8| scenario.and_then(|scenario| scenario.pcrs.iter().find(|of| of.index == pcr));
    let row = |(pcr, known): (&crate::tcg::PcrIndex, &bool)| match changed(pcr.get()) {
        Some(change) => register(change),
        None => Register {
            label: format!("PCR {pcr}").into(),
            name: pcr.name().into(),
            mark: match known {
                true => Mark::new(Tone::Good, "=", "unchanged"),
                false => Mark::new(Tone::Plain, "?", "not known"),
            },
            detail: Text::default(),
            counts: Vec::new(),
            values: Vec::new(),
            pairs: false,
            notes: Vec::new(),
        },
    };
    boot.pcrs.iter().map(row).collect()
}

fn register(pcr: &PcrDiff) -> Register {
    let mark = match pcr.change {
        PcrChange::Changed => Mark::new(Tone::Caution, "≠", "changes"),
        PcrChange::NowKnown => Mark::new(Tone::Caution, "+", "is known now"),
        PcrChange::NoLongerKnown => Mark::new(Tone::Caution, "−", "is not known any more"),
        PcrChange::PartlyChanged => Mark::new(Tone::Caution, "≠", "changes, not known as a whole"),
    };
    let values = [(NAMES.0, &pcr.old), (NAMES.1, &pcr.new)];
    let mut values: Vec<Value> = values
        .into_iter()
        .flat_map(|(what, values)| {
            values.iter().map(move |(bank, value)| Value { bank, what: what.into(), value: value.into() })
        })
        .collect();
    values.sort_by_key(|value| value.bank);
    Register {
        label: format!("PCR {}", pcr.index).into(),
        name: pcr.name.into(),
        mark,
        detail: pcr.because.join(", ").into(),
        counts: Vec::new(),
        values,
        pairs: true,
        notes: Vec::new(),
    }
}
