//! [`EventLog`]: a log in memory, its header read, its records checked once and then read again on demand.

use std::borrow::Cow;

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::{AlgorithmId, EventType, HashAlgorithm, PcrIndex};

use super::ccel::CcelTable;
use super::record::{Event, Layout};
use super::replay::Register;
use super::spec_id::SpecId;
use super::trailer::Trailer;

/// What the log says about itself in its first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header<'a> {
    /// No Spec ID event, or the one of a TPM 1.2 log (`Spec ID Event00` and `02`): SHA-1 records throughout.
    Sha1,
    /// `Spec ID Event03`: crypto-agile records follow.
    CryptoAgile(SpecId<'a>),
}

/// Which registers the indices of a log mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RegisterKind {
    /// Platform Configuration Registers of a TPM.
    #[default]
    Pcr,
    /// Measurement registers of a confidential guest (UEFI, `EFI_CC_MR_INDEX`): 0 is MRTD, 1 to 4 are RTMR0 to 3.
    Mr,
}

/// An event log, borrowed or owned. Everything in it is **unverified**; see the [module](super).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    bytes: Cow<'a, [u8]>,
    header: Header<'a>,
    kind: RegisterKind,
    table: Option<CcelTable>,
    /// Offset of the first record: behind the ACPI table, if there is one.
    start: u64,
    /// Offset behind the last record.
    end: u64,
    count: u32,
    trailer: Trailer,
}

/// A log that stopped making sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct BrokenLog<'a> {
    /// Where and why.
    pub error: ParseError,
    /// The records before that place. A log without a single sound record has none.
    pub prefix: EventLog<'a>,
}

impl<'a> EventLog<'a> {
    /// Records that a log may have. Firmware writes some hundred, and the largest memory area that one has declared
    /// (td-shim's `CCEL`, 1 MiB) has place for 32,768 of the smallest.
    pub const MAX_EVENTS: u32 = 1 << 16;

    /// Reads a log: with or without the ACPI table `CCEL` in front, with or without padding behind.
    ///
    /// # Errors
    /// A [`BrokenLog`] with the records before the one that can't be read.
    pub fn parse(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self, Box<BrokenLog<'a>>> {
        let mut log = Self {
            bytes: bytes.into(),
            header: Header::Sha1,
            kind: RegisterKind::Pcr,
            table: None,
            start: 0,
            end: 0,
            count: 0,
            trailer: Trailer::None,
        };
        match log.scan() {
            Ok(()) => Ok(log),
            Err(error) => Err(Box::new(BrokenLog { error, prefix: log })),
        }
    }

    /// The first record's claim about the log.
    #[must_use]
    pub fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// Which registers the indices mean: told from the header, see [`RegisterKind`].
    #[must_use]
    pub fn register_kind(&self) -> RegisterKind {
        self.kind
    }

    /// The same log, with its indices read as `kind`.
    #[must_use]
    pub fn with_register_kind(self, kind: RegisterKind) -> Self {
        Self { kind, ..self }
    }

    /// The ACPI table that stood in front of the log.
    #[must_use]
    pub fn ccel_table(&self) -> Option<&CcelTable> {
        self.table.as_ref()
    }

    /// What stands behind the last record.
    #[must_use]
    pub fn trailer(&self) -> Trailer {
        self.trailer
    }

    /// Offset behind the last record.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Records, the header included.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Not a single sound record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Algorithms that the header declares; SHA-1 alone in a TPM 1.2 log.
    pub fn algorithms(&self) -> impl Iterator<Item = AlgorithmId> + '_ {
        let rows = match &self.header {
            Header::Sha1 => &[][..],
            Header::CryptoAgile(header) => &header.digest_sizes,
        };
        let sha1 = matches!(self.header, Header::Sha1).then_some(AlgorithmId::SHA1);
        sha1.into_iter().chain(rows.iter().map(|row| row.algorithm))
    }

    /// The declared banks that we can compute, in the order of the header.
    pub fn banks(&self) -> impl Iterator<Item = HashAlgorithm> + '_ {
        self.algorithms().filter_map(AlgorithmId::known)
    }

    /// The records in order, the header first. Borrows from the log and allocates nothing.
    #[must_use]
    pub fn events(&self) -> Events<'_> {
        Events { log: self, reader: self.records(), number: 0 }
    }

    /// Which register an index of this log means.
    #[must_use]
    pub fn register(&self, index: u32) -> Register {
        Register::of(self.kind, index)
    }

    /// The bytes behind the last record.
    #[must_use]
    pub fn trailer_bytes(&self) -> &[u8] {
        usize::try_from(self.end).ok().and_then(|end| self.bytes.get(end..)).unwrap_or_default()
    }

    /// The bytes in front of the first record: the ACPI table, if there is one.
    #[must_use]
    pub fn leading_bytes(&self) -> &[u8] {
        usize::try_from(self.start).ok().and_then(|start| self.bytes.get(..start)).unwrap_or_default()
    }

    /// A log that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> EventLog<'static> {
        let header = match self.header {
            Header::Sha1 => Header::Sha1,
            Header::CryptoAgile(header) => Header::CryptoAgile(header.into_owned()),
        };
        EventLog { bytes: Cow::Owned(self.bytes.into_owned()), header, ..self }
    }

    /// How its records are laid out, behind the header.
    #[must_use]
    pub fn layout(&self) -> Layout<'_> {
        match &self.header {
            Header::Sha1 => Layout::Sha1,
            Header::CryptoAgile(header) => Layout::CryptoAgile(&header.digest_sizes),
        }
    }

    fn records(&self) -> Reader<'_> {
        let range = usize::try_from(self.start).unwrap_or(usize::MAX)..usize::try_from(self.end).unwrap_or(0);
        Reader::at(self.bytes.get(range).unwrap_or_default(), self.start)
    }

    /// Reads every record once: fills in the header, the end and the trailer.
    fn scan(&mut self) -> Result<(), ParseError> {
        let bytes = std::mem::take(&mut self.bytes);
        let result = self.scan_records(Reader::new(&bytes));
        self.bytes = bytes;
        result
    }

    fn scan_records(&mut self, mut reader: Reader<'_>) -> Result<(), ParseError> {
        self.table = CcelTable::read_in_front(&mut reader)?;
        self.start = reader.offset();
        self.end = self.start;
        let first = read_first(&mut reader)?;
        self.header = read_header(&first)?;
        self.accept(reader.offset());
        self.kind = self.kind_of_header(&first);
        let mut only_runtime_registers = true;
        let mut only_known_registers = true;
        let header = std::mem::replace(&mut self.header, Header::Sha1);
        let layout = match &header {
            Header::Sha1 => Layout::Sha1,
            Header::CryptoAgile(header) => Layout::CryptoAgile(&header.digest_sizes),
        };
        let mut reader = reader;
        let result = loop {
            if let Some(trailer) = Trailer::at(&reader, layout) {
                self.trailer = trailer;
                break Ok(());
            }
            if self.count >= Self::MAX_EVENTS {
                let kind = ParseErrorKind::TooLarge {
                    found: u64::from(self.count).saturating_add(1),
                    limit: Self::MAX_EVENTS.into(),
                };
                break Err(reader.error("event log", kind));
            }
            let start = reader;
            match Event::read(&mut reader, layout, self.count) {
                Ok(event) => {
                    only_runtime_registers &=
                        event.event_type == EventType::NO_ACTION || matches!(event.register, 1..=4);
                    only_known_registers &= event.event_type == EventType::NO_ACTION || event.register <= 4;
                    self.accept(reader.offset());
                }
                Err(error) => match Trailer::instead_of_record(start, layout) {
                    Some(trailer) => {
                        self.trailer = trailer;
                        break Ok(());
                    }
                    None => break Err(error),
                },
            }
        };
        self.header = header;
        // A firmware that put the header of its TPM's log into PCR 1 has other banks, or other registers.
        if self.table.is_none() && !(self.algorithms().count() == 1 && only_known_registers) {
            self.kind = RegisterKind::Pcr;
        }
        if self.is_single_bank() && only_runtime_registers && self.count > 1 {
            self.kind = RegisterKind::Mr;
        }
        result
    }

    fn accept(&mut self, end: u64) {
        self.end = end;
        self.count = self.count.saturating_add(1);
    }

    /// OVMF writes its CC event log's header into register 1, TDs have no PCR 0; td-shim writes 0, and is found
    /// by its one bank and by registers that are all measurement registers ([`scan`](Self::scan)).
    fn kind_of_header(&self, first: &Event<'_>) -> RegisterKind {
        let agile = matches!(self.header, Header::CryptoAgile(_));
        if self.table.is_some() || (agile && first.register == 1) {
            RegisterKind::Mr
        } else {
            RegisterKind::Pcr
        }
    }

    /// The one bank of a CC event log: SHA-384 in TDX, SM3 in Hygon CSV.
    fn is_single_bank(&self) -> bool {
        match &self.header {
            Header::Sha1 => false,
            Header::CryptoAgile(header) => matches!(
                header.digest_sizes.as_slice(),
                [row] if matches!(row.algorithm, AlgorithmId::SHA384 | AlgorithmId::SM3_256)
            ),
        }
    }
}

/// The records of a log; see [`EventLog::events`].
#[derive(Debug, Clone)]
pub struct Events<'l> {
    log: &'l EventLog<'l>,
    reader: Reader<'l>,
    number: u32,
}

impl<'l> Iterator for Events<'l> {
    type Item = Event<'l>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        // The header is a SHA-1 record in both kinds of logs.
        let layout = if self.number == 0 { Layout::Sha1 } else { self.log.layout() };
        // Every record was read once when the log was; it reads the same again.
        let event = Event::read(&mut self.reader, layout, self.number).ok()?;
        self.number = self.number.saturating_add(1);
        Some(event)
    }
}

fn read_first<'b>(reader: &mut Reader<'b>) -> Result<Event<'b>, ParseError> {
    const WHAT: &str = "event log";
    let start = *reader;
    if let Some(Trailer::Padding { .. } | Trailer::Junk { .. }) = Trailer::at(&start, Layout::Sha1) {
        return Err(
            start.error(WHAT, ParseErrorKind::Invalid("begins with padding: there is no event in it"))
        );
    }
    if start.is_empty() {
        return Err(start.error(WHAT, ParseErrorKind::Invalid("is empty")));
    }
    let first = Event::read(reader, Layout::Sha1, 0)?;
    let known = first.event_type.name().is_some() && first.event_type != EventType::PREBOOT_CERT;
    let plausible = PcrIndex::try_from(first.register).is_ok() || first.register == u32::MAX;
    if known && plausible {
        return Ok(first);
    }
    let kind = ParseErrorKind::Invalid("does not begin with a record of a known type in a PCR");
    Err(start.error(WHAT, kind))
}

fn read_header<'a>(first: &Event<'_>) -> Result<Header<'a>, ParseError> {
    let agile = first.event_type == EventType::NO_ACTION && first.data.starts_with(SpecId::SIGNATURE);
    if !agile {
        return Ok(Header::Sha1);
    }
    let spec_id = SpecId::read(Reader::at(first.data, first.data_offset))?;
    Ok(Header::CryptoAgile(spec_id.into_owned()))
}
