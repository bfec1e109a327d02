//! The log against the proven values, and its events against the policy's.

use super::values::compare_with_boot;
use super::{Judge, PcrVerdict, Verdict};
use crate::attest::components::{ProvenBanks, match_events};
use crate::attest::log::{Logged, Replayed};
use crate::attest::policy::{Accepted, Class, ExpectedBoot, ExpectedEvent};
use crate::attest::refusal::{Code, Refusal};
use crate::tcg::{Digest, EventType, HashAlgorithm, PcrIndex};

impl<'a> Judge<'a> {
    /// The first event that is not the boot's, if the log accounts for the value at all.
    pub(super) fn first_difference(&self, pcr: PcrIndex, boot: &ExpectedBoot) -> Option<String> {
        let (log, expected) = (self.log?, boot.events.get(&pcr)?);
        let replays = self.proven(pcr).iter().all(|value| log.value(value.algorithm(), pcr) == Some(*value));
        if !replays {
            return None;
        }
        let logged = log.events(pcr);
        let banks = self.banks_of(pcr);
        let at = (0..logged.len().max(expected.len()))
            .find(|at| !same(logged.get(*at), expected.get(*at), &banks))?;
        let number = at.saturating_add(1);
        Some(match (logged.get(at), expected.get(at)) {
            (Some(event), Some(expected)) => {
                format!(
                    "its event {number} (record {} of log {}) is not '{}'",
                    event.place.1,
                    event.place.0.saturating_add(1),
                    expected.description
                )
            }
            (Some(event), None) => format!(
                "its event {number} (record {} of log {}) is one more than expected",
                event.place.1,
                event.place.0.saturating_add(1)
            ),
            (None, Some(expected)) => format!("its event {number} is missing: '{}'", expected.description),
            (None, None) => return None,
        })
    }

    /// Compares the log with the proven values, and its events with the policy's.
    pub(super) fn log(&mut self) {
        let Some(log) = self.log else {
            if matches!(self.policy.accepted, Accepted::Components(_)) {
                let detail = "the policy is made of events: a log is needed to compare them";
                self.out.refusals.push(Refusal::new(Code::LogMissing, detail));
            }
            return;
        };
        let mut findings = Vec::new();
        for index in 0..self.out.pcrs.len() {
            let Some(verdict) = self.out.pcrs.get(index) else { continue };
            let (pcr, class) = (verdict.pcr, verdict.class);
            if verdict.values.is_empty() {
                continue;
            }
            let replayed =
                verdict.values.iter().all(|value| log.value(value.algorithm(), pcr) == Some(*value));
            let mut finding = self.log_of_pcr(log, verdict, replayed);
            // Where the values differ, that is the reason.
            if finding.is_ok()
                && verdict.verdict != Verdict::Mismatch
                && let Some(what) = log.contradiction(pcr, &self.banks_of(pcr))
            {
                finding = Err(Refusal::of_pcr(Code::EventContradicts, pcr, what));
            }
            let Some(verdict) = self.out.pcrs.get_mut(index) else { continue };
            verdict.replayed = Some(replayed);
            match finding {
                Ok(note) => verdict.detail = note.unwrap_or_else(|| std::mem::take(&mut verdict.detail)),
                // It decides nothing, but whoever reads the result is to see it.
                Err(refusal) if class == Class::Ignored => verdict.object(&refusal),
                Err(refusal) => {
                    verdict.verdict = Verdict::Mismatch;
                    findings.push((class, refusal));
                }
            }
        }
        for (class, refusal) in findings {
            match class {
                Class::Enforced => self.out.refusals.push(refusal),
                _ => self.out.warnings.push(refusal),
            }
        }
        self.components(log);
    }

    /// `Ok` with a note where the log may end early: user space extended the rest.
    fn log_of_pcr(
        &self,
        log: &Replayed,
        verdict: &PcrVerdict,
        replayed: bool,
    ) -> Result<Option<String>, Refusal> {
        let (pcr, values) = (verdict.pcr, &verdict.values);
        let boot = self.matched_boot();
        let expected = boot.and_then(|boot| boot.events.get(&pcr));
        let logged = log.events(pcr);
        let banks = self.banks_of(pcr);
        if replayed {
            // The values agree, so that the events do; said nevertheless, so that no collision or start value hides one.
            let differs = expected.is_some_and(|expected| {
                logged.len() != expected.len()
                    || logged.iter().zip(expected).any(|(one, other)| !same(Some(one), Some(other), &banks))
            });
            return match expected {
                // Of a value that differs, that was said.
                _ if verdict.verdict != Verdict::Match => Ok(None),
                _ if differs => {
                    Err(Refusal::of_pcr(Code::EventMismatch, pcr, "the events are not those of the policy"))
                }
                Some(expected) => self.labels(pcr, logged, expected).map(|()| None),
                None => Ok(None),
            };
        }
        if let Some(expected) = expected {
            let (first, rest) = expected.split_at(logged.len().min(expected.len()));
            let begins = logged.len() <= expected.len()
                && logged.iter().zip(first).all(|(one, other)| same(Some(one), Some(other), &banks));
            if begins && rest.iter().all(|event| event.by_user_space) {
                self.labels(pcr, logged, first)?;
                let note = format!(
                    "{} events of user space are not in the log; the policy accounts for them",
                    rest.len()
                );
                return Ok(Some(note));
            }
        }
        let text: Vec<String> = values
            .iter()
            .filter_map(|value| log.value(value.algorithm(), pcr))
            .map(|digest| format!("{digest:?}"))
            .collect();
        Err(Refusal::of_pcr(Code::LogMismatch, pcr, format!("the log replays to {}", text.join(" "))))
    }

    /// Whether events, whose digests are those of the policy, call themselves what the policy calls them. No digest covers
    /// the type: a log that lies about it leads whoever reads it astray, and no firmware wrote it.
    fn labels(&self, pcr: PcrIndex, logged: &[Logged], expected: &[ExpectedEvent]) -> Result<(), Refusal> {
        let Some((at, (event, expected))) = (1_usize..)
            .zip(logged.iter().zip(expected))
            .find(|(_, (event, expected))| is_relabelled(event, expected))
        else {
            return Ok(());
        };
        // Several boots may have the same values, with events of other types.
        let Accepted::Boots(boots) = &self.policy.accepted else { return Ok(()) };
        let banks = self.banks_of(pcr);
        let labelled_so = |boot: &ExpectedBoot| {
            let events = boot.events.get(&pcr).map_or(&[][..], Vec::as_slice);
            self.fits(boot)
                && events.len() >= logged.len()
                && logged
                    .iter()
                    .zip(events)
                    .all(|(one, other)| same(Some(one), Some(other), &banks) && !is_relabelled(one, other))
        };
        if boots.iter().any(labelled_so) {
            return Ok(());
        }
        let kind = |kind: Option<EventType>| kind.map_or_else(String::new, |kind| kind.to_string());
        let detail = format!(
            "its event {at} (record {} of log {}) says that it is {}, the policy has {} for '{}'",
            event.place.1,
            event.place.0.saturating_add(1),
            kind(event.kind),
            kind(expected.kind),
            expected.description
        );
        Err(Refusal::of_pcr(Code::EventRelabelled, pcr, detail))
    }

    /// All enforced PCRs are of this boot.
    fn fits(&self, boot: &ExpectedBoot) -> bool {
        self.policy
            .pcrs(Class::Enforced)
            .all(|pcr| compare_with_boot(Some(boot), pcr, &self.proven(pcr)).0 == Verdict::Match)
    }

    /// The banks in which this PCR itself was quoted: those of other PCRs prove nothing about its events.
    fn banks_of(&self, pcr: PcrIndex) -> Vec<HashAlgorithm> {
        self.proven(pcr).iter().map(Digest::algorithm).collect()
    }

    fn matched_boot(&self) -> Option<&'a ExpectedBoot> {
        let (Accepted::Boots(boots), Some(name)) = (&self.policy.accepted, &self.out.boot) else {
            return None;
        };
        boots.iter().find(|boot| boot.name == *name)
    }

    /// A policy made of events: its values follow from the log that was just compared.
    fn components(&mut self, log: &Replayed) {
        let Accepted::Components(components) = &self.policy.accepted else { return };
        let replays = |pcr: PcrIndex, value: &Digest| log.value(value.algorithm(), pcr) == Some(*value);
        let banks = |pcr: PcrIndex| {
            let values = self.proven(pcr).into_iter().filter(|value| replays(pcr, value));
            (pcr, values.map(|value| value.algorithm()).collect())
        };
        let enforced: ProvenBanks = self.policy.pcrs(Class::Enforced).map(banks).collect();
        let result = match_events(components, &enforced, log);
        let verdict = if result.is_ok() { Verdict::Match } else { Verdict::Mismatch };
        for entry in self.out.pcrs.iter_mut().filter(|entry| enforced.contains_key(&entry.pcr)) {
            if entry.verdict == Verdict::NotChecked {
                entry.verdict = verdict;
            }
        }
        if let Err(unmatched) = result {
            self.out.refusals.push(Refusal {
                code: Code::EventMismatch,
                pcr: unmatched.pcr,
                detail: unmatched.detail,
            });
        }
    }
}

/// Both sides know a type, and these are not two words for one thing.
fn is_relabelled(logged: &Logged, expected: &ExpectedEvent) -> bool {
    let (Some(one), Some(other)) = (logged.kind, expected.kind) else { return false };
    !one.is_another_word_for(other)
}

fn same(logged: Option<&Logged>, expected: Option<&ExpectedEvent>, banks: &[HashAlgorithm]) -> bool {
    let (Some(logged), Some(expected)) = (logged, expected) else { return false };
    let mut compared = false;
    for bank in banks {
        let (Some(one), Some(other)) = (logged.digest(*bank), expected.digests.get(*bank)) else { continue };
        if one != other {
            return false;
        }
        compared = true;
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::DigestSet;

    /// Which words are for one thing is the specification's matter: PFP 1.06, section 10.4.1.
    #[test]
    fn two_words_for_one_measurement_are_no_lie() {
        let relabelled = |logged: u32, expected: Option<u32>| {
            let logged = Logged { place: (0, 0), kind: Some(EventType(logged)), digests: Vec::new() };
            let expected = ExpectedEvent {
                digests: DigestSet::default(),
                description: String::new(),
                kind: expected.map(EventType),
                by_user_space: false,
            };
            is_relabelled(&logged, &expected)
        };
        for (one, other) in [
            (0x8000_0008, 0x8000_000A),
            (0x8000_0009, 0x8000_000B),
            (0x8000_0002, 0x8000_000C),
            (0x8000_0006, 0x8000_000D),
            (1, 0x13),
            (7, 0x8000_000A),
        ] {
            assert!(!relabelled(one, Some(other)) && !relabelled(other, Some(one)), "{one:#x} {other:#x}");
            assert!(relabelled(one, Some(4)) && !relabelled(one, None), "{one:#x}");
        }
        assert!(relabelled(0x8000_0003, Some(0x8000_0004)));
        assert!(relabelled(0x8000_000B, Some(0x8000_000A)));
    }
}
