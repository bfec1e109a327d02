//! What an appraisal says.

use super::judge::{Judgement, PcrVerdict};
use super::policy::Assumption;
use super::quote::{ClockInfo, PcrSelection};
use super::refusal::{Code, Refusal};
use super::time::Timestamp;
use crate::tcg::{Digest, HashAlgorithm};

/// The result.
#[derive(Debug, Clone)]
pub struct Appraisal {
    /// Every reason to refuse; empty when the evidence is accepted.
    pub refusals: Vec<Refusal>,
    /// Deviations in PCRs that are only warned about.
    pub warnings: Vec<Refusal>,
    /// For each PCR that was quoted or that counts.
    pub pcrs: Vec<PcrVerdict>,
    /// The boot of the policy that it is, when it is one.
    pub boot: Option<String>,
    /// The banks that decided.
    pub banks: Vec<HashAlgorithm>,
    /// Whose signature it is, when the signature is good and the key trusted.
    pub signer: Option<SignerSummary>,
    /// The quotes, once their signature was verified.
    pub quotes: Vec<QuoteSummary>,
    /// The nonce that was asked for.
    pub nonce: Vec<u8>,
    /// When certificates had to be valid.
    pub at: Timestamp,
    /// The kind of evidence.
    pub evidence: &'static str,
    /// How many logs were compared.
    pub logs: usize,
    /// What was found about the evidence, for people.
    pub notes: Vec<String>,
    /// [`Policy::id`](super::Policy::id).
    pub policy: Digest,
    /// [`Policy::source`](super::Policy::source).
    pub policy_source: Digest,
    /// [`Policy::format`](super::Policy::format).
    pub policy_format: String,
    /// What the boot that it is takes for granted; when it is none of the policy's, what any of them does.
    pub assumptions: Vec<Assumption>,
}

/// Whose signature it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerSummary {
    /// The kind of key.
    pub kind: String,
    /// [`AttestationKey::fingerprint`](super::AttestationKey::fingerprint).
    pub fingerprint: Digest,
    /// Names from the key's certificate to the trusted one; empty for a pinned key.
    pub chain: Vec<String>,
    /// The key's name, when its public area is known.
    pub name: Option<Vec<u8>>,
    /// Whether its attributes could be checked.
    pub attributes_checked: bool,
    /// The hierarchy that it is a primary key of, when the quote proves it.
    pub primary_of: Option<&'static str>,
}

/// What a verified quote says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteSummary {
    /// `clockInfo`.
    pub clock: ClockInfo,
    /// `firmwareVersion`.
    pub firmware_version: u64,
    /// `pcrSelect`.
    pub selection: Vec<PcrSelection>,
    /// Scheme and hash of the signature.
    pub signed_with: String,
}

impl Appraisal {
    /// Nothing speaks against the evidence.
    #[must_use]
    pub fn is_affirming(&self) -> bool {
        self.refusals.is_empty()
    }

    /// There is a refusal with this code.
    #[must_use]
    pub fn has(&self, code: Code) -> bool {
        self.refusals.iter().any(|refusal| refusal.code == code)
    }

    pub(super) fn take(&mut self, judgement: Judgement) {
        if let Some(assumptions) = judgement.assumptions {
            self.assumptions = assumptions;
        }
        self.pcrs = judgement.pcrs;
        self.refusals = judgement.refusals;
        self.warnings = judgement.warnings;
        self.boot = judgement.boot.filter(|_| self.refusals.is_empty());
        self.banks = judgement.banks;
    }
}
