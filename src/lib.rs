#![doc = include_str!("../docs/library.md")]

pub mod baseline;
pub mod boot;
pub mod bytes;
pub mod cli;
pub mod disk;
pub mod hashing;
pub mod inspect;
pub mod pe;
pub mod prediction;
pub mod reference;
pub mod secure_boot;
pub mod source;
pub mod tcg;
pub mod uefi;
pub mod uki;
pub mod walk;
