//! Which PCRs count.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::boot::Stage;
use crate::tcg::{Digest, HashAlgorithm, PcrIndex};

/// What happens when a PCR is not as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The evidence is refused.
    Enforced,
    /// It is reported.
    Warned,
    /// Nothing.
    Ignored,
}

/// Which PCRs count, and at which moments of the boot.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// PCRs to enforce; empty for the default: PCRs 0 to 15 that the policy knows in every boot.
    pub enforce: BTreeSet<PcrIndex>,
    /// PCRs of which a deviation is only reported.
    pub warn: BTreeSet<PcrIndex>,
    /// PCRs that the default is not to enforce.
    pub ignore: BTreeSet<PcrIndex>,
    /// Moments at which a quote may have been made, for documents; empty for [`Stage::Ready`].
    pub stages: Vec<Stage>,
    /// SHA-1 values may decide.
    pub allow_sha1: bool,
}

/// A policy that decides nothing, or can't decide what it is asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No boot, no value.
    #[error("the policy is empty: it has no PCR values, and would accept any machine")]
    Empty,
    /// Nothing is enforced.
    #[error("no PCR is enforced: the policy would accept any machine")]
    AllIgnored,
    /// An enforced PCR whose value is not known.
    #[error("PCR {pcr} can't be enforced: {reason}")]
    Unknown {
        /// The PCR.
        pcr: PcrIndex,
        /// Why its value is not known.
        reason: String,
        /// What would settle it.
        remedy: String,
    },
    /// A PCR in two classes.
    #[error("PCR {0} is named twice: a PCR is enforced, warned about or ignored")]
    Twice(PcrIndex),
}

impl PolicyError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Empty => "take a document of premeasure predict -o".to_owned(),
            Self::AllIgnored => "--enforce names PCRs that the policy has values of".to_owned(),
            Self::Unknown { remedy, .. } => remedy.clone(),
            Self::Twice(_) => "name each PCR once".to_owned(),
        }
    }
}

/// Gives each PCR its class.
pub(super) fn classify(
    known: &BTreeSet<PcrIndex>,
    unknown: &BTreeMap<PcrIndex, (String, String)>,
    selection: &Selection,
) -> Result<BTreeMap<PcrIndex, Class>, PolicyError> {
    let Selection { enforce, warn, ignore, .. } = selection;
    let twice = [
        enforce.intersection(warn).next(),
        enforce.intersection(ignore).next(),
        warn.intersection(ignore).next(),
    ];
    if let Some(pcr) = twice.into_iter().flatten().next() {
        return Err(PolicyError::Twice(*pcr));
    }
    if let Some(pcr) = enforce.union(warn).find(|pcr| !known.contains(pcr)) {
        let (reason, remedy) = unknown.get(pcr).cloned().unwrap_or_else(|| {
            let reason = "the policy does not have its value in every boot at this stage".to_owned();
            (reason, "choose another --stage, or leave it out of --enforce and --warn".to_owned())
        });
        return Err(PolicyError::Unknown { pcr: *pcr, reason, remedy });
    }
    let class = |pcr: PcrIndex| {
        // PCRs from 16 on can be reset while the machine runs.
        let by_default = enforce.is_empty() && pcr.get() < 16 && known.contains(&pcr);
        if enforce.contains(&pcr) {
            Class::Enforced
        } else if warn.contains(&pcr) {
            Class::Warned
        } else if by_default && !ignore.contains(&pcr) {
            Class::Enforced
        } else {
            Class::Ignored
        }
    };
    let classes: BTreeMap<PcrIndex, Class> = PcrIndex::all().map(|pcr| (pcr, class(pcr))).collect();
    if !classes.values().any(|class| *class == Class::Enforced) {
        return Err(PolicyError::AllIgnored);
    }
    Ok(classes)
}

/// A digest over everything that decides, in a fixed text form.
pub(super) fn policy_id(
    source: Digest,
    classes: &BTreeMap<PcrIndex, Class>,
    selection: &Selection,
) -> Digest {
    let list = |class: Class| {
        let pcrs: Vec<String> =
            classes.iter().filter(|(_, of)| **of == class).map(|(pcr, _)| pcr.to_string()).collect();
        pcrs.join(",")
    };
    let stages: BTreeSet<&str> = selection.stages.iter().map(|stage| stage.name()).collect();
    let stages: Vec<&str> = stages.into_iter().collect();
    let text = format!(
        "premeasure verify policy 1\nsource sha256:{source}\nenforced {}\nwarned {}\nstages {}\nsha1 {}\n",
        list(Class::Enforced),
        list(Class::Warned),
        if stages.is_empty() { Stage::Ready.name().to_owned() } else { stages.join(",") },
        selection.allow_sha1,
    );
    Digest::of(HashAlgorithm::Sha256, text.as_bytes())
}
