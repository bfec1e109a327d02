#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::*;

/// A disk of 64 blocks with one ESP in blocks 40 to 47, both tables sound.
fn disk(block_size: usize) -> Vec<u8> {
    let mut disk = vec![0; 64 * block_size];
    disk[446 + 4] = 0xEE;
    disk[446 + 8] = 1;
    let mut entry = [0_u8; 128];
    entry[..16].copy_from_slice(&partition_type::ESP.to_bytes());
    entry[16] = 7;
    entry[32] = 40;
    entry[40] = 47;
    entry[56..62].copy_from_slice(b"E\0S\0P\0");
    let mut entries = vec![0; 4 * 128];
    entries[128..256].copy_from_slice(&entry);
    for (lba, other, at) in [(1_u64, 63_u64, 2_u64), (63, 1, 62)] {
        let mut header = Vec::new();
        header.extend(b"EFI PART");
        header.extend([0, 0, 1, 0, 92, 0, 0, 0]);
        header.extend([0; 8]);
        for number in [lba, other, 34, 61] {
            header.extend(number.to_le_bytes());
        }
        header.extend([9; 16]);
        header.extend(at.to_le_bytes());
        header.extend([4, 0, 0, 0, 128, 0, 0, 0]);
        header.extend(crc32(&entries).to_le_bytes());
        let crc = crc32(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        let start = lba as usize * block_size;
        disk[start..start + 92].copy_from_slice(&header);
        let start = at as usize * block_size;
        disk[start..start + entries.len()].copy_from_slice(&entries);
    }
    disk
}

#[test]
fn both_block_sizes_are_found() {
    for block_size in [512, 4096] {
        let table = Gpt::parse(&Blob::from_bytes(disk(block_size))).expect("a sound table");
        assert_eq!((table.block_size as usize, table.copy), (block_size, TableCopy::Primary));
        let esp = table.of_type(partition_type::ESP).next().expect("an ESP");
        assert_eq!((esp.number, esp.first_lba, esp.last_lba, esp.name.as_str()), (2, 40, 47, "ESP"));
        let content = table.content(esp).expect("inside");
        assert_eq!((content.offset(), content.len()), (40 * block_size as u64, 8 * block_size as u64));
        assert_eq!(table.measured_bytes().map(|bytes| bytes.len()), Some(92 + 8 + 128));
        assert_eq!(table.unclaimed_bytes(), 0);
        assert_eq!(table.backup_error, None);
        assert!(table.has_protective_mbr);
    }
}

/// Witness: OVMF found no boot option on a disk whose first block was zero; with the record it booted.
#[test]
fn a_lost_protective_record_or_backup_is_seen() {
    let mut bytes = disk(512);
    bytes[..512].fill(0);
    assert!(!Gpt::parse(&Blob::from_bytes(bytes)).expect("a sound table").has_protective_mbr);

    let backup_error =
        |bytes: Vec<u8>| Gpt::parse(&Blob::from_bytes(bytes)).expect("a sound primary").backup_error;
    let mut cut = disk(512);
    cut.truncate(62 * 512);
    assert!(backup_error(cut).is_some_and(|text| text.contains("beyond the end of the image")));
    let mut wrong = disk(512);
    wrong[63 * 512 + 60] ^= 1;
    assert!(backup_error(wrong).is_some_and(|text| text.contains("HeaderCRC32")));
    let mut other = disk(512);
    other[63 * 512 + 56] ^= 1;
    let header = 63 * 512;
    other[header + 16..header + 20].fill(0);
    let crc = crc32(&other[header..header + 92]).to_le_bytes();
    other[header + 16..header + 20].copy_from_slice(&crc);
    assert!(backup_error(other).is_some_and(|text| text.contains("DiskGUID")));
}

#[test]
fn the_backup_serves_when_the_primary_is_lost_or_wrong() {
    let mut lost = disk(512);
    lost[512..1024].fill(0);
    let mut wrong = disk(512);
    wrong[512 + 60] ^= 1;
    let mut entries = disk(512);
    entries[1024 + 130] ^= 1;
    for (bytes, what) in [(lost, "Signature"), (wrong, "HeaderCRC32"), (entries, "PartitionEntryArrayCRC32")]
    {
        let table = Gpt::parse(&Blob::from_bytes(bytes)).expect("the backup is sound");
        assert_eq!(table.copy, TableCopy::Backup);
        assert!(table.primary_error.as_ref().is_some_and(|text| text.starts_with(what)), "{what}");
        assert_eq!(table.measured_bytes(), None);
    }
}

#[test]
fn what_is_no_disk_says_so() {
    assert!(matches!(Gpt::parse(&Blob::from_bytes([])), Err(GptError::Missing)));
    assert!(matches!(Gpt::parse(&Blob::from_bytes([0; 8192])), Err(GptError::Missing)));
    let mut both = disk(512);
    both[512 + 60] ^= 1;
    both[63 * 512 + 60] ^= 1;
    assert!(matches!(Gpt::parse(&Blob::from_bytes(both)), Err(GptError::Damaged { .. })));
    let mut cut = disk(512);
    cut.truncate(1100);
    assert!(matches!(Gpt::parse(&Blob::from_bytes(cut)), Err(GptError::Damaged { .. })));
}
