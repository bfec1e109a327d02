//! The attestation verifier: recorded quotes of a TPM, forged ones, chains of certificates, a live TPM.

#[path = "../support/mod.rs"]
mod support;

mod assumptions;
mod banks;
mod captures;
mod chains;
mod command;
mod contradictions;
mod evidence;
mod forge;
mod forged;
mod labels;
#[cfg(feature = "tpm")]
mod live;
mod recorded;
mod regressions;
mod swtpm;
