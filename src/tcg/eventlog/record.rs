//! One record: `TCG_PCR_EVENT` (SHA-1) and `TCG_PCR_EVENT2` (any set of banks).

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::{AlgorithmId, Digest, EventType, HashAlgorithm};

use super::spec_id::DigestSize;

/// How the records of a log are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout<'l> {
    /// `TCG_PCR_EVENT`: one SHA-1 digest.
    Sha1,
    /// `TCG_PCR_EVENT2`: digests of some of these algorithms.
    CryptoAgile(&'l [DigestSize]),
}

/// One event as it stands in a log: **unverified**. Neither its type nor, for most types, its data is covered
/// by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'l> {
    /// Its place in the log; the header of a crypto-agile log has number 0.
    pub number: u32,
    /// Offset of its first byte in the log.
    pub offset: u64,
    /// `PCRIndex` as written: a PCR, or a measurement register in a CC event log, or no register at all.
    pub register: u32,
    /// `EventType`: what the writer claims to have measured.
    pub event_type: EventType,
    /// `Digests`, in the order of the record.
    pub digests: Digests<'l>,
    /// Offset of the first byte of [`data`](Self::data) in the log.
    pub data_offset: u64,
    /// `Event`: what the writer says about it.
    pub data: &'l [u8],
}

/// The digests of a record, not copied out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests<'l> {
    bytes: &'l [u8],
    layout: Layout<'l>,
}

impl<'l> Event<'l> {
    /// Reads the record that starts at `reader`.
    ///
    /// # Errors
    /// When the log ends inside it, or its digests are not those that the header declares.
    pub(super) fn read(reader: &mut Reader<'l>, layout: Layout<'l>, number: u32) -> Result<Self, ParseError> {
        let names = Names::of(layout);
        let offset = reader.offset();
        let register = reader.u32(names.index)?;
        let event_type = EventType(reader.u32(names.event_type)?);
        let digests = Digests::read(reader, layout)?;
        let at_size = *reader;
        let size = reader.u32(names.size)?;
        if u64::from(size) > reader.remaining() as u64 {
            let kind = ParseErrorKind::Truncated { needed: size.into(), left: reader.remaining() as u64 };
            return Err(at_size.error(names.size, kind));
        }
        let data_offset = reader.offset();
        let data = reader.take(size.into(), names.data)?;
        Ok(Self { number, offset, register, event_type, digests, data_offset, data })
    }

    /// The digest of one bank.
    #[must_use]
    pub fn digest(&self, bank: HashAlgorithm) -> Option<Digest> {
        self.digests.get(bank)
    }
}

impl<'l> Digests<'l> {
    fn read(reader: &mut Reader<'l>, layout: Layout<'l>) -> Result<Self, ParseError> {
        let sizes = match layout {
            Layout::Sha1 => {
                return Ok(Self { bytes: reader.take(20, "TCG_PCR_EVENT.Digest")?, layout });
            }
            Layout::CryptoAgile(sizes) => sizes,
        };
        let at_count = *reader;
        let count = reader.u32("TPML_DIGEST_VALUES.count")?;
        if count == 0 || u64::from(count) > sizes.len() as u64 {
            let expected = "one digest for each bank of the header at most, and at least one";
            let kind = ParseErrorKind::Unexpected { found: count.into(), expected };
            return Err(at_count.error("TPML_DIGEST_VALUES.count", kind));
        }
        let start = *reader;
        // SpecId::MAX_ALGORITHMS is below 32, so one bit for each row of the table is enough.
        let mut seen = 0_u32;
        for _ in 0..count {
            read_digest(reader, sizes, &mut seen)?;
        }
        let length = reader.offset().saturating_sub(start.offset());
        let bytes = { start }.take(length, "TPML_DIGEST_VALUES.digests")?;
        Ok(Self { bytes, layout })
    }

    /// The digest of one bank.
    #[must_use]
    pub fn get(&self, bank: HashAlgorithm) -> Option<Digest> {
        let (_, bytes) = self.iter().find(|(algorithm, _)| *algorithm == bank.id())?;
        Digest::from_bytes(bank, bytes)
    }

    /// Algorithm and digest, in the order of the record. Allocates nothing.
    pub fn iter(&self) -> impl Iterator<Item = (AlgorithmId, &'l [u8])> + use<'l> {
        let mut reader = Reader::new(self.bytes);
        let layout = self.layout;
        std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            match layout {
                Layout::Sha1 => Some((AlgorithmId::SHA1, reader.rest())),
                Layout::CryptoAgile(sizes) => {
                    let algorithm = AlgorithmId(reader.u16("hashAlg").ok()?);
                    let row = sizes.iter().find(|row| row.algorithm == algorithm)?;
                    Some((algorithm, reader.take(row.size.into(), "digest").ok()?))
                }
            }
        })
    }
}

fn read_digest(reader: &mut Reader<'_>, sizes: &[DigestSize], seen: &mut u32) -> Result<(), ParseError> {
    const ALGORITHM: &str = "TPMT_HA.hashAlg";
    let at_algorithm = *reader;
    let algorithm = AlgorithmId(reader.u16(ALGORITHM)?);
    let Some(row) = sizes.iter().position(|row| row.algorithm == algorithm) else {
        let expected = "an algorithm that the header declares";
        let kind = ParseErrorKind::Unexpected { found: algorithm.0.into(), expected };
        return Err(at_algorithm.error(ALGORITHM, kind));
    };
    let bit = u32::try_from(row).ok().and_then(|row| 1_u32.checked_shl(row)).unwrap_or(0);
    if *seen & bit != 0 {
        let kind = ParseErrorKind::Invalid("the record has two digests of this algorithm");
        return Err(at_algorithm.error(ALGORITHM, kind));
    }
    *seen |= bit;
    let size = sizes.get(row).map_or(0, |row| row.size);
    reader.take(size.into(), "TPMT_HA.digest")?;
    Ok(())
}

/// What the specification calls the fields of a record.
struct Names {
    index: &'static str,
    event_type: &'static str,
    size: &'static str,
    data: &'static str,
}

impl Names {
    fn of(layout: Layout<'_>) -> &'static Self {
        match layout {
            Layout::Sha1 => &Self {
                index: "TCG_PCR_EVENT.PCRIndex",
                event_type: "TCG_PCR_EVENT.EventType",
                size: "TCG_PCR_EVENT.EventSize",
                data: "TCG_PCR_EVENT.Event",
            },
            Layout::CryptoAgile(_) => &Self {
                index: "TCG_PCR_EVENT2.PCRIndex",
                event_type: "TCG_PCR_EVENT2.EventType",
                size: "TCG_PCR_EVENT2.EventSize",
                data: "TCG_PCR_EVENT2.Event",
            },
        }
    }
}
