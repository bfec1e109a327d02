//! Policies as the expected side: whole boots, lists for each PCR, or records.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use super::Topic;
use super::model::{Candidate, Event, Expectation, ExpectedPcr, ExpectedValue, Kind, Observation};
use crate::import::{Accepts, Boot, Component, PolicyValues, Record};
use crate::tcg::{Digest, DigestSet, PcrIndex, extend};

/// Most boots that components with alternatives are multiplied out to. More is left to the records that the log has.
const MAX_COMBINATIONS: usize = 256;

/// What a policy expects. Components with alternatives become every boot that they allow; `observed` decides among
/// them where there are too many.
#[must_use]
pub fn expectation_of_policy(
    name: &str,
    policy: &PolicyValues,
    observed: Option<&Observation>,
) -> Expectation {
    let candidates = match &policy.accepts {
        Accepts::Boots(boots) => boots.iter().map(of_boot).collect(),
        Accepts::PerPcr(lists) => vec![of_lists(lists)],
        Accepts::Components(components) => of_components(components, observed),
    };
    Expectation {
        name: name.to_owned(),
        kind: Kind::Policy,
        format: policy.format.to_owned(),
        registers: crate::tcg::eventlog::RegisterKind::Pcr,
        candidates,
    }
}

fn of_boot(boot: &Boot) -> Candidate {
    let pcrs = boot.values.iter().map(|(pcr, value)| {
        let values = vec![ExpectedValue { stage: None, digests: value.digests.clone() }];
        (*pcr, ExpectedPcr { values, warn_only: value.warn_only, ..ExpectedPcr::default() })
    });
    Candidate { id: boot.name.clone(), pcrs: pcrs.collect(), ..Candidate::default() }
}

fn of_lists(lists: &BTreeMap<PcrIndex, BTreeSet<Digest>>) -> Candidate {
    let value = |digest: &Digest| ExpectedValue { stage: None, digests: [*digest].into_iter().collect() };
    let pcrs = lists.iter().map(|(pcr, digests)| {
        (*pcr, ExpectedPcr { values: digests.iter().map(value).collect(), ..ExpectedPcr::default() })
    });
    Candidate { pcrs: pcrs.collect(), ..Candidate::default() }
}

/// One way to go through the components.
type Way<'c> = Vec<&'c [Record]>;

fn of_components(components: &[Component], observed: Option<&Observation>) -> Vec<Candidate> {
    let mut ways: Vec<Way<'_>> = vec![Vec::new()];
    for component in components {
        let mut choices: Vec<&[Record]> = component.variants.iter().map(Vec::as_slice).collect();
        if component.optional {
            choices.push(&[]);
        }
        if ways.len().saturating_mul(choices.len()) > MAX_COMBINATIONS {
            choices = vec![likely(&choices, observed)];
        }
        ways = ways
            .iter()
            .flat_map(|way| choices.iter().map(move |choice| [way.as_slice(), &[choice]].concat()))
            .collect();
    }
    ways.iter().map(|way| of_way(way)).collect()
}

/// The alternative of which the log has most records; without a log the first one.
fn likely<'c>(choices: &[&'c [Record]], observed: Option<&Observation>) -> &'c [Record] {
    let events = observed.and_then(|observed| observed.events.as_deref()).unwrap_or_default();
    let has = |record: &Record| {
        let mut digests = record.digests.iter();
        digests.any(|digest| {
            let same = |event: &Event| event.digests.get(digest.algorithm()) == Some(digest);
            events.iter().any(|event| event.pcr == record.pcr && same(event))
        })
    };
    // Missing records count against an alternative, or else the longest one would always win.
    let score = |choice: &&&[Record]| {
        let found = i64::try_from(choice.iter().filter(|record| has(record)).count()).unwrap_or(0);
        found.saturating_mul(2).saturating_sub(i64::try_from(choice.len()).unwrap_or(0))
    };
    // max_by_key takes the last of equals.
    choices.iter().rev().max_by_key(score).copied().unwrap_or_default()
}

fn of_way(way: &[&[Record]]) -> Candidate {
    let mut values: BTreeMap<PcrIndex, DigestSet> = BTreeMap::new();
    let mut events = Vec::new();
    for record in way.iter().flat_map(|records| records.iter()) {
        let before = values.get(&record.pcr);
        // A bank that one record lacks has no value.
        let after = record.digests.iter().filter_map(|digest| {
            let bank = digest.algorithm();
            let old = match before {
                Some(before) => before.get(bank)?,
                None => record.pcr.start_value(bank),
            };
            Some(extend(old, digest))
        });
        let after = after.collect();
        values.insert(record.pcr, after);
        events.push(event(record));
    }
    let pcrs = values.into_iter().map(|(pcr, digests)| {
        let values = vec![ExpectedValue { stage: None, digests }];
        (pcr, ExpectedPcr { values, ..ExpectedPcr::default() })
    });
    Candidate { events: Some(events), pcrs: pcrs.collect(), ..Candidate::default() }
}

fn event(record: &Record) -> Event {
    Event {
        pcr: record.pcr,
        stage: None,
        event_type: None,
        digests: record.digests.clone(),
        data: None,
        what: record.description.clone(),
        topic: Topic::of_word(record.pcr, &record.description),
        origin: None,
    }
}
