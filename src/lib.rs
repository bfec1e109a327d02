#![doc = include_str!("../docs/library.md")]

pub mod bytes;
pub mod cli;
pub mod source;
pub mod tcg;
pub mod uefi;
