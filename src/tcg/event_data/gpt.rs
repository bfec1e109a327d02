//! `EV_EFI_GPT_EVENT`: the partition table of the boot disk.

use crate::uefi::gpt::{GptData, GptEntry};
use crate::uefi::guid;

use super::field::{Field, Value};

pub(super) fn summary(gpt: &GptData<'_>) -> String {
    let count = gpt.entries.len();
    let plural = if count == 1 { "" } else { "s" };
    format!("disk {}, {count} partition{plural}", gpt.header.disk_guid)
}

pub(super) fn fields(gpt: &GptData<'_>) -> Vec<Field> {
    let header = &gpt.header;
    let mut fields = vec![
        Field::new("DiskGUID", Value::guid(header.disk_guid), 56..72),
        Field::new("MyLBA", Value::Number(header.my_lba), 24..32),
        Field::new("AlternateLBA", Value::Number(header.alternate_lba), 32..40),
        Field::new("FirstUsableLBA", Value::Number(header.first_usable_lba), 40..48),
        Field::new("LastUsableLBA", Value::Number(header.last_usable_lba), 48..56),
    ];
    let size = usize::try_from(header.size_of_partition_entry).unwrap_or(usize::MAX);
    let mut start = 100_usize; // header and NumberOfPartitions
    for entry in &gpt.entries {
        let end = start.saturating_add(size);
        fields.push(Field::part("Partition", Value::Fields(partition(entry))).at(start..end));
        start = end;
    }
    fields
}

fn partition(entry: &GptEntry) -> Vec<Field> {
    let kind = match guid::name(entry.partition_type) {
        Some(name) => format!("{} ({name})", entry.partition_type),
        None => entry.partition_type.to_string(),
    };
    vec![
        Field::part("PartitionName", Value::text(&*entry.name)),
        Field::part("PartitionTypeGUID", Value::Text(kind)),
        Field::part("UniquePartitionGUID", Value::text(entry.unique_guid.to_string())),
        Field::part("StartingLBA", Value::Number(entry.starting_lba)),
        Field::part("EndingLBA", Value::Number(entry.ending_lba)),
        Field::part("Attributes", Value::Hex(entry.attributes)),
    ]
}
