//! The strict view: what the verifier of an attestation would object to in a log.
//!
//! Each check yields findings; firmware whose deviation is known gives a finding the quirk's name and a lower
//! weight ([`QUIRKS`]). A log without findings is consistent, not true: only registers prove it.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod digests;
mod numbers;
mod order;
mod quirks;
mod separators;
mod singletons;
mod structure;
mod userspace;

pub use quirks::{QUIRKS, Quirk};

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::cel::Record;
use super::eventlog::{Register, RegisterKind};
use super::timeline::{BootLog, LogFormat};
use super::{EventType, HashAlgorithm, PcrIndex};
use crate::tcg::cel::Content;
use crate::uefi::variable::Uintn;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth knowing.
    Note,
    /// A verifier should look at it.
    Warning,
    /// A verifier should refuse the log.
    Error,
}

impl Level {
    /// `note`, `warning` or `error`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One objection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub level: Level,
    /// A stable word for it: of the check, or of the quirk that explains it.
    pub code: &'static str,
    /// The event it is about, by its number in the log.
    pub event: Option<u64>,
    /// The register it is about.
    pub register: Option<Register>,
    /// What is wrong, in words.
    pub text: String,
}

/// Checks a log. Findings are in the order of the log; those about the log as a whole come first.
#[must_use]
pub fn check(log: &BootLog<'_>) -> Vec<Finding> {
    let facts = Facts::of(log);
    let mut findings = Findings::new(&facts);
    structure::check(log, &facts, &mut findings);
    separators::check(&facts, &mut findings);
    singletons::check(&facts, &mut findings);
    digests::check(&facts, &mut findings);
    userspace::check(&facts, &mut findings);
    numbers::check(&facts, &mut findings);
    order::check(&facts, &mut findings);
    findings.finish()
}

/// What of an event of firmware contradicts its digest in a bank, if no known quirk explains it: the digest of a type that the
/// specification has hashed over its own data is not, or an event that extends nothing has one.
pub(crate) fn contradiction(
    record: &Record<'_>,
    number: u64,
    uintn: Uintn,
    bank: HashAlgorithm,
) -> Option<String> {
    let digest = record.digests.get(bank)?;
    if record.event_type() == Some(EventType::NO_ACTION) {
        // The first record is the log's header, to which OpenPOWER's firmware gives a digest.
        let extends = number > 0 && digest.as_bytes().iter().any(|byte| *byte != 0);
        return extends.then(|| format!("is EV_NO_ACTION, which extends nothing, and has a {bank} digest"));
    }
    let facts = Facts {
        kind: RegisterKind::Pcr,
        uintn,
        events: Cow::Borrowed(std::slice::from_ref(record)),
        is_partial: false,
        is_cut: false,
        separators: BTreeMap::new(),
    };
    let event = facts.firmware_event(0)?;
    let mut finding = digests::disagreement(&facts, &event, digest)?;
    let code = finding.code;
    quirks::explain(&mut finding, &facts);
    (finding.code == code).then(|| format!("is {}, and {}", event.event_type, finding.text))
}

/// Findings of one kind that are listed; a log of a million faults is not worse than one of a thousand.
const MAX_OF_A_KIND: usize = 256;

/// Findings so far. A quirk explains them as they come, and no more of a kind are kept than are listed.
struct Findings<'f> {
    facts: &'f Facts<'f>,
    kept: Vec<Finding>,
    counts: BTreeMap<&'static str, usize>,
}

impl<'f> Findings<'f> {
    fn new(facts: &'f Facts<'f>) -> Self {
        Self { facts, kept: Vec::new(), counts: BTreeMap::new() }
    }

    fn push(&mut self, mut finding: Finding) {
        quirks::explain(&mut finding, self.facts);
        let count = self.counts.entry(finding.code).or_default();
        *count = count.saturating_add(1);
        if *count <= MAX_OF_A_KIND {
            self.kept.push(finding);
        }
    }

    fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.push(finding));
    }

    /// In the order of the log.
    fn finish(mut self) -> Vec<Finding> {
        self.kept.sort_by_key(|finding| finding.event);
        for (code, count) in self.counts.into_iter().filter(|(_, count)| *count > MAX_OF_A_KIND) {
            let text = format!("{} more of these are not listed", count.saturating_sub(MAX_OF_A_KIND));
            self.kept.push(Finding { level: Level::Note, code, event: None, register: None, text });
        }
        self.kept
    }
}

/// What the checks look at.
pub struct Facts<'l> {
    /// Which registers the log extends.
    pub kind: RegisterKind,
    /// Width of `UINTN` in old structures.
    pub uintn: Uintn,
    /// The events, by their number.
    pub events: Cow<'l, [Record<'l>]>,
    /// The end of a log, not all of it.
    is_partial: bool,
    /// The log ends early.
    is_cut: bool,
    /// How many separators each register has, by its index.
    separators: BTreeMap<u32, usize>,
}

impl<'l> Facts<'l> {
    fn of(log: &'l BootLog<'_>) -> Self {
        let kind = log.register_kind().unwrap_or(RegisterKind::Pcr);
        let events: Cow<'l, [Record<'l>]> =
            log.held().map_or_else(|| Cow::Owned(log.iter().collect()), Cow::Borrowed);
        let separators = events.iter().filter(|record| record.event_type() == Some(EventType::SEPARATOR));
        let separators = separators.fold(BTreeMap::new(), |mut counts, record| {
            let count: &mut usize = counts.entry(record.register.index()).or_default();
            *count = count.saturating_add(1);
            counts
        });
        let is_cut = log.error.is_some();
        let is_partial = log.format == LogFormat::FinalEvents;
        Self { kind, uintn: log.uintn(), events, is_partial, is_cut, separators }
    }

    /// The event of this number, if firmware wrote it.
    fn firmware_event(&self, number: u64) -> Option<FirmwareEvent<'_>> {
        let record = self.events.get(usize::try_from(number).ok()?)?;
        match &record.content {
            Content::PcClient { event_type, data } => {
                Some(FirmwareEvent { number, record, event_type: *event_type, data })
            }
            _ => None,
        }
    }

    /// Events of firmware with their number, type and data.
    fn firmware(&self) -> impl Iterator<Item = FirmwareEvent<'_>> {
        (0..self.events.len() as u64).filter_map(|number| self.firmware_event(number))
    }

    /// Events that extend this register.
    fn of_register(&self, register: Register) -> impl Iterator<Item = FirmwareEvent<'_>> {
        self.firmware().filter(move |event| event.record.register == register && event.is_extended())
    }

    /// Firmware measured its own start here: there are events of PCRs 0 to 7, or of their measurement registers.
    fn has_firmware_part(&self) -> bool {
        !self.is_partial
            && self.firmware().any(|event| event.is_extended() && is_firmware_register(event.record.register))
    }
}

/// An event of firmware.
#[derive(Clone, Copy)]
struct FirmwareEvent<'l> {
    number: u64,
    record: &'l Record<'l>,
    event_type: EventType,
    data: &'l [u8],
}

impl FirmwareEvent<'_> {
    fn is_extended(&self) -> bool {
        self.event_type != EventType::NO_ACTION
    }

    fn finding(&self, level: Level, code: &'static str, text: impl Into<String>) -> Finding {
        let register = Some(self.record.register);
        Finding { level, code, event: Some(self.number), register, text: text.into() }
    }
}

fn is_firmware_register(register: Register) -> bool {
    match register {
        Register::Pcr(pcr) => pcr.get() < 8,
        Register::Mr(register) => matches!(register.get(), 1 | 2),
        Register::Nv(_) | Register::None(_) => false,
    }
}

fn pcr(index: u8) -> Register {
    PcrIndex::try_from(u32::from(index)).map_or(Register::None(index.into()), Register::Pcr)
}
