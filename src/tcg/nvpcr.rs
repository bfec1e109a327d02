//! NV indices of type "extend" that systemd uses like PCRs ("NvPCRs"), replayed.
//!
//! Such an index does not start at zeros: when it is created in a boot, systemd extends it once and writes into
//! PCR 9 what it is then (`tpm2_nvpcr_initialize`, from systemd 259 on; `docs/TPM2_PCR_MEASUREMENTS.md`). The value
//! is as good as that record: a verifier compares PCR 9 first.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::cel::{Content, Record};
use super::eventlog::Register;
use super::{AlgorithmId, Digest, HashAlgorithm, extend};

/// An NV index that a log extends or initialises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvPcr {
    /// Its handle.
    pub index: u32,
    /// systemd's name for it.
    pub name: Option<String>,
    /// What it holds after the log.
    pub value: Result<Digest, Unknown>,
    /// Records that extend it.
    pub records: u64,
}

/// Why a value is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// There is no record of its initialisation before the first extend.
    #[error("the log does not say what it starts with: systemd's nvpcr-init record is not there")]
    NoStart,
    /// There is one, but its digest is not that of its text.
    #[error("the digest of its nvpcr-init record does not cover the text of that record")]
    UnprovenStart,
    /// It was initialised again after it was extended.
    #[error("it was initialised again after it had been extended")]
    StartedAgain,
    /// A record lacks the digest of its algorithm.
    #[error("a record has no digest of its algorithm")]
    NoDigest,
}

/// Computes what every NV index that occurs holds, in the order of the handles.
pub fn replay<'r, R: Borrow<Record<'r>>>(records: impl IntoIterator<Item = R>) -> Vec<NvPcr> {
    let mut indices: BTreeMap<u32, NvPcr> = BTreeMap::new();
    for record in records {
        let record = record.borrow();
        if let Some(start) = Start::of(record) {
            indices.entry(start.index).or_insert_with(|| NvPcr::new(start.index)).start(start);
        } else if let Register::Nv(index) = record.register {
            indices.entry(index).or_insert_with(|| NvPcr::new(index)).extend(record);
        }
    }
    indices.into_values().collect()
}

impl NvPcr {
    fn new(index: u32) -> Self {
        Self { index, name: None, value: Err(Unknown::NoStart), records: 0 }
    }

    fn start(&mut self, start: Start) {
        self.value = if self.records > 0 { Err(Unknown::StartedAgain) } else { start.value };
        self.name = Some(start.name);
    }

    fn extend(&mut self, record: &Record<'_>) {
        self.records = self.records.saturating_add(1);
        if let (None, Content::Systemd(systemd)) = (&self.name, &record.content) {
            self.name.clone_from(&systemd.nv_index_name);
        }
        if let Ok(old) = self.value {
            self.value = record
                .digests
                .get(old.algorithm())
                .map(|digest| extend(old, digest))
                .ok_or(Unknown::NoDigest);
        }
    }
}

/// What a record of `nvpcr-init` says.
struct Start {
    index: u32,
    name: String,
    value: Result<Digest, Unknown>,
}

impl Start {
    /// `nvpcr-init:NAME:0xINDEX:ALGORITHM:VALUE`; NAME has its colons escaped. Later versions write the TPM's name
    /// of the index instead of the last two, and extend zeros first (systemd's `TEST-70-TPM2.nvpcr.sh`).
    fn of(record: &Record<'_>) -> Option<Self> {
        let Content::Systemd(systemd) = &record.content else { return None };
        let mut words = systemd.string.strip_prefix("nvpcr-init:")?.split(':');
        let (name, index) = (words.next()?, words.next()?.strip_prefix("0x")?);
        let index = u32::from_str_radix(index, 16).ok()?;
        let value = match (words.next()?, words.next()) {
            (algorithm, Some(value)) => {
                Digest::from_bytes(algorithm.parse().ok()?, &hex::decode(value).ok()?)?
            }
            (tpm_name, None) => zeros_extended(&hex::decode(tpm_name).ok()?)?,
        };
        let proven = record.digests.banks().next().is_some_and(|bank| {
            record.digests.get(bank) == Some(Digest::of(bank, systemd.string.as_bytes()))
        });
        let value = if proven { Ok(value) } else { Err(Unknown::UnprovenStart) };
        Some(Self { index, name: name.to_owned(), value })
    }
}

/// The first extend of an index of this name (`TPM2B_NAME`: the algorithm, big-endian, and a digest).
fn zeros_extended(tpm_name: &[u8]) -> Option<Digest> {
    let (algorithm, digest) = tpm_name.split_first_chunk::<2>()?;
    let algorithm: HashAlgorithm = AlgorithmId(u16::from_be_bytes(*algorithm)).known()?;
    let zero = Digest::zero(algorithm);
    (digest.len() == algorithm.size()).then(|| extend(zero, zero))
}
