//! Proven values against the policy, then the log against the proven values.

mod events;
mod values;

use std::collections::BTreeSet;

use serde::Serialize;

use super::log::Replayed;
use super::policy::{Accepted, Assumption, Class, ExpectedBoot, Policy};
use super::refusal::{Code, Refusal};
use crate::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues};
use values::{compare_with_boot, compare_with_lists};

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

impl PcrVerdict {
    /// Takes down what speaks against a PCR that does not count.
    fn object(&mut self, finding: &Refusal) {
        if self.verdict == Verdict::Match {
            self.verdict = Verdict::Mismatch;
        }
        let separator = if self.detail.is_empty() { "" } else { "; " };
        self.detail = format!("{}{separator}{}: {}", self.detail, finding.code.name(), finding.detail);
    }
}

/// The outcome of both comparisons.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) pcrs: Vec<PcrVerdict>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) warnings: Vec<Refusal>,
    /// The boot of the policy that it is.
    pub(super) boot: Option<String>,
    /// What that boot takes for granted; `None` when it is no boot of the policy.
    pub(super) assumptions: Option<Vec<Assumption>>,
    /// The banks that decided.
    pub(super) banks: Vec<HashAlgorithm>,
}

/// Judges values that a verified quote covers.
pub(super) fn judge(
    policy: &Policy,
    proven: &PcrValues,
    logs: &[&[u8]],
    masked: &BTreeSet<(usize, u64)>,
) -> Judgement {
    let banks = match deciding_banks(policy, proven) {
        Ok(banks) => banks,
        Err(refusal) => return Judgement::unchecked(policy, refusal),
    };
    let log = match (logs.is_empty(), Replayed::read(logs, Some(masked), &banks)) {
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
            let logged = self.log.map_or(0, |log| log.events(pcr).len());
            if values.is_empty() && class == Class::Ignored && logged == 0 {
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
                Verdict::NotQuoted if logged > 0 => {
                    format!("the log has events of it ({logged}), which no quote covers")
                }
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
            self.out.assumptions = Some(best.assumptions.clone());
        }
        Some(best)
    }

    /// Turns verdicts into refusals and warnings.
    fn report(&mut self, boot: Option<&ExpectedBoot>) {
        let mut refusals = Vec::new();
        let mut aside = Vec::new();
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
                Class::Ignored if verdict.verdict == Verdict::Mismatch => aside.push(finding),
                Class::Ignored => {}
            }
        }
        for finding in aside {
            if let Some(entry) = self.out.pcrs.iter_mut().find(|entry| Some(entry.pcr) == finding.pcr) {
                entry.object(&finding);
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
}
