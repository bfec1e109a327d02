//! Whole boots that may have happened instead of the expected one.

use std::collections::BTreeSet;

use super::merge;
use crate::compare::causes::{Cause, Code};
use crate::compare::model::{Candidate, Event};
use crate::compare::nearest::Pair;
use crate::tcg::{Digest, PcrIndex};

/// Another boot that may have happened instead of the expected one.
#[derive(Debug, Clone)]
pub struct Alternative {
    /// What it measures.
    pub candidate: Candidate,
    /// In what it deviates.
    pub reasons: Vec<Reason>,
}

/// One thing in which a boot deviates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What kind it is.
    pub code: Code,
    /// One sentence.
    pub detail: String,
    /// The registers that it moves by itself; `None` where that was not found out.
    pub moves: Option<Vec<PcrIndex>>,
}

impl Reason {
    /// A reason of which it is not known what it moves by itself.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), moves: None }
    }

    fn moves(&self, pcr: PcrIndex) -> bool {
        match &self.moves {
            Some(moves) => moves.contains(&pcr),
            None => moves(self.code).contains(&pcr.get()),
        }
    }
}

/// The registers that a deviation can move. `Entry` may move any.
fn moves(code: Code) -> &'static [u8] {
    match code {
        Code::Addon => &[4, 9, 12],
        Code::Credential | Code::Options => &[9, 12],
        Code::Extension => &[9, 12, 13],
        Code::Loader => &[4, 5, 9, 12],
        Code::Profile => &[4, 9, 11, 12],
        Code::SecureBoot => &[4, 7, 9, 12],
        Code::Smbios => &[1, 9, 12],
        Code::Kernel => &[9],
        Code::Stub => &[4, 9, 11, 12, 13],
        _ => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15],
    }
}

/// The deviations of an alternative as causes of the registers that it explains. One that moves others too, which stay
/// `unexplained`, may be a coincidence.
pub(super) fn causes(reasons: &[Reason], pcrs: &[PcrIndex], unexplained: &[PcrIndex]) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    for reason in reasons {
        // What no reason moves by itself they move together.
        let alone = |pcr: PcrIndex| reasons.iter().any(|reason| reason.moves(pcr));
        let moved = pcrs.iter().copied().filter(|pcr| reason.moves(*pcr) || !alone(*pcr));
        let moved: Vec<PcrIndex> = moved.collect();
        if !moved.is_empty() {
            let others = unexplained.iter().copied().filter(|pcr| reason.moves(*pcr)).collect();
            merge(&mut causes, super::cause(reason.code, &reason.detail, moved, others));
        }
    }
    causes
}

/// The other variants of a document, by what tells them from the nearest one.
pub(super) fn siblings(candidate: &Candidate, all: &[Candidate]) -> Vec<Alternative> {
    let others = all.iter().filter(|other| other.id != candidate.id && !other.scenario.is_empty());
    others
        .map(|other| {
            let detail = format!("the values are those of {}", other.id);
            let code = match (candidate.secure_boot, other.secure_boot) {
                _ if other.image != candidate.image => Code::Entry,
                (Some(one), Some(other)) if one != other => Code::SecureBoot,
                _ if other.scenario.contains("profile") || candidate.scenario.contains("profile") => {
                    Code::Profile
                }
                _ if other.scenario.contains("exit-retried")
                    != candidate.scenario.contains("exit-retried") =>
                {
                    Code::ExitBootServices
                }
                _ => Code::Entry,
            };
            Alternative { candidate: other.clone(), reasons: vec![Reason::new(code, detail)] }
        })
        .collect()
}

/// Alternatives that explain something and contradict nothing, those first that explain most with least; of equals the one
/// whose events the log has.
pub(super) fn nearest<'a>(
    pair: &Pair<'_>,
    differing: &[PcrIndex],
    alternatives: &'a [Alternative],
    most: usize,
) -> Vec<&'a Alternative> {
    let mut scored: Vec<((usize, usize, usize), &Alternative)> = Vec::new();
    for alternative in alternatives {
        let matches = |pcr: &PcrIndex| pair.would_match(&alternative.candidate, *pcr);
        let contradicts = PcrIndex::all().any(|pcr| {
            !differing.contains(&pcr)
                && pair.would_match(pair.candidate, pcr)
                && pair.would_differ(&alternative.candidate, pcr)
        });
        let explained = differing.iter().filter(|pcr| matches(pcr)).count();
        if explained > 0 && !contradicts {
            let open = differing.len().saturating_sub(explained);
            scored
                .push(((open, alternative.reasons.len(), unseen(pair, &alternative.candidate)), alternative));
        }
    }
    scored.sort_by_key(|(score, _)| *score);
    scored.into_iter().take(most).map(|(_, alternative)| alternative).collect()
}

/// Measurements of a boot that the observed log does not have.
fn unseen(pair: &Pair<'_>, candidate: &Candidate) -> usize {
    let (Some(ours), Some(theirs)) = (&candidate.events, &pair.observation.events) else { return 0 };
    let key = |event: &Event| Some((event.pcr, event.digests.get(pair.bank)?));
    let seen: BTreeSet<(PcrIndex, Digest)> = theirs.iter().filter_map(key).collect();
    ours.iter().filter_map(key).filter(|measured| !seen.contains(measured)).count()
}
