//! Secure Boot: the variables that PCR 7 is made of, and which of them lets an image start.
//!
//! Sources named below, once: *UEFI*: UEFI Specification 2.10, chapter 32; *EDK2*: `SecurityPkg` of the reference
//! firmware; *OpenSSL*: whose rules for chains EDK2 inherits.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod append;
mod aws;
mod by_shim;
pub(crate) mod certificate;
mod database;
mod detached;
mod from_log;
mod hyper_v;
pub(crate) mod key;
mod key_file;
mod refusal;
mod shim;
mod variables;
mod verify;
mod virt_firmware;

pub use append::append_lists;
pub use aws::{AwsDataError, MAX_DICTIONARY, MAX_UEFI_DATA, is_uefi_data, read_uefi_data};
pub use by_shim::{ShimDatabases, ShimVerdict, judge_by_shim};
pub use database::{Database, MAX_VARIABLE, certificate_list};
pub use detached::{Account, verify_detached};
pub use from_log::LogVariableError;
pub use hyper_v::{TemplateError, is_template, read_template};
pub use key_file::{KeyFileError, read_key_file};
pub use refusal::Refusal;
pub use shim::{Shim, ShimError, ShimState};
pub use variables::{Content, Key, SecureBootVariables, efivarfs_variable};
pub use verify::{Databases, Verdict, algorithms_needed, judge};
pub use virt_firmware::{VirtFirmwareError, read_virt_firmware};
