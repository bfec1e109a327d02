//! Two releases: which PCRs change, and because of which component.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use super::align::{AlignedEvent, EventStatus, align};
use super::changes::{Word, command_line_text, words};
use super::document::expectation_of_document;
use super::model::{BY_STRENGTH, Candidate, Event};
use super::report::Generator;
use super::topic::Topic;
use crate::boot::Stage;
use crate::reference::{Document, Facts, Image};
use crate::tcg::{HashAlgorithm, PcrIndex};

/// Version of the format.
pub const SCHEMA_VERSION: &str = "1.0.0";

/// The value of [`ReleaseDiff::kind`].
pub const KIND: &str = "premeasure-diff";

/// `schemas/diff.schema.json`.
pub const SCHEMA: &str = include_str!("../../schemas/diff.schema.json");

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

/// Compares two releases at a stage. Images are paired by their ids, and where each has a single one these.
#[must_use]
pub fn diff(
    (old_name, old): (&str, &Document),
    (new_name, new): (&str, &Document),
    stage: Stage,
) -> ReleaseDiff {
    let bank = BY_STRENGTH.into_iter().find(|bank| {
        let has = |document: &Document| document.banks.iter().any(|name| name == bank.name());
        has(old) && has(new)
    });
    let bank = bank.unwrap_or(HashAlgorithm::Sha256);
    let sides = (
        expectation_of_document(old_name, old).candidates,
        expectation_of_document(new_name, new).candidates,
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
    let of = |candidates: &[Candidate], id: &str| -> Vec<Candidate> {
        candidates.iter().filter(|candidate| candidate.image == id).cloned().collect()
    };
    let (ours, theirs) = (of(ours, &old.id), of(theirs, &new.id));
    let mut components = Components::default();
    let mut scenarios = Vec::new();
    for (index, one) in ours.iter().enumerate() {
        let same = theirs.iter().find(|other| other.scenario == one.scenario);
        let Some(other) = same.or_else(|| theirs.get(index)) else { continue };
        let rows = rows(one, other, bank, stage);
        let because = components.add(&rows, one, other, (&old.facts, &new.facts));
        let scenario = match one.scenario == other.scenario {
            true => one.scenario.clone(),
            false => format!("{} and {}", one.scenario, other.scenario),
        };
        scenarios.push(ScenarioDiff { scenario, pcrs: pcrs(one, other, &rows, &because, stage) });
    }
    ImageDiff { old: old.name.clone(), new: new.name.clone(), components: components.finish(), scenarios }
}

/// Measurements of the two that differ up to the stage.
fn rows(one: &Candidate, other: &Candidate, bank: HashAlgorithm, stage: Stage) -> Vec<AlignedEvent> {
    let until = |candidate: &Candidate| -> Vec<Event> {
        let events = candidate.events.iter().flatten();
        events.filter(|event| event.stage.is_none_or(|of| of <= stage)).cloned().collect()
    };
    // Positions stay those of the whole lists: later stages are a suffix of them.
    let mut rows = align(&until(one), &until(other), bank, stage, &|_| true);
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

/// Components under way: old and new text, and the PCRs that they move.
#[derive(Default)]
struct Components {
    found: BTreeMap<String, ComponentDiff>,
}

impl Components {
    /// Adds what differs between two boots; gives the components of each PCR.
    fn add(
        &mut self,
        rows: &[AlignedEvent],
        one: &Candidate,
        other: &Candidate,
        facts: (&Facts, &Facts),
    ) -> BTreeMap<PcrIndex, BTreeSet<String>> {
        let event = |candidate: &'_ Candidate, index: Option<usize>| -> Option<Event> {
            candidate.events.as_ref()?.get(index?).cloned()
        };
        let mut because: BTreeMap<PcrIndex, BTreeSet<String>> = BTreeMap::new();
        let (mut containers, mut initrds) = (Vec::new(), Vec::new());
        for row in rows {
            let (old, new) = (event(one, row.expected), event(other, row.observed));
            let Some(topic) = old.as_ref().or(new.as_ref()).map(|event| event.topic.clone()) else {
                continue;
            };
            match &topic {
                Topic::Uki => containers.push(row.pcr),
                Topic::Initrd => initrds.push(row.pcr),
                Topic::SectionName(_) => {}
                topic => {
                    let name = component(topic, old.as_ref().or(new.as_ref()));
                    self.one(&name, row.pcr, old.as_ref(), new.as_ref(), facts);
                    because.entry(row.pcr).or_default().insert(name);
                }
            }
        }
        let sections: BTreeSet<String> = because.get(&PcrIndex::new(11)).cloned().unwrap_or_default();
        if facts.0.stub != facts.1.stub || (!containers.is_empty() && sections.is_empty()) {
            self.version("stub", facts.0.stub.as_deref(), facts.1.stub.as_deref(), &containers);
            containers.iter().for_each(|pcr| because.entry(*pcr).or_default().extend(["stub".to_owned()]));
        }
        // The image digest covers every section.
        for pcr in containers {
            because.entry(pcr).or_default().extend(sections.iter().cloned());
            sections.iter().for_each(|name| self.moves(name, pcr));
        }
        for pcr in initrds {
            let makers: Vec<String> =
                because.values().flatten().filter(|name| makes_initrd(name)).cloned().collect();
            let makers: BTreeSet<String> = makers.into_iter().collect();
            if makers.is_empty() {
                self.one("initrd", pcr, None, None, facts);
                because.entry(pcr).or_default().insert("initrd".to_owned());
            }
            makers.iter().for_each(|name| self.moves(name, pcr));
            because.entry(pcr).or_default().extend(makers);
        }
        because
    }

    fn moves(&mut self, name: &str, pcr: PcrIndex) {
        if let Some(component) = self.found.get_mut(name) {
            component.pcrs.push(pcr.get());
        }
    }

    fn one(
        &mut self,
        name: &str,
        pcr: PcrIndex,
        old: Option<&Event>,
        new: Option<&Event>,
        facts: (&Facts, &Facts),
    ) {
        let (before, after) = match name {
            "kernel" => (facts.0.kernel.clone(), facts.1.kernel.clone()),
            "boot loader" => (facts.0.boot_loader.clone(), facts.1.boot_loader.clone()),
            "command line" => (text(old, &facts.0.command_line), text(new, &facts.1.command_line)),
            "os-release" => (release(facts.0), release(facts.1)),
            _ => (old.map(size), new.map(size)),
        };
        self.set(name, before, after, &[pcr]);
    }

    fn version(&mut self, name: &str, old: Option<&str>, new: Option<&str>, pcrs: &[PcrIndex]) {
        self.set(name, old.map(str::to_owned), new.map(str::to_owned), pcrs);
    }

    fn set(&mut self, name: &str, old: Option<String>, new: Option<String>, pcrs: &[PcrIndex]) {
        let entry = self.found.entry(name.to_owned()).or_insert_with(|| ComponentDiff {
            component: name.to_owned(),
            words: match (&old, &new) {
                (Some(old), Some(new)) if name == "command line" && old != new => words(old, new),
                _ => Vec::new(),
            },
            old,
            new,
            pcrs: Vec::new(),
        });
        entry.pcrs.extend(pcrs.iter().map(|pcr| pcr.get()));
    }

    fn finish(self) -> Vec<ComponentDiff> {
        let sorted = |mut component: ComponentDiff| {
            component.pcrs.sort_unstable();
            component.pcrs.dedup();
            component
        };
        self.found.into_values().map(sorted).collect()
    }
}

/// What a measurement is a part of, in words for release notes.
fn component(topic: &Topic, event: Option<&Event>) -> String {
    let file = event.and_then(|event| event.origin.as_ref()).and_then(|origin| origin.files.first());
    match topic {
        Topic::Kernel => "kernel".to_owned(),
        Topic::KernelOptions => "command line".to_owned(),
        Topic::Loader => "boot loader".to_owned(),
        Topic::Section(name) => match name.as_str() {
            ".linux" => "kernel".to_owned(),
            ".initrd" => "initrd".to_owned(),
            ".cmdline" => "command line".to_owned(),
            ".osrel" => "os-release".to_owned(),
            name => format!("section {name}"),
        },
        Topic::Addon | Topic::AddonPart => format!("addon {}", file.map_or("", String::as_str)),
        Topic::Archive(name) => name.trim_end_matches(" initrd").to_lowercase(),
        Topic::SecureBootVariable(name) | Topic::BootVariable(name) => format!("variable {name}"),
        Topic::Authority(_) => "signing keys".to_owned(),
        Topic::OsSeparator | Topic::NvPcrSeparator | Topic::Phase(_) | Topic::Identity(_) => {
            "systemd in user space".to_owned()
        }
        Topic::Action(_) | Topic::Separator => "firmware".to_owned(),
        other => other.to_string(),
    }
}

fn makes_initrd(component: &str) -> bool {
    component == "initrd"
        || component.starts_with("section ")
        || component.contains("credential")
        || component.contains("extension")
}

fn size(event: &Event) -> String {
    match event.origin.as_ref().and_then(|origin| origin.length) {
        Some(length) => format!("{length} bytes"),
        None => event.what.clone(),
    }
}

fn text(event: Option<&Event>, fact: &Option<String>) -> Option<String> {
    event.and_then(command_line_text).map(str::to_owned).or_else(|| fact.clone())
}

fn release(facts: &Facts) -> Option<String> {
    let field = |name: &str| facts.os_release.get(name).cloned();
    let version = field("IMAGE_VERSION").or_else(|| field("BUILD_ID")).or_else(|| field("VERSION_ID"));
    match (field("PRETTY_NAME").or_else(|| field("NAME")), version) {
        (Some(name), Some(version)) if !name.contains(&version) => Some(format!("{name} ({version})")),
        (Some(name), _) => Some(name),
        (None, version) => version,
    }
}
