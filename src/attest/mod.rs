//! The attestation verifier: quotes of a TPM against what a policy expects.
//!
//! A [`Verifier`] holds what is trusted: a [`Policy`] (reference values, and which PCRs are enforced), an attestation key
//! or the certificates of those who vouch for one, and the time. [`Verifier::appraise`] takes [`Evidence`], all of which
//! is hostile, and the nonce that was sent; the [`Appraisal`] says for each PCR what came out, and every reason to refuse
//! with a [`Code`] of a closed list.
//!
//! The order is: whose key, its signature, the structure, the nonce, then the PCR values under the quoted digest, then the
//! values against *one* boot that the policy knows, then the event log. Nothing of a log but its digests decides.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod appraisal;
mod appraise;
mod chain;
mod components;
mod contradictions;
mod ear;
pub mod evidence;
mod judge;
mod key;
mod log;
mod pcr_file;
mod policy;
mod proof;
mod public_area;
mod quote;
mod refusal;
mod signature;
mod time;

pub use appraisal::{Appraisal, QuoteSummary, SignerSummary};
pub use appraise::Verifier;
pub use chain::{Anchors, CertificateError};
pub use ear::ear;
pub use evidence::{Evidence, QuoteEvidence};
pub use judge::{PcrVerdict, Verdict};
pub use key::{AttestationKey, KeyReadError, read_certificates};
pub use pcr_file::{PcrFileError, read_pcr_values, read_serialized_pcrs};
pub use policy::{Assumption, Class, Policy, PolicyError, Selection};
pub use proof::check_quote;
pub use public_area::{KeyParameters, PublicArea, Scheme};
pub use quote::{ClockInfo, PcrSelection, Quote, QuoteError};
pub use refusal::{Code, Refusal};
pub use signature::{QuoteSignature, SignatureScheme};
pub use time::{Timestamp, TimestampError};
