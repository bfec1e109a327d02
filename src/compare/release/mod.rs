//! Two releases: which PCRs change, and because of which component.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod components;

use std::collections::{BTreeMap, BTreeSet};

use super::align::{AlignedEvent, EventStatus, align};
use super::changes::Word;
use super::document::expectation_of_document;
use super::model::{BY_STRENGTH, Candidate, Event};
use super::report::{EventRow, Generator};
use crate::boot::Stage;
use crate::reference::{Document, Image};
use crate::tcg::eventlog::RegisterKind;
use crate::tcg::{HashAlgorithm, PcrIndex};

use components::Components;

/// Version of the format.
pub const SCHEMA_VERSION: &str = "1.0.0";

/// The value of [`ReleaseDiff::kind`].
pub const KIND: &str = "premeasure-diff";

/// `schemas/diff.schema.json`.
pub const SCHEMA: &str = include_str!("../../../schemas/diff.schema.json");

/// What changes between two releases. Its texts come from files.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReleaseDiff {
    /// [`SCHEMA_VERSION`].
    pub schema_version: &'static str,
    /// [`KIND`].
    pub kind: &'static str,
    /// The program that made it.
    pub generator: Generator,
    /// The old release.
    pub old: String,
    /// The new release.
    pub new: String,
    /// No PCR changes, and no image comes or goes.
    pub equal: bool,
    /// The stage whose values are compared.
    pub stage: &'static str,
    /// The bank in which measurements were put side by side.
    pub bank: &'static str,
    /// Images that both have.
    pub images: Vec<ImageDiff>,
    /// Images that only the old release has.
    pub removed: Vec<String>,
    /// Images that only the new release has.
    pub added: Vec<String>,
}

/// An image of both releases.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ImageDiff {
    /// The old image's name.
    pub old: String,
    /// The new image's name.
    pub new: String,
    /// What changed in it.
    pub components: Vec<ComponentDiff>,
    /// What that does to each scenario.
    pub scenarios: Vec<ScenarioDiff>,
}

/// A component that changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ComponentDiff {
    /// Its name: `kernel`, `initrd`, `command line`, ...
    pub component: String,
    /// Its old version, text or size, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// Its new version, text or size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Both texts word by word, of command lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
    /// The PCRs that it moves.
    pub pcrs: Vec<u8>,
}

/// One way to boot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ScenarioDiff {
    /// Its name; those of both releases where they differ.
    pub scenario: String,
    /// PCRs that changed, ascending.
    pub pcrs: Vec<PcrDiff>,
}

/// A PCR that changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PcrDiff {
    /// Its number.
    pub index: u8,
    /// Its name; empty where it has none.
    pub name: &'static str,
    /// What became of it.
    pub change: PcrChange,
    /// The components that moved it.
    pub because: Vec<String>,
    /// The old value in each bank; empty where it was not known.
    pub old: BTreeMap<&'static str, String>,
    /// The new value in each bank; empty where it is not known.
    pub new: BTreeMap<&'static str, String>,
}

/// What became of a PCR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PcrChange {
    /// It has another value.
    Changed,
    /// Its value was not known, and is.
    NowKnown,
    /// Its value was known, and is not any more.
    NoLongerKnown,
    /// Its value is not known in either release, but a measurement that is known changed.
    PartlyChanged,
}

/// A boot of both releases, side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseBoot {
    /// Index into [`ReleaseDiff::images`].
    pub image: usize,
    /// Index into [`ImageDiff::scenarios`].
    pub scenario: usize,
    /// The measurements of both, in the order of the boot.
    pub events: Vec<EventRow>,
    /// The PCRs of both, and whether both values are known at the stage.
    pub pcrs: BTreeMap<PcrIndex, bool>,
}

/// The boots that [`diff`] compares, with all their measurements up to the stage.
#[must_use]
pub fn boots(old: &Document, new: &Document, stage: Stage) -> Vec<ReleaseBoot> {
    let bank = common_bank(old, new);
    let candidates =
        |document: &Document| expectation_of_document("", document, RegisterKind::Pcr).candidates;
    let (ours, theirs) = (candidates(old), candidates(new));
    let (pairs, ..) = paired(&old.images, &new.images);
    let mut boots = Vec::new();
    for (image, (old, new)) in pairs.into_iter().enumerate() {
        let (ours, theirs) = (of_image(&ours, &old.id), of_image(&theirs, &new.id));
        for (scenario, (one, other)) in paired_boots(&ours, &theirs).into_iter().enumerate() {
            let (before, after) = (until(one, stage), until(other, stage));
            let mut rows = align(&before, &after, bank, stage, &|_| true);
            rows.retain(|row| is_said(row, &before, &after));
            let row = |row: &AlignedEvent| EventRow::of(row, (&before, &after), bank, &[]);
            let known = |candidate: &Candidate, pcr| {
                candidate.pcrs.get(&pcr).is_some_and(|expected| expected.at(stage, bank).is_some())
            };
            let pcrs = PcrIndex::all().filter(|pcr| pcr.get() < 16 || rows.iter().any(|row| row.pcr == *pcr));
            boots.push(ReleaseBoot {
                image,
                scenario,
                events: rows.iter().map(row).collect(),
                pcrs: pcrs.map(|pcr| (pcr, known(one, pcr) && known(other, pcr))).collect(),
            });
        }
    }
    boots
}

/// What nobody knows of either release is said once, and of the running system's own registers not at all.
fn is_said(row: &AlignedEvent, old: &[Event], new: &[Event]) -> bool {
    let gap = |events: &'_ [Event], index: Option<usize>| -> Option<String> {
        events.get(index?).filter(|event| event.is_gap()).map(|event| event.what.clone())
    };
    let is_old =
        |what: &String| old.iter().any(|event| event.is_gap() && event.pcr == row.pcr && event.what == *what);
    match (gap(old, row.expected), gap(new, row.observed)) {
        (None, None) => true,
        (None, Some(what)) if row.expected.is_none() => row.pcr.get() < 16 && !is_old(&what),
        _ => row.pcr.get() < 16,
    }
}

/// Compares two releases at a stage. Images are paired by their ids, and where each has a single one these.
#[must_use]
pub fn diff(
    (old_name, old): (&str, &Document),
    (new_name, new): (&str, &Document),
    stage: Stage,
) -> ReleaseDiff {
    let bank = common_bank(old, new);
    let sides = (
        expectation_of_document(old_name, old, RegisterKind::Pcr).candidates,
        expectation_of_document(new_name, new, RegisterKind::Pcr).candidates,
    );
    let (pairs, removed, added) = paired(&old.images, &new.images);
    let images: Vec<ImageDiff> =
        pairs.into_iter().map(|(one, other)| image(one, other, (&sides.0, &sides.1), bank, stage)).collect();
    let unchanged = |image: &ImageDiff| image.scenarios.iter().all(|scenario| scenario.pcrs.is_empty());
    ReleaseDiff {
        schema_version: SCHEMA_VERSION,
        kind: KIND,
        generator: Generator::SELF,
        old: old_name.to_owned(),
        new: new_name.to_owned(),
        equal: removed.is_empty() && added.is_empty() && images.iter().all(unchanged),
        stage: stage.name(),
        bank: bank.name(),
        images,
        removed,
        added,
    }
}

/// The strongest bank that both have.
fn common_bank(old: &Document, new: &Document) -> HashAlgorithm {
    let bank = BY_STRENGTH.into_iter().find(|bank| {
        let has = |document: &Document| document.banks.iter().any(|name| name == bank.name());
        has(old) && has(new)
    });
    bank.unwrap_or(HashAlgorithm::Sha256)
}

type Paired<'i> = (Vec<(&'i Image, &'i Image)>, Vec<String>, Vec<String>);

fn paired<'i>(old: &'i [Image], new: &'i [Image]) -> Paired<'i> {
    if let ([one], [other]) = (old, new) {
        return (vec![(one, other)], Vec::new(), Vec::new());
    }
    let find = |list: &'i [Image], id: &str| list.iter().find(|image| image.id == id);
    let pairs: Vec<_> = old.iter().filter_map(|image| Some((image, find(new, &image.id)?))).collect();
    let lone = |from: &[Image], other: &'i [Image]| {
        let lone = from.iter().filter(|image| find(other, &image.id).is_none());
        lone.map(|image| image.id.clone()).collect()
    };
    (pairs, lone(old, new), lone(new, old))
}

fn image(
    old: &Image,
    new: &Image,
    (ours, theirs): (&[Candidate], &[Candidate]),
    bank: HashAlgorithm,
    stage: Stage,
) -> ImageDiff {
    let (ours, theirs) = (of_image(ours, &old.id), of_image(theirs, &new.id));
    let mut components = Components::default();
    let mut scenarios = Vec::new();
    for (one, other) in paired_boots(&ours, &theirs) {
        let rows = rows(one, other, bank, stage);
        let because = components.add(&rows, one, other, (&old.facts, &new.facts));
        let scenario = scenario_name(one, other);
        scenarios.push(ScenarioDiff { scenario, pcrs: pcrs(one, other, &rows, &because, stage) });
    }
    ImageDiff { old: old.name.clone(), new: new.name.clone(), components: components.finish(), scenarios }
}

fn of_image<'c>(candidates: &'c [Candidate], id: &str) -> Vec<&'c Candidate> {
    candidates.iter().filter(|candidate| candidate.image == id).collect()
}

/// Boots of one image, by their scenario, or else by their place.
fn paired_boots<'c>(ours: &[&'c Candidate], theirs: &[&'c Candidate]) -> Vec<(&'c Candidate, &'c Candidate)> {
    let pair = |(index, one): (usize, &&'c Candidate)| {
        let same = theirs.iter().find(|other| other.scenario == one.scenario);
        Some((*one, *same.or_else(|| theirs.get(index))?))
    };
    ours.iter().enumerate().filter_map(pair).collect()
}

fn scenario_name(one: &Candidate, other: &Candidate) -> String {
    match one.scenario == other.scenario {
        true => one.scenario.clone(),
        false => format!("{} and {}", one.scenario, other.scenario),
    }
}

fn until(candidate: &Candidate, stage: Stage) -> Vec<Event> {
    let events = candidate.events.iter().flatten();
    events.filter(|event| event.stage.is_none_or(|of| of <= stage)).cloned().collect()
}

/// Measurements of the two that differ up to the stage.
fn rows(one: &Candidate, other: &Candidate, bank: HashAlgorithm, stage: Stage) -> Vec<AlignedEvent> {
    // Positions stay those of the whole lists: later stages are a suffix of them.
    let mut rows = align(&until(one, stage), &until(other, stage), bank, stage, &|_| true);
    rows.retain(AlignedEvent::is_different);
    // A gap in the place of an event is no change of which anything is known.
    let is_gap = |row: &AlignedEvent| {
        let event = row.observed.and_then(|index| other.events.as_ref()?.get(index));
        row.status != EventStatus::Missing && event.is_some_and(Event::is_gap)
    };
    rows.retain(|row| !is_gap(row));
    rows
}

fn pcrs(
    one: &Candidate,
    other: &Candidate,
    rows: &[AlignedEvent],
    because: &BTreeMap<PcrIndex, BTreeSet<String>>,
    stage: Stage,
) -> Vec<PcrDiff> {
    let values = |candidate: &Candidate, pcr: PcrIndex| -> BTreeMap<&'static str, String> {
        let expected = candidate.pcrs.get(&pcr);
        let value =
            expected.and_then(|expected| expected.values.iter().find(|value| value.stage == Some(stage)));
        let digests = value.into_iter().flat_map(|value| value.digests.iter());
        digests.map(|digest| (digest.algorithm().name(), digest.to_string())).collect()
    };
    let mut changed = Vec::new();
    for pcr in PcrIndex::all() {
        let (old, new) = (values(one, pcr), values(other, pcr));
        let moved = rows.iter().any(|row| row.pcr == pcr);
        let differs = old.iter().any(|(bank, value)| new.get(bank).is_some_and(|new| new != value));
        let change = match (old.is_empty(), new.is_empty()) {
            (false, false) if differs => PcrChange::Changed,
            (false, false) => continue,
            (true, false) => PcrChange::NowKnown,
            (false, true) => PcrChange::NoLongerKnown,
            (true, true) if moved => PcrChange::PartlyChanged,
            (true, true) => continue,
        };
        let because = because.get(&pcr).map(|names| names.iter().cloned().collect()).unwrap_or_default();
        changed.push(PcrDiff { index: pcr.get(), name: pcr.name(), change, because, old, new });
    }
    changed
}
