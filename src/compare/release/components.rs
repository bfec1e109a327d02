//! The components of a release, and which PCRs each of them moves.

use std::collections::{BTreeMap, BTreeSet};

use super::ComponentDiff;
use crate::compare::align::{AlignedEvent, EventStatus};
use crate::compare::changes::{command_line_text, words};
use crate::compare::model::{Candidate, Event};
use crate::compare::topic::Topic;
use crate::reference::Facts;
use crate::tcg::PcrIndex;

/// Components under way: old and new text, and the PCRs that they move.
#[derive(Default)]
pub(super) struct Components {
    found: BTreeMap<String, ComponentDiff>,
}

impl Components {
    /// Adds what differs between two boots; gives the components of each PCR.
    pub(super) fn add(
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
                // A kernel that is measured now, or is no more: that is its stub's doing.
                Topic::Uki => containers.push(row.pcr),
                Topic::Kernel if row.status != EventStatus::Changed => containers.push(row.pcr),
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

    pub(super) fn finish(self) -> Vec<ComponentDiff> {
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
