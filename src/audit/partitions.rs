//! The partition table: what overlaps, what lies outside.

use super::{Finding, Severity};
use crate::disk::{Gpt, Partition};

pub(super) fn check(table: &Gpt, findings: &mut Vec<Finding>) {
    let mut sorted: Vec<&Partition> = table.partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.first_lba);
    for pair in sorted.windows(2) {
        if let [one, other] = pair
            && one.last_lba >= other.first_lba
        {
            let text = format!(
                "overlaps {other}: it ends at block {}, that one starts at {}",
                one.last_lba, other.first_lba
            );
            findings.push(Finding::new(Severity::Error, "partition-overlap", &one.to_string(), text));
        }
    }
    for partition in &table.partitions {
        if partition.last_lba < partition.first_lba {
            let text = "ends before it starts";
            findings.push(Finding::new(Severity::Error, "partition-backwards", &partition.to_string(), text));
        } else if table.content(partition).is_none() {
            let text = "reaches beyond the end of the image: the image is cut off";
            findings.push(Finding::new(Severity::Error, "partition-outside", &partition.to_string(), text));
        }
    }
}
