//! The partition table: what overlaps, what lies outside, what firmware does not see.

use std::collections::BTreeMap;

use super::{Finding, Severity};
use crate::disk::{Gpt, Partition};

pub(super) fn check(table: &Gpt, findings: &mut Vec<Finding>) {
    let place = "partition table";
    if !table.has_protective_mbr {
        let text = "the first block has no protective partition record (type 0xEE, starting at block 1): firmware does not \
                    see the partitions. sgdisk -e writes one";
        findings.push(Finding::new(Severity::Error, "no-protective-mbr", place, text));
    }
    if let Some(error) = &table.primary_error {
        let text =
            format!("the primary table is damaged: {error}. sgdisk -e writes it again from the backup");
        findings.push(Finding::new(Severity::Error, "primary-table-damaged", place, text));
    }
    if let Some(error) = &table.backup_error {
        let text =
            format!("the backup table: {error}. Is the image cut off? sgdisk -e writes the backup again");
        findings.push(Finding::new(Severity::Error, "backup-table-damaged", place, text));
    }
    overlaps(table, findings);
    duplicates(table, findings);
    for partition in &table.partitions {
        if partition.last_lba < partition.first_lba {
            let text = "ends before it starts";
            findings.push(Finding::new(Severity::Error, "partition-backwards", &partition.to_string(), text));
        } else if table.content(partition).is_none() {
            let text = "reaches beyond the end of the image: the image is cut off";
            findings.push(Finding::new(Severity::Error, "partition-outside", &partition.to_string(), text));
        } else if partition.first_lba < table.first_usable_lba || partition.last_lba > table.last_usable_lba {
            let (first, last) = (table.first_usable_lba, table.last_usable_lba);
            let text =
                format!("lies outside the usable blocks {first} to {last}: firmware may refuse the table");
            findings.push(Finding::new(Severity::Error, "partition-unusable", &partition.to_string(), text));
        }
    }
}

/// Each partition against the one before it that reaches farthest.
fn overlaps(table: &Gpt, findings: &mut Vec<Finding>) {
    let mut sorted: Vec<&Partition> = table.partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.first_lba);
    let mut farthest: Option<&Partition> = None;
    for other in sorted {
        if let Some(one) = farthest.filter(|one| one.last_lba >= other.first_lba) {
            let text = format!(
                "overlaps {other}: it ends at block {}, that one starts at {}",
                one.last_lba, other.first_lba
            );
            findings.push(Finding::new(Severity::Error, "partition-overlap", &one.to_string(), text));
        }
        if farthest.is_none_or(|one| other.last_lba > one.last_lba) {
            farthest = Some(other);
        }
    }
}

fn duplicates(table: &Gpt, findings: &mut Vec<Finding>) {
    let mut seen = BTreeMap::new();
    for partition in &table.partitions {
        if let Some(first) = seen.insert(partition.unique_guid.to_bytes(), partition) {
            let text = format!("has the UniquePartitionGUID of {first}, {}", partition.unique_guid);
            findings.push(Finding::new(
                Severity::Error,
                "partition-duplicate-guid",
                &partition.to_string(),
                text,
            ));
        }
    }
}
