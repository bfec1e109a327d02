//! A reference document as a page.

use super::MAX_EVENTS;
use super::sides::{self, list};
use super::text::Text;
use super::timeline::{Clock, Part};
use super::view::{Banner, Boot, Event, Fact, Mark, Page, Register, Side, Tone, Value};
use crate::boot::Stage;
use crate::compare::{self, expectation_of_document};
use crate::reference::{Document, Image, MeasurementEntry, PcrEntry, VariantEntry};
use crate::tcg::eventlog::RegisterKind;
use crate::tcg::{HashAlgorithm, PcrIndex};

/// The page of `predict --html`: every variant of the document, with values at a stage in front.
#[must_use]
pub fn prediction(document: &Document, stage: Stage) -> Page {
    let names: Vec<&str> = document.images.iter().map(|image| image.name.as_str()).collect();
    let mut room = MAX_EVENTS;
    let candidates = expectation_of_document("", document, RegisterKind::Pcr).candidates;
    let boots =
        document.variants.iter().zip(&candidates).enumerate().map(|(number, (variant, candidate))| {
            let events = candidate.events.as_deref().unwrap_or_default();
            let boot =
                boot(document, variant, stage).with_events(timeline(document, variant, events), number, room);
            room = room.saturating_sub(boot.event_count());
            Boot { open: number == 0, ..boot }
        });
    Page {
        boots: boots.collect(),
        command: "premeasure predict",
        title: names.join(", ").into(),
        banner: banner(document, stage),
        facts: facts(document, stage),
        first: None,
        causes_title: "",
        causes_columns: ("", ""),
        flag: "differ",
        causes: Vec::new(),
        registers_title: "PCRs",
        lists: lists(document),
        notes: Vec::new(),
        json_name: "reference.json",
    }
}

fn banner(document: &Document, stage: Stage) -> Banner {
    let known =
        |pcr: &&PcrEntry| pcr.index < 16 && pcr.values.iter().any(|value| value.stage == stage.name());
    let mut pcrs: Vec<u8> = document
        .variants
        .iter()
        .flat_map(|variant| &variant.pcrs)
        .filter(known)
        .map(|pcr| pcr.index)
        .collect();
    pcrs.sort_unstable();
    pcrs.dedup();
    let word = match pcrs.as_slice() {
        [] => "No PCR is known".to_owned(),
        [one] => format!("PCR {one} is known"),
        all => format!("PCR {} are known", list(all)),
    };
    let detail = match document.variants.len() {
        0 | 1 => String::new(),
        count => format!("{count} variants are alternatives: all PCRs of a boot come from one of them."),
    };
    Banner { mark: Mark::new(Tone::Plain, "#", word), detail: detail.into() }
}

fn facts(document: &Document, stage: Stage) -> Vec<Fact> {
    let mut facts = vec![Fact::new("Values at", format!("{stage}: {}", stage.description()))];
    facts.push(Fact::new("Banks", document.banks.join(", ")));
    // Those of the first: more images are entries of one boot menu, and are listed with their boots.
    for image in document.images.iter().take(1) {
        let known = &image.facts;
        let texts = [
            ("Architecture", Some(&known.architecture)),
            ("Stub", known.stub.as_ref()),
            ("Boot loader", known.boot_loader.as_ref()),
            ("Kernel", known.kernel.as_ref().or(known.uname.as_ref())),
            ("System", known.os_release.get("PRETTY_NAME")),
        ];
        facts.extend(texts.into_iter().filter_map(|(name, text)| Some(Fact::new(name, text?))));
        facts.extend(known.command_line.as_ref().map(|text| Fact::code("Command line", text)));
    }
    facts
}

fn boot(document: &Document, variant: &VariantEntry, stage: Stage) -> Boot {
    let title = match image(document, variant) {
        Some(image) if document.images.len() > 1 => format!("{}: {}", image.name, variant.scenario),
        _ => variant.scenario.clone(),
    };
    Boot {
        title: title.into(),
        registers: variant
            .pcrs
            .iter()
            .filter(|pcr| is_worth_a_row(pcr))
            .map(|pcr| register(pcr, stage))
            .collect(),
        ..Boot::default()
    }
}

fn image<'d>(document: &'d Document, variant: &VariantEntry) -> Option<&'d Image> {
    document.images.iter().find(|image| image.id == variant.image)
}

/// PCRs from 16 on are reset at will, and IMA's says nothing that can be predicted.
fn is_worth_a_row(pcr: &PcrEntry) -> bool {
    pcr.index < 16 || pcr.status == "computed"
}

fn register(pcr: &PcrEntry, stage: Stage) -> Register {
    let here = pcr.values.iter().find(|value| value.stage == stage.name());
    let status = here.map_or(pcr.status.as_str(), |value| value.status.as_str());
    let mark = match (here, status) {
        (Some(_), "computed") => Mark::new(Tone::Good, "✓", "computed"),
        (Some(_), "observed") => Mark::new(Tone::Good, "✓", "as recorded"),
        (Some(_), "assumed-unused") => Mark::new(Tone::Plain, "0", "nothing measured"),
        (Some(_), other) => Mark::new(Tone::Plain, "✓", other),
        (None, "partial") => Mark::new(Tone::Caution, "?", "known at other stages only"),
        (None, _) => Mark::new(Tone::Caution, "?", "not known"),
    };
    let gaps = pcr.gaps.iter().flat_map(|gap| {
        let from = format!("not known from {} on", gap.stage);
        [Fact::new(from, &gap.reason), Fact::new("would settle it", &gap.remedy)]
    });
    let assumed = Some(Fact::code("taken for granted", pcr.assumes.join(", ")));
    Register {
        label: format!("PCR {}", pcr.index).into(),
        name: pcr.name.as_deref().unwrap_or_default().into(),
        mark,
        detail: Text::default(),
        counts: Vec::new(),
        values: values(pcr, stage),
        pairs: false,
        notes: gaps.chain(assumed).filter(|fact| !fact.value.is_empty()).collect(),
    }
}

/// The values of each bank: that at the stage, then, where it moves, from which stage on it has which.
fn values(pcr: &PcrEntry, stage: Stage) -> Vec<Value> {
    let mut values = Vec::new();
    for bank in HashAlgorithm::ALL {
        let all = pcr.values.iter();
        let all = all.filter_map(|value| Some((value.stage.as_str(), value.digests.get(bank.name())?)));
        let all: Vec<(&str, &String)> = all.collect();
        let value = |what: String, digest: &String| Value {
            bank: bank.name(),
            what: what.into(),
            value: digest.into(),
        };
        let here = all.iter().find(|(name, _)| *name == stage.name());
        values.extend(here.map(|(name, digest)| value(format!("at {name}"), digest)));
        let mut moves = all.clone();
        moves.dedup_by_key(|(_, digest)| *digest);
        if moves.len() > 1 || here.is_none() {
            // That is the row above.
            moves.retain(|(name, _)| *name != stage.name());
            values.extend(moves.into_iter().map(|(name, digest)| value(format!("from {name} on"), digest)));
        }
    }
    values
}

fn timeline(document: &Document, variant: &VariantEntry, events: &[compare::Event]) -> Vec<(Part, Event)> {
    let mut clock = Clock::default();
    // The running system's own registers: that they are not known goes without saying.
    let is_said = |(entry, _): &(&MeasurementEntry, &compare::Event)| entry.gap.is_none() || entry.pcr < 16;
    let valid = |entry: &&MeasurementEntry| PcrIndex::try_from(u32::from(entry.pcr)).is_ok();
    // An entry of no register has no event.
    let entries = variant.measurements.iter().filter(valid).zip(events);
    let event = |(index, (entry, event)): (usize, (&MeasurementEntry, &compare::Event))| {
        let part = clock.part(event.pcr, &event.topic, event.stage);
        (part, measurement(document, index, entry, event))
    };
    entries.filter(is_said).enumerate().map(event).collect()
}

fn measurement(document: &Document, index: usize, entry: &MeasurementEntry, event: &compare::Event) -> Event {
    let mark = match &entry.gap {
        Some(_) => Mark::new(Tone::Caution, "?", "not known"),
        None => Mark::default(),
    };
    let kind = entry.event_type.as_deref().or(entry.gap.as_deref()).unwrap_or("user space");
    Event {
        number: sides::number(index).into(),
        register: format!("PCR {}", event.pcr).into(),
        mark,
        kind: kind.into(),
        what: entry.description.as_str().into(),
        sides: vec![Side { title: "", facts: measurement_facts(document, entry, event), data: data(event) }],
        ..Event::default()
    }
}

fn data(event: &compare::Event) -> Option<super::Bytes> {
    event.data.as_ref().map(|data| sides::bytes(data, None))
}

fn measurement_facts(document: &Document, entry: &MeasurementEntry, event: &compare::Event) -> Vec<Fact> {
    let mut facts = vec![Fact::new("stage", &entry.stage)];
    let digests = entry.digests.iter().flatten();
    facts.extend(digests.map(|(bank, digest)| Fact::code(bank, digest)));
    facts.push(Fact::new("bytes from", &entry.source.kind));
    if let Some(origin) = &event.origin {
        let files = Some(&origin.files).filter(|files| !files.is_empty());
        facts.extend(files.map(|files| Fact::code("file", files.join(", "))));
        facts.extend(origin.section.as_ref().map(|section| Fact::code("section", section)));
        facts.extend(origin.offset.map(|offset| Fact::code("offset", format!("{offset:#x}"))));
        facts.extend(origin.length.map(|length| Fact::new("length", format!("{length} bytes"))));
        facts.extend(origin.option.as_ref().map(|option| Fact::code("option", option)));
    }
    if let Some(rule) = document.rules.iter().find(|rule| rule.id == entry.rule) {
        facts.push(Fact::new("rule", &rule.statement));
        facts.push(Fact::new("source", &rule.source));
    }
    facts
}

fn lists(document: &Document) -> Vec<(&'static str, Vec<Fact>)> {
    let mut assumed: Vec<Fact> = Vec::new();
    for assumption in document.scenarios.iter().flat_map(|scenario| &scenario.assumptions) {
        let remedy = assumption.remedy.as_ref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
        let pcrs = format!(" [PCR {}]", list(&assumption.affects));
        let fact = Fact::new(&assumption.id, format!("{}{remedy}{pcrs}", assumption.statement));
        if !assumed.iter().any(|known| known.name == fact.name && known.value == fact.value) {
            assumed.push(fact);
        }
    }
    let inputs = document.images.iter().flat_map(|image| &image.inputs).map(|input| {
        Fact::code(
            format!("{}: {}", input.role, input.name),
            format!("{} bytes, sha256 {}", input.size, input.sha256),
        )
    });
    let materials = document.materials.iter().map(|material| {
        Fact::code(format!("{}: {}", material.format, material.name), format!("sha256 {}", material.sha256))
    });
    let lists = [("Taken for granted", assumed), ("Files", inputs.chain(materials).collect())];
    lists.into_iter().filter(|(_, facts)| !facts.is_empty()).collect()
}
