//! The image was written to a larger disk, and something moved the partition table's backup to its end, as clouds do.

use super::Facts;
use super::deviation::{Deviation, Edit};
use crate::bytes::Reader;
use crate::compare::causes::Code;
use crate::compare::topic::Topic;
use crate::crc::crc32;
use crate::tcg::PcrIndex;
use crate::uefi::gpt::GptData;

const PCR: PcrIndex = PcrIndex::new(5);
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Sizes in GiB up to which each is tried; larger disks come in fewer sizes.
const EACH_GIB: u64 = 2048;
/// Bytes of the header that are measured, and of the number of entries behind them (PFP, section 10.2.6).
const HEADER: usize = 92;
const ENTRIES: usize = HEADER + 8;

pub(super) fn deviations(facts: &Facts<'_>) -> Vec<Deviation> {
    let tables = facts.of(5).filter(|(_, event)| event.topic == Topic::PartitionTable);
    let mut all = Vec::new();
    // Firmware measures the table of the disk that it boots from, once.
    for (index, event) in tables.take(2) {
        let Some(data) = &event.data else { continue };
        for (detail, grown) in larger(data) {
            let edit = Edit::Replace(index, facts.hash(&grown));
            all.push(Deviation::new(Code::PartitionTableGrown, detail).one_of_many().with(PCR, edit));
        }
    }
    all
}

/// The table on disks of every likely size: the backup moved, and the last partition grown or not.
fn larger(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let Ok(table) = GptData::read(Reader::new(data)) else { return Vec::new() };
    // Larger sectors are found by the first usable one: 34 with 512 bytes, 6 with 4096.
    let sector: u64 = if table.header.first_usable_lba < 34 { 4096 } else { 512 };
    // Sectors of a MiB.
    let step = if sector == 512 { 2048 } else { 256 };
    let sizes = (1..=EACH_GIB).map(|size| size.saturating_mul(GIB));
    let odd = [64, 100, 128, 256, 400, 512, 768, 1536, 2560].map(|size: u64| size.saturating_mul(MIB));
    let terabytes = (3..=64).map(|size: u64| size.saturating_mul(1024).saturating_mul(GIB));
    let decimal = [
        4, 8, 10, 16, 20, 25, 30, 32, 40, 50, 60, 64, 80, 100, 120, 128, 150, 160, 200, 250, 256, 320, 500,
        1000,
    ];
    let decimal = decimal.map(|size: u64| size.saturating_mul(1_000_000_000));
    let mut all = Vec::new();
    for size in sizes.chain(odd).chain(terabytes).chain(decimal) {
        let Some(last) = size.checked_div(sector).and_then(|count| count.checked_sub(1)) else { continue };
        if last <= table.header.alternate_lba {
            continue;
        }
        // The backup's entries take what the primary's take: up to the first usable sector, less the protective MBR and header.
        let entries = 16_384_u64.checked_div(sector).unwrap_or(32);
        let usable = last.saturating_sub(entries).saturating_sub(1);
        let name = format!("the partition table was moved to the end of a disk of {}", human(size));
        let Some(moved) = with(data, &table, last, usable, None) else { continue };
        all.push((name.clone(), moved));
        // Tools end the last partition with the usable area, or with the last whole MiB in it.
        let over = usable.saturating_add(1).checked_rem(step).unwrap_or(0);
        let aligned = usable.saturating_sub(over);
        for end in [usable, aligned] {
            if let Some(grown) = with(data, &table, last, usable, Some(end)) {
                all.push((format!("{name}, and its last partition was grown"), grown));
            }
        }
    }
    all
}

/// `UEFI_GPT_DATA` with these fields. `None` where its checksums can't be computed: they cover entries that are not measured.
fn with(data: &[u8], table: &GptData<'_>, last: u64, usable: u64, end: Option<u64>) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    put(&mut bytes, 32, &last.to_le_bytes())?;
    put(&mut bytes, 48, &usable.to_le_bytes())?;
    if let Some(end) = end {
        let size = usize::try_from(table.header.size_of_partition_entry).ok()?;
        let index = (0..table.entries.len())
            .max_by_key(|index| table.entries.get(*index).map(|entry| entry.starting_lba))?;
        let entry = table.entries.get(index)?;
        if end <= entry.ending_lba {
            return None;
        }
        let at = index.checked_mul(size)?.checked_add(ENTRIES)?.checked_add(40)?;
        put(&mut bytes, at, &end.to_le_bytes())?;
        let array = entry_array(&bytes, table, size)?;
        put(&mut bytes, 88, &crc32(&array).to_le_bytes())?;
    }
    let length = u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?);
    if usize::try_from(length).ok()? != HEADER {
        return None;
    }
    put(&mut bytes, 16, &[0; 4])?;
    let checksum = crc32(bytes.get(..HEADER)?);
    put(&mut bytes, 16, &checksum.to_le_bytes())?;
    Some(bytes)
}

/// The whole entry array as on disk: only entries in use are measured, and unused ones are zeros behind them.
fn entry_array(bytes: &[u8], table: &GptData<'_>, size: usize) -> Option<Vec<u8>> {
    let count = usize::try_from(table.header.number_of_partition_entries).ok()?.min(1024);
    let mut array = bytes.get(ENTRIES..)?.get(..table.entries.len().checked_mul(size)?)?.to_vec();
    array.resize(count.checked_mul(size)?, 0);
    Some(array)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at.checked_add(value.len())?)?.copy_from_slice(value);
    Some(())
}

fn human(bytes: u64) -> String {
    if bytes.is_multiple_of(GIB) {
        format!("{} GiB", bytes / GIB)
    } else if bytes.is_multiple_of(1_000_000_000) {
        format!("{} GB", bytes / 1_000_000_000)
    } else {
        format!("{} MiB", bytes / MIB)
    }
}
