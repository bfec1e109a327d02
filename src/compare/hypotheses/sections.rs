//! Sections measured in another order, or not at all: other versions of the stub, and tools that compute PCR 11 otherwise.

use super::Facts;
use super::deviation::{Deviation, Edit};
use crate::boot::StubRules;
use crate::compare::causes::Code;
use crate::compare::topic::Topic;
use crate::tcg::PcrIndex;

const PCR: PcrIndex = PcrIndex::new(11);

/// A section's two events: its name and its content.
struct Section {
    name: String,
    events: [usize; 2],
    offset: u64,
}

pub(super) fn deviations(facts: &Facts<'_>) -> Vec<Deviation> {
    let sections = pairs(facts);
    let mut all = missing(&sections);
    all.extend(orders(&sections));
    all
}

fn pairs(facts: &Facts<'_>) -> Vec<Section> {
    let events: Vec<_> = facts.of(11).collect();
    let pairs = events.windows(2).filter_map(|pair| match pair {
        [(first, name), (second, content)] => match (&name.topic, &content.topic) {
            (Topic::SectionName(name), Topic::Section(of)) if name == of => {
                let offset = content.origin.as_ref().and_then(|origin| origin.offset).unwrap_or_default();
                Some(Section { name: name.clone(), events: [*first, *second], offset })
            }
            _ => None,
        },
        _ => None,
    });
    pairs.collect()
}

fn missing(sections: &[Section]) -> Vec<Deviation> {
    let without = |section: &Section| {
        let (code, detail) = match section.name.as_str() {
            // ukify 254 computed before it added the merged section; systemd-measure only knows it when told.
            ".sbat" => (
                Code::Sbat,
                "PCR 11 is without .sbat: as ukify 254 signs, and systemd-measure without --sbat".to_owned(),
            ),
            name => (Code::Section, format!("section {name} was not measured")),
        };
        let [name, content] = section.events;
        Deviation::new(code, detail).with(PCR, Edit::Remove(name)).with(PCR, Edit::Remove(content))
    };
    sections.iter().map(without).collect()
}

/// The same sections in the order of each version of the stub, of the file, and by name.
fn orders(sections: &[Section]) -> Vec<Deviation> {
    let mut orders: Vec<(String, Vec<usize>)> = Vec::new();
    let mut add = |how: String, key: &dyn Fn(&Section) -> (u64, String)| {
        let mut sorted: Vec<&Section> = sections.iter().collect();
        sorted.sort_by_key(|section| key(section));
        let indices: Vec<usize> = sorted.iter().flat_map(|section| section.events).collect();
        let natural: Vec<usize> = sections.iter().flat_map(|section| section.events).collect();
        if indices != natural && !orders.iter().any(|(_, known)| *known == indices) {
            orders.push((how, indices));
        }
    };
    for rules in StubRules::ROWS {
        let place = |name: &str| {
            let at = rules.measured_sections.iter().position(|known| *known == name);
            at.map_or(u64::MAX, |at| at as u64)
        };
        let how = format!("the sections were measured in the order of systemd-stub {}", rules.from.0);
        add(how, &|section| (place(&section.name), String::new()));
    }
    add("the sections were measured in the order of the file".to_owned(), &|section| {
        (section.offset, String::new())
    });
    add("the sections were measured by their names".to_owned(), &|section| (0, section.name.clone()));
    let mut all: Vec<Deviation> = orders
        .into_iter()
        .map(|(how, order)| Deviation::new(Code::SectionOrder, how).with(PCR, Edit::Order(order)))
        .collect();
    for pair in sections.windows(2) {
        let [one, other] = pair else { continue };
        let swapped = sections.iter().flat_map(|section| {
            if section.events == one.events {
                other.events
            } else if section.events == other.events {
                one.events
            } else {
                section.events
            }
        });
        let how = format!("{} was measured before {}", other.name, one.name);
        all.push(Deviation::new(Code::SectionOrder, how).ranked(1).with(PCR, Edit::Order(swapped.collect())));
    }
    all
}
