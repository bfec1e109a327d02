//! Structures of the UEFI specification (version 2.10) that stand in event logs and variables.
//!
//! All of them are read through [`crate::bytes::Reader`]; offsets in errors are those of the file.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used))]

pub mod authenticated;
pub mod device_path;
mod device_path_text;
pub mod firmware_volume;
pub mod gpt;
pub mod guid;
pub mod load_option;
pub mod signature_list;
pub mod text;
pub mod variable;
pub mod variable_store;
