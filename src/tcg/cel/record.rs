//! One record: number, register, digests, content (CEL 1.0, section 4).

use std::borrow::Cow;

use crate::bytes::Reader;
use crate::tcg::eventlog::{Digests, Register};
use crate::tcg::{AlgorithmId, Digest, EventType, HashAlgorithm};

/// A record. **Unverified**: only a replay against known registers proves its digests.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// `RECNUM`: counts the records of one register from 0; systemd writes none.
    pub recnum: Option<u64>,
    /// `PCR` or `NV_INDEX`.
    pub register: Register,
    /// `DIGESTS`.
    pub digests: RecordDigests<'a>,
    /// `CONTENT`.
    pub content: Content<'a>,
    /// Offset of the record (of the event's data, in a firmware log) in its file.
    pub offset: u64,
}

/// The digests of a record, in the order of the record.
///
/// A log may have a million records, so they cost little: those of a firmware log stay where they are in its bytes,
/// others are one allocation.
#[derive(Debug, Clone)]
pub struct RecordDigests<'a>(Stored<'a>);

#[derive(Debug, Clone)]
enum Stored<'a> {
    /// As they stand in a firmware log.
    InLog(Digests<'a>),
    /// Of each: the algorithm (2 bytes, little-endian), the length (1 byte), the digest.
    Packed(Vec<u8>),
}

/// Why a digest is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The algorithm has two digests.
    #[error("two digests of one algorithm")]
    Twice,
    /// The length is not the algorithm's.
    #[error("a digest of {0} bytes, which its algorithm does not make")]
    Length(usize),
    /// More digests than there are hash algorithms.
    #[error("more than 16 digests")]
    TooMany,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Content<'a> {
    /// `pcclient_std`: an event of the firmware's log.
    PcClient {
        /// `EVENT_TYPE`.
        event_type: EventType,
        /// `EVENT_DATA`.
        data: Cow<'a, [u8]>,
    },
    /// `ima_template`: an entry of Linux' IMA.
    ImaTemplate {
        /// `TEMPLATE_NAME`: `ima-ng`, `ima-sig`, …
        name: Cow<'a, str>,
        /// `TEMPLATE_DATA`.
        data: Cow<'a, [u8]>,
    },
    /// `systemd`: a word that systemd's user space measured.
    Systemd(Box<Systemd>),
    /// `cel`: a record about the log itself.
    Management(Management),
    /// A content type that is not known: its name or number, and its bytes or JSON text.
    Other(String, Cow<'a, [u8]>),
}

/// Content of a record of systemd (`tpm2_userspace_log`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Systemd {
    /// `string`: what was measured, shortened and escaped beyond 1024 bytes.
    pub string: String,
    /// `eventType`: phase, filesystem, volume-key, machine-id, …
    pub event_type: Option<String>,
    /// `bootId`.
    pub boot_id: Option<String>,
    /// `timestamp`: microseconds of `CLOCK_BOOTTIME`.
    pub timestamp: Option<u64>,
    /// `nvIndexName`.
    pub nv_index_name: Option<String>,
}

/// A record about the log itself (CEL 1.0, section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Management {
    /// `cel_version`.
    Version {
        /// Major number.
        major: u16,
        /// Minor number.
        minor: u16,
    },
    /// `firmware_end`.
    FirmwareEnd,
    /// `cel_timestamp`.
    Timestamp(u64),
    /// `state_trans`: 0 suspend, 1 hibernate, 2 kexec.
    StateTransition(u64),
}

impl<'a> RecordDigests<'a> {
    /// Digests that a record may have.
    pub const MAX: usize = 16;

    /// The digests of a firmware log's event. That log's reader has checked what [`push`](Self::push) checks.
    pub(super) fn in_log(digests: Digests<'a>) -> Self {
        Self(Stored::InLog(digests))
    }

    /// Keeps those of wanted banks, and those of algorithms that we do not know.
    pub(crate) fn retain(&mut self, wanted: impl Fn(HashAlgorithm) -> bool) {
        let mut kept = Vec::new();
        for (algorithm, digest) in self.iter().filter(|(algorithm, _)| algorithm.known().is_none_or(&wanted))
        {
            pack(&mut kept, algorithm, digest);
        }
        self.0 = Stored::Packed(kept);
    }

    /// Adds one.
    ///
    /// # Errors
    /// When the algorithm has one already, or the length is not its.
    pub fn push(&mut self, algorithm: AlgorithmId, digest: &[u8]) -> Result<(), DigestError> {
        if self.iter().count() >= Self::MAX {
            return Err(DigestError::TooMany);
        }
        if self.iter().any(|(other, _)| other == algorithm) {
            return Err(DigestError::Twice);
        }
        let wrong = match algorithm.known() {
            Some(known) => known.size() != digest.len(),
            None => digest.is_empty() || digest.len() > MAX_UNKNOWN,
        };
        if wrong {
            return Err(DigestError::Length(digest.len()));
        }
        if let Stored::InLog(_) = self.0 {
            self.retain(|_| true);
        }
        if let Stored::Packed(bytes) = &mut self.0 {
            pack(bytes, algorithm, digest);
        }
        Ok(())
    }

    /// The digest of one bank.
    #[must_use]
    pub fn get(&self, bank: HashAlgorithm) -> Option<Digest> {
        let (_, digest) = self.iter().find(|(algorithm, _)| *algorithm == bank.id())?;
        Digest::from_bytes(bank, digest)
    }

    /// Algorithm and digest, in order. Allocates nothing.
    pub fn iter(&self) -> impl Iterator<Item = (AlgorithmId, &[u8])> {
        let (in_log, packed) = match &self.0 {
            Stored::InLog(digests) => (Some(digests.iter()), None),
            Stored::Packed(bytes) => (None, Some(unpack(bytes))),
        };
        in_log.into_iter().flatten().chain(packed.into_iter().flatten())
    }

    /// The banks that we can compute, in order.
    pub fn banks(&self) -> impl Iterator<Item = HashAlgorithm> + '_ {
        self.iter().filter_map(|(algorithm, _)| algorithm.known())
    }
}

impl Default for RecordDigests<'_> {
    fn default() -> Self {
        Self(Stored::Packed(Vec::new()))
    }
}

/// Where the digests are makes no difference.
impl PartialEq for RecordDigests<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for RecordDigests<'_> {}

/// Bytes of a digest of an algorithm that we do not know. Its length is packed into a byte.
const MAX_UNKNOWN: usize = 128;

fn pack(bytes: &mut Vec<u8>, algorithm: AlgorithmId, digest: &[u8]) {
    bytes.reserve_exact(digest.len().saturating_add(3));
    bytes.extend_from_slice(&algorithm.0.to_le_bytes());
    bytes.push(u8::try_from(digest.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(digest);
}

fn unpack(bytes: &[u8]) -> impl Iterator<Item = (AlgorithmId, &[u8])> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(move || {
        // Nothing is left, or it was packed here.
        let algorithm = AlgorithmId(reader.u16("hashAlg").ok()?);
        let length = reader.u8("length").ok()?;
        Some((algorithm, reader.take(length.into(), "digest").ok()?))
    })
}

impl Record<'_> {
    /// It changes its register. `EV_NO_ACTION` does not.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        !matches!(self.content, Content::PcClient { event_type: EventType::NO_ACTION, .. })
    }

    /// The event type, if it is an event of firmware.
    #[must_use]
    pub fn event_type(&self) -> Option<EventType> {
        match self.content {
            Content::PcClient { event_type, .. } => Some(event_type),
            _ => None,
        }
    }

    /// The `content_type` in JSON.
    #[must_use]
    pub fn content_type(&self) -> &str {
        match &self.content {
            Content::PcClient { .. } => "pcclient_std",
            Content::ImaTemplate { .. } => "ima_template",
            Content::Systemd(_) => "systemd",
            Content::Management(_) => "cel",
            Content::Other(name, _) => name,
        }
    }
}
