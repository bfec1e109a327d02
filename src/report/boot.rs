//! The events of a boot under its parts.

use super::text::Text;
use super::timeline::Part;
use super::view::{Boot, Event, PartView};

/// Flagged events that are shown open from the start; a boot of another machine differs everywhere.
const MAX_OPEN: usize = 40;

impl Boot {
    /// Puts events under the parts of the boot, and counts them for the registers. `number` tells boots of a page apart. Beyond `room`
    /// events are left out, and the boot says so.
    #[must_use]
    pub fn with_events(
        mut self,
        events: impl IntoIterator<Item = (Part, Event)>,
        number: usize,
        room: usize,
    ) -> Self {
        let (mut total, mut openings) = (0_usize, MAX_OPEN);
        for (part, mut event) in events {
            total = total.saturating_add(1);
            // Nothing is kept of the others: a log may have millions.
            if total > room {
                continue;
            }
            let view = match self.parts.iter().position(|view| view.part == part) {
                Some(index) => index,
                None => {
                    let id = format!("b{number}-{}", part.id());
                    self.parts.push(PartView { part, id, events: Vec::new(), different: 0 });
                    self.parts.len().saturating_sub(1)
                }
            };
            event.open = event.flagged && openings > 0;
            openings = openings.saturating_sub(usize::from(event.open));
            event.id = format!("b{number}-e{}", event.number);
            if let Some(view) = self.parts.get_mut(view) {
                view.different = view.different.saturating_add(usize::from(event.flagged));
                view.events.push(event);
            }
        }
        self.parts.sort_by_key(|view| view.part);
        if total > room {
            self.remark =
                format!("Shown are the first {room} of {total} events; --json prints all of them.").into();
        }
        let counts = |label: &Text| {
            let of = |view: &PartView| {
                let mine = view.events.iter().filter(|event| event.register == *label);
                (mine.clone().count(), mine.filter(|event| event.flagged).count())
            };
            self.parts.iter().map(of).collect::<Vec<_>>()
        };
        let all: Vec<_> = self.registers.iter().map(|register| counts(&register.label)).collect();
        self.registers.iter_mut().zip(all).for_each(|(register, counts)| register.counts = counts);
        self
    }

    /// How many events are shown.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.parts.iter().map(|view| view.events.len()).sum()
    }

    /// How many of these differ.
    #[must_use]
    pub fn different(&self) -> usize {
        self.parts.iter().map(|view| view.different).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::view::{Mark, Register};

    fn event(number: usize, register: &str, flagged: bool) -> Event {
        Event { number: number.to_string().into(), register: register.into(), flagged, ..Event::default() }
    }

    fn register(label: &str) -> Register {
        Register {
            label: label.into(),
            name: Text::default(),
            mark: Mark::default(),
            detail: Text::default(),
            counts: Vec::new(),
            values: Vec::new(),
            pairs: false,
            notes: Vec::new(),
        }
    }

    #[test]
    fn registers_count_their_events_in_each_part() {
        let boot = Boot { registers: vec![register("PCR 4"), register("PCR 5")], ..Boot::default() };
        let events = vec![
            (Part::Stub, event(3, "PCR 4", true)),
            (Part::Firmware, event(1, "PCR 4", false)),
            (Part::Firmware, event(2, "PCR 5", true)),
        ];
        let boot = boot.with_events(events, 7, 10);
        let parts: Vec<&str> = boot.parts.iter().map(|view| view.id.as_str()).collect();
        assert_eq!(parts, ["b7-firmware", "b7-stub"]);
        let counts: Vec<_> = boot.registers.iter().map(|register| register.counts.clone()).collect();
        assert_eq!(counts, [[(1, 0), (1, 1)], [(1, 1), (0, 0)]]);
        assert!(boot.remark.is_empty());
    }

    #[test]
    fn events_beyond_the_room_are_left_out_and_said_to_be() {
        let events = (1..=100).map(|number| (Part::Firmware, event(number, "PCR 1", true)));
        let boot = Boot::default().with_events(events, 0, 60);
        assert_eq!((boot.event_count(), boot.different()), (60, 60));
        assert_eq!(
            boot.remark.to_string(),
            "Shown are the first 60 of 100 events; --json prints all of them."
        );
        let events: Vec<&Event> = boot.parts.iter().flat_map(|view| &view.events).collect();
        assert_eq!(events.iter().filter(|event| event.open).count(), MAX_OPEN);
    }
}
