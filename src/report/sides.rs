//! Events of two boots side by side, as comparisons and releases have them.

use super::text::Text;
use super::timeline::{Clock, Part};
use super::view::{Bytes, Change, Event, Fact, Mark, Side, Tone, WordView};
use crate::compare::{self, EventRow, EventSide, EventStatus, Topic, WordChange};

/// Names of the two sides.
pub(super) type Names = (&'static str, &'static str);

/// Rows as events, each with its part of the boot.
pub(super) fn events(rows: &[EventRow], names: Names) -> impl Iterator<Item = (Part, Event)> {
    let mut clock = Clock::default();
    rows.iter().enumerate().map(move |(index, row)| event(index, row, names, &mut clock))
}

/// The number on the page of the row with this index.
pub(super) fn number(index: usize) -> String {
    index.saturating_add(1).to_string()
}

fn event(index: usize, row: &EventRow, names: Names, clock: &mut Clock) -> (Part, Event) {
    let either = row.expected.as_ref().or(row.observed.as_ref());
    let stage = either.and_then(|side| side.stage).and_then(|stage| stage.parse().ok());
    let topic = either.map(|side| side.about.clone());
    let part = topic.map(|topic| clock.part(row.pcr, &topic, stage)).unwrap_or_default();
    let what = |side: &Option<EventSide>| side.as_ref().map(|side| side.what.clone());
    let (before, what) = match (what(&row.expected), what(&row.observed)) {
        (Some(ours), Some(theirs)) if ours != theirs && row.status != EventStatus::Equal => (ours, theirs),
        (Some(one), _) | (None, Some(one)) => (String::new(), one),
        (None, None) => Default::default(),
    };
    let event = Event {
        number: number(index).into(),
        register: format!("PCR {}", row.pcr).into(),
        mark: mark(row.status),
        kind: either.map(kind).unwrap_or_default(),
        what: what.into(),
        before: before.into(),
        flagged: is_different(row.status),
        changes: row.changes.iter().map(change).collect(),
        sides: sides(row, names),
        ..Event::default()
    };
    (part, event)
}

fn is_different(status: EventStatus) -> bool {
    matches!(status, EventStatus::Changed | EventStatus::Missing | EventStatus::Added)
}

fn mark(status: EventStatus) -> Mark {
    match status {
        EventStatus::Equal => Mark::new(Tone::Good, "=", "equal"),
        EventStatus::Changed => Mark::new(Tone::Bad, "≠", "changed"),
        EventStatus::Missing => Mark::new(Tone::Bad, "−", "missing"),
        EventStatus::Added => Mark::new(Tone::Bad, "+", "added"),
        EventStatus::NotPredicted => Mark::new(Tone::Plain, "?", "not predicted"),
        EventStatus::Later => Mark::new(Tone::Caution, "»", "later"),
    }
}

fn kind(side: &EventSide) -> Text {
    match (&side.event_type, &side.about) {
        (Some(kind), _) => kind.into(),
        (None, Topic::Other(_)) => Text::default(),
        (None, _) => side.topic.as_str().into(),
    }
}

fn sides(row: &EventRow, names: Names) -> Vec<Side> {
    let data =
        |side: &Option<EventSide>| side.as_ref().and_then(|side| hex::decode(side.data.as_ref()?).ok());
    let (ours, theirs) = (data(&row.expected), data(&row.observed));
    let one = |title, side: &Option<EventSide>, data: &Option<Vec<u8>>, other: &Option<Vec<u8>>| {
        let side = side.as_ref()?;
        let data = data.as_ref().map(|data| bytes(data, other.as_deref()));
        Some(Side { title, facts: facts(side), data })
    };
    // Equal events differ in nothing but where they were found.
    if row.status == EventStatus::Equal {
        let title = if row.expected.is_some() && row.observed.is_some() { "" } else { names.0 };
        return one(title, &row.expected, &ours, &theirs).into_iter().collect();
    }
    let sides = [one(names.0, &row.expected, &ours, &theirs), one(names.1, &row.observed, &theirs, &ours)];
    sides.into_iter().flatten().collect()
}

fn facts(side: &EventSide) -> Vec<Fact> {
    let mut facts = vec![Fact::new("measured", &side.what)];
    facts.extend(side.event_type.as_ref().map(|kind| Fact::code("type", kind)));
    facts.push(Fact::new("about", &side.topic));
    facts.extend(side.stage.map(|stage| Fact::new("stage", stage)));
    facts.extend(side.digest.as_ref().map(|digest| Fact::code("digest", digest)));
    if let Some(origin) = &side.origin {
        facts.push(Fact::code("file", origin.files.join(", ")));
        facts.extend(origin.section.as_ref().map(|section| Fact::code("section", section)));
        facts.extend(origin.offset.map(|offset| Fact::code("offset", format!("{offset:#x}"))));
        facts.extend(origin.length.map(|length| Fact::new("length", format!("{length} bytes"))));
    }
    facts
}

/// Bytes, with what differs from others set apart.
pub(super) fn bytes(data: &[u8], other: Option<&[u8]>) -> Bytes {
    let length = data.len();
    let Some(other) = other.filter(|other| *other != data) else {
        return Bytes { length, before: hex::encode(data).into(), ..Bytes::default() };
    };
    let start = data.iter().zip(other).take_while(|(one, other)| one == other).count();
    let rest = |bytes: &[u8]| bytes.get(start..).unwrap_or_default().to_vec();
    let (mine, theirs) = (rest(data), rest(other));
    let same = mine.iter().rev().zip(theirs.iter().rev()).take_while(|(one, other)| one == other).count();
    let end = length.saturating_sub(same);
    let text = |range: std::ops::Range<usize>| Text::from(hex::encode(data.get(range).unwrap_or_default()));
    Bytes {
        length,
        before: text(0..start),
        changed: text(start..end),
        offset: start,
        after: text(end..length),
    }
}

/// A difference inside an event.
pub(super) fn change(change: &compare::Change) -> Change {
    Change {
        field: change.field.as_str().into(),
        words: words(&change.words),
        expected: change.expected.as_ref().map(Text::from),
        observed: change.observed.as_ref().map(Text::from),
    }
}

/// A text word by word.
pub(super) fn words(words: &[compare::Word]) -> Vec<WordView> {
    let word = |word: &compare::Word| WordView {
        fate: match word.change {
            WordChange::Kept => "kept",
            WordChange::Removed => "removed",
            WordChange::Added => "added",
        },
        text: word.text.as_str().into(),
    };
    words.iter().map(word).collect()
}

/// `4, 9, 11`.
pub(super) fn list(pcrs: impl IntoIterator<Item = impl ToString>) -> String {
    pcrs.into_iter().map(|pcr| pcr.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_differ_are_set_apart() {
        let of = |one: &[u8], other: &[u8]| {
            let bytes = bytes(one, Some(other));
            (bytes.before.to_string(), bytes.changed.to_string(), bytes.after.to_string(), bytes.offset)
        };
        let parts = |a: &str, b: &str, c: &str, offset| (a.to_owned(), b.to_owned(), c.to_owned(), offset);
        assert_eq!(of(&[1, 2, 3, 4], &[1, 9, 3, 4]), parts("01", "02", "0304", 1));
        assert_eq!(of(&[1, 1], &[1, 1, 1]), parts("0101", "", "", 2));
        assert_eq!(of(&[1, 1, 1], &[1, 1]), parts("0101", "01", "", 2));
        assert_eq!(of(&[7], &[7]), parts("07", "", "", 0));
    }
}
