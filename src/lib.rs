#![doc = include_str!("../docs/library.md")]

pub mod boot;
pub mod bytes;
pub mod cli;
pub mod export;
pub mod hashing;
pub mod import;
pub mod inspect;
pub mod pe;
pub mod prediction;
pub mod reference;
pub mod sign;
pub mod source;
pub mod tcg;
pub mod uki;
