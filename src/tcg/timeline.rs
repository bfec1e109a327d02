//! Several logs of one boot, read by what they are and put in one order.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;

use crate::bytes::{ParseError, ParseErrorKind};

use super::cel::{self, CelError, Content, Record, Records, record_of};
use super::eventlog::{
    self, BrokenLog, EventLog, Header, Register, RegisterKind, Replay, Trailer, read_final_events,
};
use super::{EventType, HashAlgorithm, ima, overlap};
use crate::uefi::variable::Uintn;

pub use super::overlap::Overlap;

/// What kind of log some bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogFormat {
    /// Firmware, SHA-1 records.
    Sha1,
    /// Firmware, crypto-agile records.
    CryptoAgile,
    /// Firmware of a confidential guest.
    Ccel,
    /// Firmware's table of events after its log was handed out.
    FinalEvents,
    /// Canonical event log, JSON.
    CelJson,
    /// Canonical event log, CBOR.
    CelCbor,
    /// Canonical event log, TLV.
    CelTlv,
    /// Linux IMA, binary.
    ImaBinary,
    /// Linux IMA, text.
    ImaAscii,
    /// systemd's user space.
    Systemd,
}

/// A log of any format.
#[derive(Debug, Clone)]
pub struct BootLog<'a> {
    /// What it is.
    pub format: LogFormat,
    body: Body<'a>,
    /// Why it ended early, if it did. Its records before that place are sound.
    pub error: Option<CelError>,
}

#[derive(Debug, Clone)]
enum Body<'a> {
    Firmware(EventLog<'a>),
    Records(Vec<Record<'a>>),
}

/// A record in the order of a boot.
#[derive(Debug, Clone)]
pub struct TimelineRecord<'a> {
    /// Which of the logs it is from.
    pub log: usize,
    /// Its number in that log.
    pub number: u64,
    /// Width of `UINTN` in that log.
    pub uintn: Uintn,
    /// The record.
    pub record: Record<'a>,
}

/// Logs that can't be of one boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MixedRegisters {
    /// PCRs and measurement registers.
    #[error("one log is of a TPM's PCRs, another of a confidential guest's registers: they can't be merged")]
    Kinds,
    /// Firmware writes one header.
    #[error(
        "two firmware logs have different headers: they are of different machines or boots and can't be merged"
    )]
    Headers,
}

impl<'a> BootLog<'a> {
    /// Reads a log of whatever format the bytes have. Never fails: a file that is no log at all is a log without
    /// records and with an error.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        let text = bytes.trim_ascii_start();
        match text.first() {
            Some(0x1E) => Self::records(LogFormat::Systemd, cel::read_json_sequence(bytes)),
            Some(b'[' | b'{') => Self::records(LogFormat::CelJson, cel::read_json(bytes)),
            _ if ima::looks_like_ascii(bytes) => Self::records(LogFormat::ImaAscii, ima::read_ascii(bytes)),
            _ if ima::looks_like_binary(bytes) => {
                Self::records(LogFormat::ImaBinary, ima::read_binary(bytes))
            }
            _ if cel::looks_like_cbor(bytes) => Self::records(LogFormat::CelCbor, cel::read_cbor(bytes)),
            _ if cel::looks_like_tlv(bytes) => Self::records(LogFormat::CelTlv, cel::read_tlv(bytes)),
            _ if eventlog::looks_like_final_events(bytes) => {
                Self::records(LogFormat::FinalEvents, read_final_events(bytes))
            }
            _ => Self::firmware(EventLog::parse(bytes)),
        }
    }

    fn records(format: LogFormat, records: Records<'a>) -> Self {
        let empty = records.records.is_empty() && records.error.is_none();
        let nothing = ParseError { offset: 0, what: "event log", kind: ParseErrorKind::Invalid("is empty") };
        let error = records.error.or_else(|| empty.then(|| nothing.into()));
        Self { format, body: Body::Records(records.records), error }
    }

    fn firmware(result: Result<EventLog<'a>, Box<BrokenLog<'a>>>) -> Self {
        let (log, error) = match result {
            Ok(log) => (log, None),
            Err(broken) => (broken.prefix, Some(broken.error.into())),
        };
        let format = match (log.header(), log.register_kind()) {
            (_, RegisterKind::Mr) => LogFormat::Ccel,
            (Header::Sha1, _) => LogFormat::Sha1,
            (Header::CryptoAgile(_), _) => LogFormat::CryptoAgile,
        };
        Self { format, body: Body::Firmware(log), error }
    }

    /// The firmware's log, if it is one.
    #[must_use]
    pub fn as_firmware(&self) -> Option<&EventLog<'a>> {
        match &self.body {
            Body::Firmware(log) => Some(log),
            Body::Records(_) => None,
        }
    }

    /// The same log with its registers read as those of `kind`, if firmware wrote it.
    #[must_use]
    pub fn with_register_kind(mut self, kind: RegisterKind) -> Self {
        self.body = match self.body {
            Body::Firmware(log) => Body::Firmware(log.with_register_kind(kind)),
            Body::Records(mut records) if self.format == LogFormat::FinalEvents => {
                for record in &mut records {
                    record.register = Register::of(kind, record.register.index());
                }
                Body::Records(records)
            }
            other => other,
        };
        self
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Firmware(log) => usize::try_from(log.len()).unwrap_or(usize::MAX),
            Body::Records(records) => records.len(),
        }
    }

    /// Not a single sound record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which registers it extends; `None` when it extends none, or does not say: the indices of a final events
    /// table are those of the log beside it.
    #[must_use]
    pub fn register_kind(&self) -> Option<RegisterKind> {
        match &self.body {
            Body::Firmware(log) => Some(log.register_kind()),
            Body::Records(records) => records.iter().find_map(|record| match record.register {
                Register::Pcr(_) if self.format == LogFormat::FinalEvents => None,
                Register::Pcr(_) => Some(RegisterKind::Pcr),
                Register::Mr(_) => Some(RegisterKind::Mr),
                Register::Nv(_) | Register::None(_) => None,
            }),
        }
    }

    /// Bytes behind the last record that are no padding.
    #[must_use]
    pub fn junk(&self) -> Option<(u64, u64)> {
        match self.as_firmware()?.trailer() {
            Trailer::Junk { offset, length, .. } => Some((offset, length)),
            Trailer::None | Trailer::Padding { .. } => None,
        }
    }

    /// The banks that its records have digests of, in order of appearance. What extends nothing counts for none: the
    /// header of a firmware log has a SHA-1 digest in every log.
    #[must_use]
    pub fn banks(&self) -> Vec<HashAlgorithm> {
        match &self.body {
            Body::Firmware(log) => log.banks().collect(),
            Body::Records(records) => {
                let mut banks: Vec<HashAlgorithm> = Vec::new();
                let extended = records.iter().filter(|record| record.is_extended());
                for bank in extended.flat_map(|record| record.digests.banks()) {
                    if !banks.contains(&bank) {
                        banks.push(bank);
                    }
                }
                banks
            }
        }
    }

    /// Width of `UINTN` in the firmware that wrote it.
    #[must_use]
    pub fn uintn(&self) -> Uintn {
        match self.as_firmware().map(EventLog::header) {
            Some(Header::CryptoAgile(header)) if header.uintn_size == 1 => Uintn::Bits32,
            Some(Header::Sha1) if self.has_32_bit_header() => Uintn::Bits32,
            _ => Uintn::Bits64,
        }
    }

    /// The first record of a TPM 1.2 log is a `Spec ID Event02` whose `uintnSize` is 1.
    fn has_32_bit_header(&self) -> bool {
        let first = self.as_firmware().and_then(|log| log.events().next());
        first.is_some_and(|event| {
            event.event_type == EventType::NO_ACTION
                && event.data.starts_with(b"Spec ID Event02\0")
                && event.data.get(23) == Some(&1)
        })
    }

    /// Its records, where they had to be read into memory; a firmware log's stay in its bytes.
    pub(crate) fn held(&self) -> Option<&[Record<'a>]> {
        match &self.body {
            Body::Firmware(_) => None,
            Body::Records(records) => Some(records),
        }
    }

    /// Its records in order, as canonical records.
    pub fn iter(&self) -> Box<dyn Iterator<Item = Record<'_>> + '_> {
        match &self.body {
            Body::Firmware(log) => Box::new(log.events().map(|event| record_of(log, &event))),
            Body::Records(records) => Box::new(records.iter().cloned()),
        }
    }

    /// Firmware comes before the kernel, the kernel before user space. Where a log can't say, it keeps its place.
    fn rank(&self) -> u8 {
        match self.format {
            LogFormat::Sha1 | LogFormat::CryptoAgile | LogFormat::Ccel => 0,
            LogFormat::FinalEvents => 1,
            LogFormat::CelJson | LogFormat::CelCbor | LogFormat::CelTlv => 2,
            LogFormat::ImaBinary | LogFormat::ImaAscii => 3,
            LogFormat::Systemd => 4,
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sha1 => "SHA-1 event log",
            Self::CryptoAgile => "crypto-agile event log",
            Self::Ccel => "CC event log",
            Self::FinalEvents => "final events table",
            Self::CelJson => "CEL-JSON",
            Self::CelCbor => "CEL-CBOR",
            Self::CelTlv => "CEL-TLV",
            Self::ImaBinary => "IMA log (binary)",
            Self::ImaAscii => "IMA log (text)",
            Self::Systemd => "systemd log",
        })
    }
}

/// All records of the logs of one boot: firmware's, then those of canonical logs, IMA's, systemd's. What a log begins
/// with and an earlier one ends with is there once ([`overlaps`]).
///
/// IMA and systemd measure at the same time, into different registers; only the order *within* a register is
/// certain.
#[must_use]
pub fn merge<'l>(logs: &'l [BootLog<'l>]) -> Vec<TimelineRecord<'l>> {
    timeline(logs).collect()
}

/// As [`merge`], one record after the other: none is held.
pub fn timeline<'l>(logs: &'l [BootLog<'l>]) -> impl Iterator<Item = TimelineRecord<'l>> {
    let order = order(logs);
    let overlaps = overlap::overlaps(&order);
    let of_firmware = logs.iter().find(|log| log.rank() == 0).map(BootLog::banks);
    let guest = logs.iter().any(|log| log.format == LogFormat::Ccel);
    order.into_iter().flat_map(move |(index, log)| {
        let known = overlaps.iter().find(|overlap| overlap.log == index).map_or(0, |overlap| overlap.records);
        let uintn = log.uintn();
        let of_firmware = of_firmware.clone();
        log.iter().zip(0_u64..).skip(known).map(move |(mut record, number)| {
            if guest && log.format == LogFormat::FinalEvents {
                record.register = Register::of(RegisterKind::Mr, record.register.index());
            }
            if let (Content::ImaTemplate { .. }, Some(banks)) = (&record.content, &of_firmware) {
                // IMA's log has one digest; those of other banks were computed, whether or not the TPM has them.
                record.digests.retain(|bank| banks.contains(&bank));
            }
            TimelineRecord { log: index, number, uintn, record }
        })
    })
}

/// The records that [`merge`] takes from one of two logs only. They are told by their bytes: firmware that really
/// measured the same thing as the last before and the first after a request for the log can't be told from it.
#[must_use]
pub fn overlaps(logs: &[BootLog<'_>]) -> Vec<Overlap> {
    overlap::overlaps(&order(logs))
}

/// The logs in the order in which they were written, with their index.
fn order<'l, 'b>(logs: &'l [BootLog<'b>]) -> Vec<(usize, &'l BootLog<'b>)> {
    let mut order: Vec<(usize, &BootLog<'_>)> = logs.iter().enumerate().collect();
    order.sort_by_key(|(_, log)| log.rank());
    order
}

/// Which registers logs extend that can be of one boot.
///
/// # Errors
/// When they are of different kinds of registers, or firmware logs with different headers.
pub fn check_mergeable(logs: &[BootLog<'_>]) -> Result<RegisterKind, MixedRegisters> {
    let mut kinds = logs.iter().filter_map(BootLog::register_kind);
    let kind = kinds.next().unwrap_or(RegisterKind::Pcr);
    if kinds.any(|other| other != kind) {
        return Err(MixedRegisters::Kinds);
    }
    let mut headers = logs.iter().filter_map(|log| log.as_firmware().map(EventLog::header));
    match headers.next() {
        Some(first) if headers.any(|other| other != first) => Err(MixedRegisters::Headers),
        _ => Ok(kind),
    }
}

/// Replays the logs of one boot.
///
/// # Errors
/// When they are of different kinds of registers.
pub fn replay(logs: &[BootLog<'_>]) -> Result<(Replay, RegisterKind), MixedRegisters> {
    let kind = check_mergeable(logs)?;
    if let [log] = logs
        && let Some(firmware) = log.as_firmware()
    {
        return Ok((firmware.replay(), kind));
    }
    let mut replay = Replay::new(banks(logs));
    for TimelineRecord { number, record, .. } in timeline(logs) {
        if let Content::PcClient { event_type, data } = &record.content {
            replay.prepare(record.register, *event_type, data);
        }
        if record.is_extended() && !is_about_the_log(&record) {
            replay.extend(number, record.register, |bank| record.digests.get(bank));
        }
    }
    Ok((replay, kind))
}

/// A record about the log itself that was not measured either.
fn is_about_the_log(record: &Record<'_>) -> bool {
    matches!(record.content, Content::Management(_)) && record.digests.iter().next().is_none()
}

/// The banks of a boot: those of its firmware's log, which knows what the TPM has; without one, those of all logs.
#[must_use]
pub fn banks(logs: &[BootLog<'_>]) -> Vec<HashAlgorithm> {
    let firmware = logs.iter().find(|log| log.rank() == 0);
    let mut banks: Vec<HashAlgorithm> = match firmware {
        Some(log) => log.banks(),
        None => logs.iter().flat_map(BootLog::banks).collect(),
    };
    banks.sort_unstable();
    banks.dedup();
    banks
}
