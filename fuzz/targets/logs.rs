//! What the fuzz targets of event logs do with their bytes. `tests/eventlog/regressions.rs` does the same on stable
//! with inputs that once found something.

use premeasure::source::parse_registers;
use premeasure::tcg::cel::{self, Records, write_json};
use premeasure::tcg::check::check;
use premeasure::tcg::event_data::{Context, coverage, decode};
use premeasure::tcg::eventlog::{EventLog, read_final_events, write_log};
use premeasure::tcg::timeline::{self, BootLog};
use premeasure::tcg::{Digest, EventType, HashAlgorithm, ima, nvpcr};
use premeasure::uefi::variable::Uintn;

/// A firmware log: what was read is written back, sound or not; the replay has no register that does not exist. The same
/// bytes as a final events table.
pub(crate) fn event_log(data: &[u8]) {
    rewrite(&read_final_events(data));
    let (log, sound) = match EventLog::parse(data) {
        Ok(log) => (log, true),
        Err(broken) => {
            assert!(broken.error.offset <= data.len() as u64, "an error outside of the log");
            (broken.prefix, false)
        }
    };
    let written = write_log(&log);
    assert!(written == data, "not what was read");
    assert_eq!(log.events().count() as u64, u64::from(log.len()));
    let _ = log.replay().values();
    if sound {
        let end = usize::try_from(log.end()).expect("an offset in the log");
        let again = EventLog::parse(&data[..end]);
        assert!(again.is_ok() || log.is_empty(), "the log without its padding is sound too");
    }
}

/// The data of one event: the first four bytes are its type, the fifth the width of old numbers.
pub(crate) fn event_data(data: &[u8]) {
    let Some((event_type, rest)) = data.split_first_chunk::<4>() else { return };
    let Some((width, data)) = rest.split_first() else { return };
    // Types above 64 are those of UEFI: a byte is enough to reach all of them.
    let number = u32::from_le_bytes(*event_type);
    let event_type = EventType(if number & 0x100 == 0 { number & 0xFF } else { 0x8000_0000 | number & 0xFF });
    let uintn = if width & 1 == 0 { Uintn::Bits64 } else { Uintn::Bits32 };
    let decoded = decode(event_type, data, Context { data_offset: 0, uintn });
    let _ = decoded.data.summary();
    let _ = decoded.data.fields();
    if let Some(problem) = decoded.problem {
        assert!(problem.offset <= data.len() as u64, "an error outside of the data");
    }
    let digest = Digest::of(HashAlgorithm::Sha256, data);
    let found = coverage(event_type, data, digest, uintn);
    assert!(found.range.end <= data.len(), "more bytes covered than there are");
}

/// Bytes of any format, twice: detected, merged, replayed, checked. The second is a copy, and extends nothing.
pub(crate) fn boot_log(data: &[u8]) {
    let log = BootLog::read(data);
    let _ = check(&log);
    let logs = [log.clone(), log];
    let merged = timeline::merge(&logs);
    assert_eq!(merged.len(), logs[0].len(), "a copy adds nothing");
    let records: Vec<_> = merged.into_iter().map(|entry| entry.record).collect();
    let _ = nvpcr::replay(&records);
    let twice = timeline::replay(&logs).map(|(replay, _)| replay.values());
    let once = timeline::replay(&logs[..1]).map(|(replay, _)| replay.values());
    assert_eq!(twice, once);
    // Two halves overlap by what they share, or not at all.
    let (one, other) = data.split_at(data.len() / 2);
    let halves = [BootLog::read(one), BootLog::read(other)];
    let known: usize = timeline::overlaps(&halves).iter().map(|overlap| overlap.records).sum();
    assert_eq!(timeline::merge(&halves).len() + known, halves.iter().map(BootLog::len).sum::<usize>());
}

/// CEL-JSON and, where the first byte is 0x1E, a JSON text sequence. What was read comes back from what is written.
pub(crate) fn cel_json(data: &[u8]) {
    let records = match data.first() {
        Some(0x1E) => cel::read_json_sequence(data),
        _ => cel::read_json(data),
    };
    rewrite(&records);
}

/// CEL-CBOR.
pub(crate) fn cel_cbor(data: &[u8]) {
    rewrite(&cel::read_cbor(data));
}

/// CEL-TLV.
pub(crate) fn cel_tlv(data: &[u8]) {
    rewrite(&cel::read_tlv(data));
}

fn rewrite(records: &Records<'_>) {
    let json = write_json(&records.records).expect("every record has a JSON form");
    let again = cel::read_json(json.as_bytes());
    assert!(again.error.is_none(), "{:?}\n{json}", again.error);
    assert_eq!(again.records.len(), records.records.len());
    for (before, after) in records.records.iter().zip(&again.records) {
        assert_eq!(before.digests, after.digests);
        assert_eq!(before.is_extended(), after.is_extended());
    }
}

/// IMA, binary and text.
pub(crate) fn ima(data: &[u8]) {
    rewrite(&ima::read_binary(data));
    rewrite(&ima::read_ascii(data));
}

/// Register values as JSON or as the output of `tpm2_pcrread`.
pub(crate) fn registers(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = parse_registers(text);
    }
}
