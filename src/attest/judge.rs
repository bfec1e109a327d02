//! Proven values against the policy, then the log against the proven values.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

use super::components::match_events;
use super::log::Replayed;
use super::policy::{Accepted, Class, ExpectedBoot, ExpectedEvent, Policy};
use super::refusal::{Code, Refusal};
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues};

/// What came out for a PCR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As the policy has it.
    Match,
    /// Another value, or other events.
    Mismatch,
    /// It was not quoted, or in no bank that counts.
    NotQuoted,
    /// The policy has no value for it.
    NotInPolicy,
    /// Nothing was proven about it.
    NotChecked,
}

/// One PCR of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrVerdict {
    /// The register.
    pub pcr: PcrIndex,
    /// What a deviation would have led to.
    pub class: Class,
    /// What came out.
    pub verdict: Verdict,
    /// The proven values, by bank.
    pub values: Vec<Digest>,
    /// What the boot that fits best has, where it differs.
    pub expected: Vec<Digest>,
    /// The log replays to the value; `None` without a log.
    pub replayed: Option<bool>,
    /// More about it; may be empty.
    pub detail: String,
}

/// The outcome of both comparisons.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) pcrs: Vec<PcrVerdict>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) warnings: Vec<Refusal>,
    /// The boot of the policy that it is.
    pub(super) boot: Option<String>,
    /// The banks that decided.
    pub(super) banks: Vec<HashAlgorithm>,
}

/// Judges values that a verified quote covers.
pub(super) fn judge(policy: &Policy, proven: &PcrValues, logs: &[&[u8]]) -> Judgement {
    let banks = match deciding_banks(policy, proven) {
        Ok(banks) => banks,
        Err(refusal) => return Judgement::unchecked(policy, refusal),
    };
    let log = match (logs.is_empty(), Replayed::read(logs, &banks)) {
        (true, _) => None,
        (false, Ok(log)) => Some(log),
        (false, Err(refusal)) => return Judgement::unchecked(policy, refusal),
    };
    let mut judge = Judge { policy, proven, banks: &banks, log: log.as_ref(), out: Judgement::default() };
    judge.values();
    judge.log();
    let mut out = judge.out;
    out.banks = banks;
    out
}

/// The banks that were quoted, that the policy has values in, and that are strong enough.
fn deciding_banks(policy: &Policy, proven: &PcrValues) -> Result<Vec<HashAlgorithm>, Refusal> {
    let quoted: BTreeSet<HashAlgorithm> = proven.banks().map(|(bank, _)| bank).collect();
    let strong = |bank: &HashAlgorithm| policy.allow_sha1 || *bank != HashAlgorithm::Sha1;
    if !quoted.is_empty() && !quoted.iter().any(strong) {
        return Err(Refusal::new(
            Code::BankWeak,
            "only SHA-1 PCRs are quoted, which others can be made to equal",
        ));
    }
    let known = policy.banks();
    let banks: Vec<HashAlgorithm> =
        quoted.iter().copied().filter(strong).filter(|bank| known.contains(bank)).collect();
    if banks.is_empty() {
        let list = |banks: &BTreeSet<HashAlgorithm>| {
            banks.iter().map(|bank| bank.name()).collect::<Vec<_>>().join(", ")
        };
        let detail = format!("quoted: {}; in the policy: {}", list(&quoted), list(&known));
        return Err(Refusal::new(Code::BankNotInPolicy, detail));
    }
    Ok(banks)
}

impl Judgement {
    /// Nothing can be compared.
    pub(super) fn unchecked(policy: &Policy, refusal: Refusal) -> Self {
        let pcrs = PcrIndex::all().filter(|pcr| policy.class(*pcr) != Class::Ignored);
        let verdict = |pcr| PcrVerdict {
            pcr,
            class: policy.class(pcr),
            verdict: Verdict::NotChecked,
            values: Vec::new(),
            expected: Vec::new(),
            replayed: None,
            detail: String::new(),
        };
        Self { pcrs: pcrs.map(verdict).collect(), refusals: vec![refusal], ..Self::default() }
    }
}

struct Judge<'a> {
    policy: &'a Policy,
    proven: &'a PcrValues,
    banks: &'a [HashAlgorithm],
    log: Option<&'a Replayed>,
    out: Judgement,
}

impl<'a> Judge<'a> {
    fn proven(&self, pcr: PcrIndex) -> Vec<Digest> {
        self.banks.iter().filter_map(|bank| self.proven.get(*bank, pcr)).collect()
    }

    /// Compares values: first which boot it is, then each PCR with that boot.
    fn values(&mut self) {
        let policy = self.policy;
        let boot = match &policy.accepted {
            Accepted::Boots(boots) => self.choose(boots),
            Accepted::PerPcr(_) | Accepted::Components(_) => None,
        };
        for pcr in PcrIndex::all() {
            let values = self.proven(pcr);
            let class = policy.class(pcr);
            if values.is_empty() && class == Class::Ignored {
                continue;
            }
            let (verdict, expected) = match &policy.accepted {
                Accepted::Boots(_) => compare_with_boot(boot, pcr, &values),
                Accepted::PerPcr(lists) => compare_with_lists(lists, pcr, &values),
                // The events decide.
                Accepted::Components(_) => (Verdict::NotChecked, Vec::new()),
            };
            let verdict = match (values.is_empty(), class) {
                (true, _) => Verdict::NotQuoted,
                (false, Class::Ignored) if verdict == Verdict::Match => Verdict::Match,
                (false, _) => verdict,
            };
            let detail = match verdict {
                Verdict::NotInPolicy => policy.unknown.get(&pcr).cloned().unwrap_or_default(),
                _ => String::new(),
            };
            self.out.pcrs.push(PcrVerdict { pcr, class, verdict, values, expected, replayed: None, detail });
        }
        self.report(boot);
    }

    /// The boot that all enforced PCRs are of; else the one that most of them are of.
    fn choose(&mut self, boots: &'a [ExpectedBoot]) -> Option<&'a ExpectedBoot> {
        let enforced: Vec<(PcrIndex, Vec<Digest>)> =
            self.policy.pcrs(Class::Enforced).map(|pcr| (pcr, self.proven(pcr))).collect();
        let warned: Vec<(PcrIndex, Vec<Digest>)> =
            self.policy.pcrs(Class::Warned).map(|pcr| (pcr, self.proven(pcr))).collect();
        let matches = |boot: &ExpectedBoot, pcrs: &[(PcrIndex, Vec<Digest>)]| {
            pcrs.iter()
                .filter(|(pcr, values)| compare_with_boot(Some(boot), *pcr, values).0 == Verdict::Match)
                .count()
        };
        // The first of equals.
        let best =
            boots.iter().rev().max_by_key(|boot| (matches(boot, &enforced), matches(boot, &warned)))?;
        if matches(best, &enforced) == enforced.len() {
            self.out.boot = Some(best.name.clone());
        }
        Some(best)
    }

    /// Turns verdicts into refusals and warnings.
    fn report(&mut self, boot: Option<&ExpectedBoot>) {
        let mut refusals = Vec::new();
        for verdict in &self.out.pcrs {
            let pcr = verdict.pcr;
            let finding = match verdict.verdict {
                Verdict::NotQuoted => Refusal::of_pcr(
                    Code::PcrNotQuoted,
                    pcr,
                    "the quote has no value of it in a bank that decides",
                ),
                Verdict::Mismatch => self.mismatch(verdict, boot),
                Verdict::NotInPolicy => {
                    Refusal::of_pcr(Code::PcrMismatch, pcr, "the policy has no value for it")
                }
                Verdict::Match | Verdict::NotChecked => continue,
            };
            match verdict.class {
                Class::Enforced => refusals.push(finding),
                Class::Warned => self.out.warnings.push(finding),
                Class::Ignored => {}
            }
        }
        if let Some(mixed) = self.mixed(&refusals) {
            self.out.refusals.push(mixed);
        }
        self.out.refusals.extend(refusals);
    }

    fn mismatch(&self, verdict: &PcrVerdict, boot: Option<&ExpectedBoot>) -> Refusal {
        let text = |digests: &[Digest]| {
            digests.iter().map(|digest| format!("{digest:?}")).collect::<Vec<_>>().join(" ")
        };
        let mut detail = format!("is {}, expected {}", text(&verdict.values), text(&verdict.expected));
        if let Some(why) = boot.and_then(|boot| self.first_difference(verdict.pcr, boot)) {
            detail = format!("{detail}; {why}");
        }
        let is_it = |boot: &&ExpectedBoot| {
            compare_with_boot(Some(boot), verdict.pcr, &verdict.values).0 == Verdict::Match
        };
        if let Some(other) = self.policy.elsewhen.iter().find(is_it) {
            detail = format!("{detail}; it is that of {}, which is not accepted", other.name);
        }
        Refusal::of_pcr(Code::PcrMismatch, verdict.pcr, detail)
    }

    /// Every enforced PCR is that of some boot, but no boot has them all.
    fn mixed(&self, refusals: &[Refusal]) -> Option<Refusal> {
        let Accepted::Boots(boots) = &self.policy.accepted else { return None };
        let of_some = |pcr: PcrIndex| {
            let values = self.proven(pcr);
            boots.iter().any(|boot| compare_with_boot(Some(boot), pcr, &values).0 == Verdict::Match)
        };
        let differs = refusals.iter().any(|refusal| refusal.code == Code::PcrMismatch);
        if !differs || !self.policy.pcrs(Class::Enforced).all(of_some) {
            return None;
        }
        let detail = "each PCR is that of some boot in the policy, but no boot has all of them together";
        Some(Refusal::new(Code::BootsMixed, detail))
    }

    /// The first event that is not the boot's, if the log accounts for the value at all.
    fn first_difference(&self, pcr: PcrIndex, boot: &ExpectedBoot) -> Option<String> {
        let (log, expected) = (self.log?, boot.events.get(&pcr)?);
        let replays = self.proven(pcr).iter().all(|value| log.value(value.algorithm(), pcr) == Some(*value));
        if !replays {
            return None;
        }
        let logged = log.events(pcr);
        let at = (0..logged.len().max(expected.len()))
            .find(|at| !same(logged.get(*at), expected.get(*at), self.banks))?;
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
    fn log(&mut self) {
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
            let finding = self.log_of_pcr(log, verdict, replayed);
            let Some(verdict) = self.out.pcrs.get_mut(index) else { continue };
            verdict.replayed = Some(replayed);
            match finding {
                Ok(note) => verdict.detail = note.unwrap_or_else(|| std::mem::take(&mut verdict.detail)),
                Err(_) if class == Class::Ignored => {}
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
        if replayed {
            // The values agree, so that the events do; said nevertheless, so that no collision or start value hides one.
            let differs = expected.is_some_and(|expected| {
                logged.len() != expected.len()
                    || logged
                        .iter()
                        .zip(expected)
                        .any(|(one, other)| !same(Some(one), Some(other), self.banks))
            });
            // Of a value that differs, that was said.
            return if differs && verdict.verdict == Verdict::Match {
                Err(Refusal::of_pcr(Code::EventMismatch, pcr, "the events are not those of the policy"))
            } else {
                Ok(None)
            };
        }
        if let Some(expected) = expected {
            let (first, rest) = expected.split_at(logged.len().min(expected.len()));
            let begins = logged.len() <= expected.len()
                && logged.iter().zip(first).all(|(one, other)| same(Some(one), Some(other), self.banks));
            if begins && rest.iter().all(|event| event.by_user_space) {
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

    fn matched_boot(&self) -> Option<&'a ExpectedBoot> {
        let (Accepted::Boots(boots), Some(name)) = (&self.policy.accepted, &self.out.boot) else {
            return None;
        };
        boots.iter().find(|boot| boot.name == *name)
    }

    /// A policy made of events: its values follow from the log that was just compared.
    fn components(&mut self, log: &Replayed) {
        let Accepted::Components(components) = &self.policy.accepted else { return };
        let enforced: Vec<PcrIndex> = self.policy.pcrs(Class::Enforced).collect();
        let result = match_events(components, &enforced, log, self.banks);
        let verdict = if result.is_ok() { Verdict::Match } else { Verdict::Mismatch };
        for entry in self.out.pcrs.iter_mut().filter(|entry| enforced.contains(&entry.pcr)) {
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

fn same(
    logged: Option<&super::log::Logged>,
    expected: Option<&ExpectedEvent>,
    banks: &[HashAlgorithm],
) -> bool {
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

/// Every value that both sides have agrees, and there is at least one.
fn compare_with_boot(
    boot: Option<&ExpectedBoot>,
    pcr: PcrIndex,
    values: &[Digest],
) -> (Verdict, Vec<Digest>) {
    let Some(expected) = boot.and_then(|boot| boot.values.get(&pcr)) else {
        return (Verdict::NotInPolicy, Vec::new());
    };
    let pairs: Vec<(Digest, Digest)> =
        values.iter().filter_map(|value| Some((*value, expected.get(value.algorithm())?))).collect();
    if pairs.is_empty() {
        return (Verdict::NotInPolicy, Vec::new());
    }
    if pairs.iter().all(|(value, expected)| value == expected) {
        return (Verdict::Match, Vec::new());
    }
    (Verdict::Mismatch, pairs.into_iter().map(|(_, expected)| expected).collect())
}

fn compare_with_lists(
    lists: &BTreeMap<PcrIndex, BTreeSet<Digest>>,
    pcr: PcrIndex,
    values: &[Digest],
) -> (Verdict, Vec<Digest>) {
    let Some(list) = lists.get(&pcr) else { return (Verdict::NotInPolicy, Vec::new()) };
    let of_bank = |value: &Digest| list.iter().any(|digest| digest.algorithm() == value.algorithm());
    let comparable: Vec<&Digest> = values.iter().filter(|value| of_bank(value)).collect();
    if comparable.is_empty() {
        return (Verdict::NotInPolicy, Vec::new());
    }
    if comparable.iter().all(|value| list.contains(value)) {
        return (Verdict::Match, Vec::new());
    }
    (Verdict::Mismatch, list.iter().take(4).copied().collect())
}
