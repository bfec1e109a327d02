//! Event logs and register values as one side of a comparison.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::Topic;
use super::model::{Candidate, Event, Expectation, ExpectedPcr, ExpectedValue, Kind, Observation};
use crate::tcg::cel::{Content, Record};
use crate::tcg::event_data::{Context, decode};
use crate::tcg::eventlog::{MeasurementRegister, Register, RegisterKind};
use crate::tcg::timeline::{self, BootLog, LogFormat, MixedRegisters};
use crate::tcg::{DigestSet, EventType, HashAlgorithm, PcrIndex, PcrValues};

/// Most events that are put side by side. Firmware's logs have hundreds; IMA's have tens of thousands, all in PCR 10.
const MAX_EVENTS: usize = 200_000;

/// Records from which on they are read and replayed side by side.
const MANY: usize = 200;

/// Logs that can't be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogsError {
    /// Logs of different kinds.
    #[error(transparent)]
    Mixed(#[from] MixedRegisters),
    /// More than any boot writes.
    #[error("the logs have {0} records, the limit is {MAX_EVENTS}")]
    TooMany(usize),
}

/// What a machine shows: its logs, and where they are known the values of its TPM.
///
/// # Errors
/// [`LogsError`].
pub fn observation_of_logs(
    names: Vec<String>,
    logs: &[BootLog<'_>],
    registers: Option<PcrValues>,
) -> Result<Observation, LogsError> {
    let mut notes = Vec::new();
    if logs.is_empty() {
        let values = registers.unwrap_or_default();
        let formats = Vec::new();
        return Ok(Observation {
            names,
            kind: Kind::Registers,
            formats,
            registers: RegisterKind::Pcr,
            events: None,
            values,
            replayed: None,
            notes,
        });
    }
    let (replayed, events, kinds) = read(logs, &mut notes)?;
    let kind = if registers.is_some() { Kind::RegistersAndLog } else { Kind::Log };
    let (values, replayed) = match registers {
        Some(values) => (values, Some(replayed)),
        None => (replayed, None),
    };
    let formats = logs.iter().map(|log| log.format.to_string()).collect();
    Ok(Observation { names, kind, formats, registers: kinds, events: Some(events), values, replayed, notes })
}

/// What a recorded boot expects of the next one: the same events.
///
/// # Errors
/// [`LogsError`].
pub fn expectation_of_logs(name: &str, logs: &[BootLog<'_>]) -> Result<Expectation, LogsError> {
    let (values, events, registers) = read(logs, &mut Vec::new())?;
    let expected = PcrIndex::all().filter_map(|pcr| {
        let digests: DigestSet = values.banks().filter_map(|(bank, _)| values.get(bank, pcr)).collect();
        let value = ExpectedValue { stage: None, digests };
        (!value.digests.is_empty())
            .then(|| (pcr, ExpectedPcr { values: vec![value], ..ExpectedPcr::default() }))
    });
    let formats: Vec<String> = logs.iter().map(|log| log.format.to_string()).collect();
    Ok(Expectation {
        name: name.to_owned(),
        kind: Kind::Log,
        format: formats.join(", "),
        registers,
        candidates: vec![Candidate {
            pcrs: expected.collect(),
            events: Some(events),
            ..Candidate::default()
        }],
    })
}

/// Values and events of logs of one boot. A firmware's log covers PCR 0 to 9 and 11 to 14 up to the kernel: a register of
/// these that it does not extend holds its start value. PCR 10 and 15 are user space's.
fn read(
    logs: &[BootLog<'_>],
    notes: &mut Vec<String>,
) -> Result<(PcrValues, Vec<Event>, RegisterKind), LogsError> {
    let count = logs.iter().map(BootLog::len).fold(0, usize::saturating_add);
    if count > MAX_EVENTS {
        return Err(LogsError::TooMany(count));
    }
    let (replayed, events) = std::thread::scope(|scope| {
        let replayed = (count >= MANY).then(|| scope.spawn(|| timeline::replay(logs)));
        let events = events(logs);
        (replayed.map_or_else(|| timeline::replay(logs), joined), events)
    });
    let (replay, kind) = replayed?;
    let mut values = replay.values();
    let firmware = logs.iter().any(|log| matches!(log.format, LogFormat::Sha1 | LogFormat::CryptoAgile));
    if firmware {
        let banks: Vec<HashAlgorithm> = values.banks().map(|(bank, _)| bank).collect();
        for bank in banks {
            for pcr in PcrIndex::all().filter(|register| covered(kind, *register)) {
                if values.get(bank, pcr).is_none() {
                    values.set(pcr, pcr.start_value(bank));
                }
            }
        }
    }
    if let Some(start) = replay.pcr0_start() {
        notes.push(format!("PCR 0 starts with {} in its last byte: {start}", start.last_byte()));
    }
    for left_out in &replay.left_out {
        notes.push(format!(
            "event {} names register {}, which can't be extended",
            left_out.number, left_out.register
        ));
    }
    Ok((values, events, kind))
}

/// The events of all logs, decoded by halves side by side where they are many.
fn events(logs: &[BootLog<'_>]) -> Vec<Event> {
    let records = timeline::merge(logs);
    let decoded = |records: &[timeline::TimelineRecord<'_>]| -> Vec<Event> {
        records.iter().filter_map(|entry| event(&entry.record, entry.uintn)).collect()
    };
    let (first, second) = records.split_at(if records.len() < MANY { 0 } else { records.len() / 2 });
    std::thread::scope(|scope| {
        let first = (!first.is_empty()).then(|| scope.spawn(|| decoded(first)));
        let mut second = decoded(second);
        let mut all = first.map(joined).unwrap_or_default();
        all.append(&mut second);
        all
    })
}

/// What a thread found; its panic is this one's.
fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The firmware's log covers the register, so that one without events holds its start value.
fn covered(kind: RegisterKind, register: PcrIndex) -> bool {
    match kind {
        RegisterKind::Pcr => register.get() < 15 && register.get() != 10,
        // RTMR0 to RTMR2; RTMR3 is user space's.
        RegisterKind::Mr => matches!(register.get(), 1..=3),
    }
}

fn event(record: &Record<'_>, uintn: crate::uefi::variable::Uintn) -> Option<Event> {
    let (pcr, topic_pcr) = match record.register {
        Register::Pcr(pcr) => (pcr, pcr),
        Register::Mr(register) => {
            (PcrIndex::try_from(u32::from(register.get())).ok()?, likely_pcr(register, &record.content))
        }
        _ => return None,
    };
    if !record.is_extended() {
        return None;
    }
    let digests: DigestSet = record.digests.banks().filter_map(|bank| record.digests.get(bank)).collect();
    let plain = |what: String, topic: Topic, data: Option<Vec<u8>>, event_type: Option<EventType>| Event {
        pcr,
        stage: None,
        event_type,
        digests: digests.clone(),
        data,
        what,
        topic,
        origin: None,
    };
    Some(match &record.content {
        Content::PcClient { event_type, data } => {
            let decoded = decode(*event_type, data, Context { data_offset: 0, uintn }).data;
            let topic = Topic::of_decoded(topic_pcr, *event_type, &decoded, data, &digests);
            plain(decoded.summary(), topic, Some(data.to_vec()), Some(*event_type))
        }
        Content::Systemd(word) => {
            let topic = Topic::of_word(pcr, &word.string);
            plain(word.string.clone(), topic, Some(word.string.clone().into_bytes()), None)
        }
        Content::ImaTemplate { name, .. } => plain(format!("IMA {name}"), Topic::Ima, None, None),
        Content::Management(_) => plain("record about the log".to_owned(), Topic::Other(pcr), None, None),
        Content::Other(name, bytes) => {
            let what = format!("{name}, {} bytes", bytes.len());
            plain(what, Topic::Other(pcr), Some(bytes.to_vec()), None)
        }
    })
}

/// The PCR that an event of a confidential guest would be in with a TPM, as far as its type tells; it decides what the event
/// is called, not what it counts for.
fn likely_pcr(register: MeasurementRegister, content: &Content<'_>) -> PcrIndex {
    let Content::PcClient { event_type, data } = content else { return PcrIndex::new(11) };
    match (register, *event_type) {
        (
            MeasurementRegister::RTMR0,
            EventType::EFI_VARIABLE_DRIVER_CONFIG | EventType::EFI_VARIABLE_AUTHORITY,
        ) => PcrIndex::new(7),
        (MeasurementRegister::RTMR0, _) => PcrIndex::new(1),
        (MeasurementRegister::RTMR1, EventType::EFI_BOOT_SERVICES_APPLICATION) => PcrIndex::new(4),
        (MeasurementRegister::RTMR1, _) => PcrIndex::new(5),
        // Sections are named by a text in UTF-16 that begins with a dot.
        (MeasurementRegister::RTMR2, EventType::IPL) if data.starts_with(b".\0") => PcrIndex::new(11),
        (MeasurementRegister::RTMR2, EventType::IPL) => PcrIndex::new(12),
        _ => PcrIndex::new(9),
    }
}
