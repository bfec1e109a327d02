#![doc = include_str!("../docs/library.md")]

pub mod attest;
pub mod audit;
pub mod baseline;
pub mod boot;
pub mod bytes;
pub mod capture;
pub mod cli;
pub mod compare;
mod crc;
pub mod disk;
pub mod export;
pub mod grub;
pub mod hashing;
pub mod import;
pub mod inspect;
mod json;
#[cfg(feature = "tpm")]
pub mod live;
pub mod materials;
pub mod pe;
pub mod prediction;
pub mod reference;
pub mod report;
pub mod secure_boot;
pub mod sign;
pub mod source;
pub mod tcg;
pub mod uefi;
pub mod uki;
pub mod verity;
pub mod walk;
