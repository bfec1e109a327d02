//! Exports: what is written, what is refused, and what the consumers' own code says about it.

#[path = "../support/mod.rs"]
mod support;

mod clouds;
mod consumers;
mod documents;
mod formats;
mod imports;
mod nitro;
mod options;
mod refusals;
mod rego;
mod signing;
mod systemd;
mod texts;
#[cfg(feature = "pkcs11")]
mod token;
mod tpm;
