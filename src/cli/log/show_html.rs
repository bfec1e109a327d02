//! Events as a page.

use std::collections::BTreeMap;

use super::input::Logs;
use super::replay::register_name;
use super::show::{Shown, Trust};
use crate::boot::Stage;
use crate::compare::Topic;
use crate::report::{
    Banner, Boot, Bytes, Clock, Event, Fact, Field, MAX_EVENTS, Mark, Page, Part, Register, Side, Text, Tone,
    Value,
};
use crate::tcg::cel::Content;
use crate::tcg::event_data;
use crate::tcg::eventlog::{self, RegisterKind, Replay};
use crate::tcg::timeline::replay;
use crate::tcg::{DigestSet, EventType, PcrIndex};

/// The page of `log show --html`. Events are asked for twice, as a page holds only some of them.
pub(super) fn page<'l, I>(logs: &Logs<'_>, events: impl Fn() -> I) -> anyhow::Result<Page>
where
    I: Iterator<Item = Shown<'l>>,
{
    let (replay, kind) = replay(&logs.logs)?;
    let mut registers: BTreeMap<eventlog::Register, Option<bool>> = BTreeMap::new();
    let mut count = 0_usize;
    for event in events() {
        count = count.saturating_add(1);
        let vouched = registers.entry(event.record.record.register).or_default();
        *vouched = event.vouched.or(*vouched);
    }
    let mut clock = Clock::default();
    let several = logs.logs.len() > 1;
    let views = events().enumerate().map(|(index, event)| {
        let log = logs.names.get(event.record.log).copied().filter(|_| several);
        (part(&event, &mut clock), view(index, &event, log))
    });
    let rows: Vec<Register> =
        registers.iter().map(|(register, vouched)| row(*register, *vouched, (&replay, kind))).collect();
    let banner = banner(&registers, count);
    let boot = Boot { registers: rows, open: true, ..Boot::default() };
    Ok(Page {
        command: "premeasure log show",
        title: logs.names.join(", ").as_str().into(),
        banner,
        facts: facts(logs),
        first: None,
        causes_title: "",
        causes_columns: ("", ""),
        flag: "can't be decoded",
        causes: Vec::new(),
        registers_title: "Registers",
        boots: vec![boot.with_events(views, 0, MAX_EVENTS)],
        lists: vec![("What the marks say", marks())],
        notes: notes(logs),
        json_name: "events.json",
    })
}

fn banner(registers: &BTreeMap<eventlog::Register, Option<bool>>, events: usize) -> Banner {
    let differing: Vec<String> = registers
        .iter()
        .filter(|(_, vouched)| **vouched == Some(false))
        .map(|(register, _)| label(*register).to_string())
        .collect();
    let compared = registers.values().any(Option::is_some);
    let vouching = registers.values().filter(|vouched| **vouched == Some(true)).count();
    let count =
        format!("{events} events in {} registers; {vouching} have the value of the log", registers.len());
    let (mark, detail) = match (compared, differing.is_empty()) {
        (false, _) => (
            Mark::new(Tone::Plain, "#", format!("{events} events in {} registers", registers.len())),
            "They were not held against a machine's values (--against).".to_owned(),
        ),
        (true, true) => (Mark::new(Tone::Good, "✓", "The machine's values vouch for the digests"), count),
        (true, false) => {
            let what = format!("{}: the log does not lead to the machine's value", differing.join(", "));
            (Mark::new(Tone::Bad, "✗", what), count)
        }
    };
    Banner { mark, detail: detail.into() }
}

fn facts(logs: &Logs<'_>) -> Vec<Fact> {
    let log = |(name, log): (&&str, &crate::tcg::timeline::BootLog<'_>)| {
        let banks: Vec<&str> = log.banks().into_iter().map(crate::tcg::HashAlgorithm::name).collect();
        Fact::new(name, format!("{}, {} records, {}", log.format, log.len(), banks.join(", ")))
    };
    logs.names.iter().zip(&logs.logs).map(log).collect()
}

fn notes(logs: &Logs<'_>) -> Vec<Text> {
    let broken = logs.names.iter().zip(&logs.logs).filter_map(|(name, log)| {
        let error = log.error.as_ref()?;
        Some(format!("{name}: {error}; the {} records before it are sound", log.len()).into())
    });
    broken.collect()
}

fn marks() -> Vec<Fact> {
    vec![
        Fact::new("verified", "The bytes hash to the event's digest."),
        Fact::new("partly", "Some of the bytes do; each field says whether."),
        Fact::new("claimed", "Nothing but the writer's word stands for it."),
    ]
}

fn label(register: eventlog::Register) -> Text {
    match register {
        eventlog::Register::Pcr(pcr) => format!("PCR {pcr}").into(),
        eventlog::Register::None(index) => format!("none ({index:#x})").into(),
        other => other.to_string().into(),
    }
}

fn row(
    register: eventlog::Register,
    vouched: Option<bool>,
    (replay, kind): (&Replay, RegisterKind),
) -> Register {
    let mark = match (register, vouched) {
        (_, Some(true)) => Mark::new(Tone::Good, "✓", "the machine has this value"),
        (_, Some(false)) => Mark::new(Tone::Bad, "✗", "the machine has another value"),
        (eventlog::Register::None(_), None) => Mark::new(Tone::Plain, "", "extends nothing"),
        (_, None) => Mark::new(Tone::Plain, "", "replayed"),
    };
    let slot = register.slot();
    let values = replay.values();
    let values = values.banks().filter_map(|(bank, values)| {
        let value = values.get(&slot?)?;
        Some(Value { bank: bank.name(), what: "as replayed".into(), value: value.to_string().into() })
    });
    Register {
        label: label(register),
        name: slot.map(|slot| register_name(kind, slot)).unwrap_or_default().into(),
        mark,
        detail: Text::default(),
        counts: Vec::new(),
        values: values.collect(),
        pairs: false,
        notes: Vec::new(),
    }
}

/// The PCR that an event would be in. Several share a register of a confidential guest: the type chooses (PFP, section 3.3.4).
fn pcr(register: eventlog::Register, event_type: Option<EventType>) -> PcrIndex {
    let number = match (register, event_type) {
        (eventlog::Register::Pcr(pcr), _) => return pcr,
        (_, Some(EventType::EFI_BOOT_SERVICES_APPLICATION)) => 4,
        (eventlog::Register::Mr(register), Some(EventType::IPL))
            if register.pcrs().any(|pcr| pcr.get() == 11) =>
        {
            11
        }
        (eventlog::Register::Mr(register), _) => return register.pcrs().next().unwrap_or(PcrIndex::new(0)),
        (eventlog::Register::Nv(_) | eventlog::Register::None(_), _) => 0,
    };
    PcrIndex::new(number)
}

/// The part of the boot.
fn part(event: &Shown<'_>, clock: &mut Clock) -> Part {
    let record = &event.record.record;
    let pcr = pcr(record.register, record.event_type());
    let topic = match &record.content {
        Content::PcClient { event_type, data } => {
            let digests: DigestSet = crate::tcg::HashAlgorithm::ALL
                .into_iter()
                .filter_map(|bank| record.digests.get(bank))
                .collect();
            Topic::of_event(pcr, *event_type, data, &digests)
        }
        Content::Systemd(systemd) => Topic::of_word(pcr, &systemd.string),
        Content::ImaTemplate { .. } => Topic::Ima,
        Content::Management(_) | Content::Other(..) => Topic::Other(pcr),
    };
    // Words of systemd that are nothing known come from the initrd at the earliest.
    let is_word = matches!((&record.content, &topic), (Content::Systemd(_), Topic::Other(_)));
    clock.part(pcr, &topic, is_word.then_some(Stage::EnterInitrd))
}

fn view(index: usize, event: &Shown<'_>, log: Option<&str>) -> Event {
    let record = &event.record.record;
    let trust = event.trust();
    let mark = match (&event.problem, trust) {
        (Some(_), _) => Mark::new(Tone::Bad, "!", "undecodable"),
        (None, Trust::Verified) => Mark::new(Tone::Good, "✓", trust.name()),
        (None, Trust::Partly) => Mark::new(Tone::Caution, "~", trust.name()),
        (None, Trust::Claimed) => Mark::new(Tone::Plain, "?", trust.name()),
    };
    let mut facts: Vec<Fact> = log.map(|log| Fact::new("log", log)).into_iter().collect();
    facts.push(Fact::new("record", format!("{} at {:#x}", event.record.number, record.offset)));
    if record.is_extended() {
        facts.extend(
            record.digests.iter().map(|(bank, digest)| Fact::code(bank.to_string(), hex::encode(digest))),
        );
    }
    facts.extend(event.vouched.map(|vouched| {
        let word = if vouched {
            "its value vouches for the digest"
        } else {
            "its value does not follow from the log"
        };
        Fact::new("register", word)
    }));
    facts.extend(event.problem.as_ref().map(|problem| Fact::new("problem", problem)));
    let data = match &record.content {
        Content::PcClient { data, .. } => {
            Some(Bytes { length: data.len(), before: hex::encode(data).into(), ..Bytes::default() })
        }
        _ => None,
    };
    let mut fields = Vec::new();
    event.fields.iter().for_each(|field| add(&mut fields, event, field, 0));
    Event {
        number: index.saturating_add(1).to_string().into(),
        register: label(record.register),
        mark,
        kind: event.type_name().into(),
        what: event.summary.as_str().into(),
        flagged: event.problem.is_some(),
        sides: vec![Side { title: "", facts, data }],
        fields,
        ..Event::default()
    }
}

/// A field and its parts, as rows.
fn add(rows: &mut Vec<Field>, event: &Shown<'_>, field: &event_data::Field, depth: usize) {
    let value = match &field.value {
        event_data::Value::Text(text) | event_data::Value::Bytes(text) => text.clone(),
        event_data::Value::Number(number) => number.to_string(),
        event_data::Value::Hex(number) => format!("{number:#x}"),
        event_data::Value::Fields(_) => String::new(),
    };
    let mark = match event.trust_of(field) {
        Trust::Verified => Mark::new(Tone::Good, "✓", "verified"),
        Trust::Partly | Trust::Claimed => Mark::new(Tone::Plain, "?", "claimed"),
    };
    rows.push(Field { depth: depth.min(5), name: field.name.as_ref().into(), value: value.into(), mark });
    if let event_data::Value::Fields(parts) = &field.value {
        parts.iter().for_each(|part| add(rows, event, part, depth.saturating_add(1)));
    }
}
