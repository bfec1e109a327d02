//! From documents to boots whose values may be written: merging, choosing, and leaving out what is not known.

use std::collections::BTreeSet;

use super::exporter::{BankRule, Content, ExportError, Exporter, StageRule};
use super::load::Loaded;
use super::merge::{Merged, merge};
use super::options::Options;
use super::release::{Accepted, Dropped, Export, Release, Value};
use crate::boot::Stage;
use crate::reference::{Document, PcrEntry};
use crate::sign::Signer;
use crate::tcg::HashAlgorithm;

/// What is asked for.
#[derive(Default)]
pub struct Request<'a> {
    /// Another moment than the format's own.
    pub stage: Option<Stage>,
    /// Another bank than the format's own.
    pub bank: Option<HashAlgorithm>,
    /// Only these variants; all when empty.
    pub variants: Vec<String>,
    /// Only these PCRs; all that the format carries when empty.
    pub pcrs: BTreeSet<u8>,
    /// Assumptions that somebody vouches for.
    pub accepted: Accepted,
    /// The format's own options.
    pub options: Options,
    /// The key that signs.
    pub signer: Option<&'a dyn Signer>,
    /// Only this file of a format that has several.
    pub part: Option<String>,
}

/// Merges documents and selects what a format may carry.
///
/// A PCR is taken when its value at the stage is computed or observed. One that is a start value only by assumption is
/// enforced when every assumption that it rests on was accepted; otherwise it is written as a warning where the format
/// has that, and left out elsewhere. Nothing else is ever written.
///
/// # Errors
/// [`ExportError`]: what was asked for is not there, contradicts itself, or would accept any machine.
pub fn select<'d>(
    exporter: &'static Exporter,
    documents: &'d [Loaded],
    request: &'d Request<'d>,
) -> Result<Export<'d>, ExportError> {
    request.options.check(exporter.name, exporter.options)?;
    let stages = stages(exporter, documents, request.stage)?;
    let banks = banks(exporter, documents, request.bank)?;
    let pcrs = pcrs(exporter, &request.pcrs)?;
    let Merged { releases, notes } = merge(documents)?;
    let mut releases = choose(releases, &request.variants)?;
    check_accepted(&releases, &request.accepted)?;
    let last = stages.last().copied().unwrap_or_default();
    for release in &mut releases {
        fill(release, exporter, last, &pcrs, &request.accepted);
    }
    let export = Export {
        exporter,
        releases,
        stages,
        chosen_stage: request.stage.is_some(),
        banks,
        pcrs,
        chosen_pcrs: !request.pcrs.is_empty(),
        chosen_variants: !request.variants.is_empty(),
        options: &request.options,
        signer: request.signer,
        accepted: &request.accepted,
        part: request.part.as_deref(),
        notes,
    };
    for release in &export.releases {
        release.demand_measured()?;
    }
    Ok(export)
}

fn stages(
    exporter: &Exporter,
    documents: &[Loaded],
    asked: Option<Stage>,
) -> Result<Vec<Stage>, ExportError> {
    let stages = match (asked, exporter.stage) {
        (Some(asked), StageRule::Fixed(stage)) if asked != stage => {
            let (expected, asked) = (format!("stage {stage}"), asked.to_string());
            return Err(ExportError::Fixed { format: exporter.name, expected, asked });
        }
        (Some(asked), _) => vec![asked],
        (None, rule) => rule.default_stages(),
    };
    for stage in &stages {
        let has = |document: &Document| document.stages.iter().any(|entry| entry.id == stage.name());
        if !documents.iter().all(|loaded| has(&loaded.document)) {
            return Err(ExportError::NoSuchStage(*stage));
        }
    }
    Ok(stages)
}

fn banks(
    exporter: &Exporter,
    documents: &[Loaded],
    asked: Option<HashAlgorithm>,
) -> Result<Vec<HashAlgorithm>, ExportError> {
    let first = documents.first().ok_or(ExportError::NoDocument)?;
    if let Some(without) = documents.iter().find(|loaded| !loaded.document.has_pcrs()) {
        return Err(ExportError::NoPcrs { file: without.file.clone() });
    }
    let set = |loaded: &Loaded| loaded.document.banks.iter().cloned().collect::<BTreeSet<_>>();
    if let Some(other) = documents.iter().find(|other| set(other) != set(first)) {
        return Err(ExportError::MixedBanks {
            one: first.file.clone(),
            banks_of_one: first.document.banks.join(", "),
            other: other.file.clone(),
            banks_of_other: other.document.banks.join(", "),
        });
    }
    let wanted = match (asked, exporter.bank) {
        (Some(asked), BankRule::Fixed(bank)) if asked != bank => {
            let (expected, asked) = (format!("bank {bank}"), asked.to_string());
            return Err(ExportError::Fixed { format: exporter.name, expected, asked });
        }
        (Some(bank), _) | (None, BankRule::One(bank) | BankRule::Fixed(bank)) => vec![bank],
        (None, BankRule::All) => {
            let banks = HashAlgorithm::ALL.into_iter();
            banks.filter(|bank| first.document.banks.iter().any(|name| name == bank.name())).collect()
        }
    };
    match wanted.iter().find(|bank| !first.document.banks.iter().any(|name| name == bank.name())) {
        Some(bank) => Err(ExportError::NoSuchBank {
            format: exporter.name,
            bank: *bank,
            available: first.document.banks.clone(),
        }),
        None => Ok(wanted),
    }
}

fn pcrs(exporter: &Exporter, asked: &BTreeSet<u8>) -> Result<BTreeSet<u8>, ExportError> {
    if let Some(pcr) = asked.iter().find(|pcr| !exporter.pcrs.contains(pcr)) {
        let carries = exporter.pcrs.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        return Err(ExportError::NotCarried { format: exporter.name, pcr: *pcr, carries });
    }
    let default = if exporter.default_pcrs.is_empty() { exporter.pcrs } else { exporter.default_pcrs };
    if asked.is_empty() { Ok(default.iter().copied().collect()) } else { Ok(asked.clone()) }
}

fn choose<'d>(releases: Vec<Release<'d>>, wanted: &[String]) -> Result<Vec<Release<'d>>, ExportError> {
    let available: Vec<String> = releases.iter().map(|release| release.id.clone()).collect();
    if let Some(wanted) = wanted.iter().find(|id| !available.contains(id)) {
        return Err(ExportError::NoSuchVariant { wanted: wanted.clone(), available });
    }
    if releases.is_empty() {
        return Err(ExportError::NoDocument);
    }
    let chosen = |release: &Release<'_>| wanted.is_empty() || wanted.contains(&release.id);
    Ok(releases.into_iter().filter(chosen).collect())
}

/// A name that nobody uses is a slip of the pen, or an assumption that no longer is made.
fn check_accepted(releases: &[Release<'_>], accepted: &Accepted) -> Result<(), ExportError> {
    let assumptions = releases.iter().flat_map(|release| &release.scenario.assumptions);
    let available: BTreeSet<&str> = assumptions.map(|assumption| assumption.id.as_str()).collect();
    match accepted.ids.iter().find(|id| !available.contains(id.as_str())) {
        Some(wanted) => Err(ExportError::NoSuchAssumption {
            wanted: wanted.clone(),
            available: available.into_iter().map(str::to_owned).collect(),
        }),
        None => Ok(()),
    }
}

fn fill(
    release: &mut Release<'_>,
    exporter: &Exporter,
    stage: Stage,
    pcrs: &BTreeSet<u8>,
    accepted: &Accepted,
) {
    for pcr in pcrs {
        match release.variant.pcrs.iter().find(|entry| entry.index == *pcr) {
            None => release.drop(*pcr, "the document does not mention it"),
            Some(entry) => match judge(entry, exporter, stage, accepted) {
                Ok((value, reason)) => {
                    release.values.insert(*pcr, value);
                    if let Some(reason) = reason {
                        release.drop(*pcr, reason);
                    }
                }
                Err(reason) => release.drop(*pcr, reason),
            },
        }
    }
}

impl Release<'_> {
    fn drop(&mut self, pcr: u8, reason: impl Into<String>) {
        self.dropped.push(Dropped { pcr, reason: reason.into() });
    }
}

impl Release<'_> {
    /// Start values are those of any machine that does nothing: a boot that enforces only such accepts them all.
    ///
    /// # Errors
    /// [`ExportError::NothingEnforced`].
    pub(super) fn demand_measured(&self) -> Result<(), ExportError> {
        if self.values.values().any(Value::is_measured) {
            return Ok(());
        }
        let mut reasons: Vec<(u8, String)> =
            self.dropped.iter().map(|dropped| (dropped.pcr, dropped.reason.clone())).collect();
        let start = self.values.iter().filter(|(_, value)| value.enforced);
        reasons.extend(
            start.map(|(pcr, _)| (*pcr, "a start value, which says nothing of what was booted".to_owned())),
        );
        reasons.sort();
        let reasons = reasons.into_iter().map(|(pcr, reason)| format!("PCR {pcr}: {reason}")).collect();
        Err(ExportError::NothingEnforced { variant: self.id.clone(), reasons })
    }
}

/// The value to write, with a reason when it is not enforced; or the reason why there is none.
///
/// A value is the digest of everything that was extended, so only a boot that measured exactly this has it. Where an
/// assumption under a computed or observed value fails, the machine measures something else and is refused: nothing bad is
/// accepted, and nobody has to vouch for it. (One that no enforced value rests on may fail unseen, see
/// [`Release::enforced_under`].) A start value is another matter: nothing but the assumptions speaks for it, so that
/// enforcing it is enforcing them, and somebody has to vouch for each.
fn judge<'d>(
    entry: &'d PcrEntry,
    exporter: &Exporter,
    stage: Stage,
    accepted: &Accepted,
) -> Result<(Value<'d>, Option<String>), String> {
    let Some(value) = entry.values.iter().find(|value| value.stage == stage.name()) else {
        let gaps = entry.gaps.iter().map(|gap| match gap.remedy.as_str() {
            "" => gap.reason.clone(),
            remedy => format!("{} ({remedy})", gap.reason),
        });
        let gaps = gaps.collect::<Vec<_>>().join("; ");
        return Err(format!("not known at {stage}: {gaps}"));
    };
    let taken =
        Value { digests: &value.digests, status: &value.status, assumes: &entry.assumes, enforced: true };
    match value.status.as_str() {
        "computed" | "observed"
            if exporter.content == Content::Events && entry.startup_locality.is_some() =>
        {
            Err("it does not start at zeros, and this format has events only".to_owned())
        }
        "computed" | "observed" => Ok((taken, None)),
        "assumed-unused" if exporter.content == Content::Events => {
            Err("nothing is known to extend it, and this format can't say that a register is untouched"
                .to_owned())
        }
        "assumed-unused" if accepted.covers(&entry.assumes) => Ok((taken, None)),
        "assumed-unused" => {
            let missing = accepted.missing(&entry.assumes);
            let reason = match missing.as_slice() {
                [] => "untouched by an assumption without a name, which only --accept-assumption all covers"
                    .to_owned(),
                ids => format!("untouched only by assumption, not accepted: {}", ids.join(", ")),
            };
            if exporter.warns {
                Ok((Value { enforced: false, ..taken }, Some(format!("written as a warning only: {reason}"))))
            } else {
                Err(reason)
            }
        }
        other => Err(format!("its value has the status {other}")),
    }
}
