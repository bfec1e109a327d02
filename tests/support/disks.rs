//! The disks of the real boots: unpacked once below `target/tmp`, the ESP's files extracted with mtools.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{fixture, read, scratch, tool};

/// What [`disk`] and [`esp`] need.
pub(crate) const TOOLS: [&str; 3] = ["tar", "zstd", "mcopy"];

/// GPT partition type of an EFI System Partition as stored: c12a7328-f81f-11d2-ba4b-00a0c93ec93b.
const ESP_TYPE: [u8; 16] = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
const SECTOR: usize = 512;

/// The disk image of a case.
pub(crate) fn disk(case: &str) -> PathBuf {
    unpacked().join(case).join("disk.img")
}

/// OVMF's variable store of a case as it was before the boot.
pub(crate) fn variables(case: &str) -> PathBuf {
    unpacked().join(case).join("vars.fd")
}

/// A folder with every file of the case's ESP.
pub(crate) fn esp(case: &str) -> PathBuf {
    let target = unpacked().join(case).join("esp");
    once(&target, |folder| {
        let image = disk(case);
        let drive = format!("{}@@{}", image.display(), esp_offset(&image));
        tool(Command::new("mcopy").args(["-s", "-n", "-Q", "-i", &drive, "::/"]).arg(folder));
    });
    target
}

fn unpacked() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let archive = fixture("boots/disks.tar.zst");
        let target = scratch().join(format!("disks-{}", archive_id(&archive)));
        once(&target, |folder| {
            let arguments = ["--use-compress-program=zstd", "--no-same-owner", "-xSf"];
            tool(Command::new("tar").args(arguments).arg(&archive).arg("-C").arg(folder));
        });
        target
    })
}

/// Length and the zstd frame's own checksum of the contents, which are its last four bytes: a new archive gets a new folder.
fn archive_id(archive: &Path) -> String {
    let bytes = read(archive);
    let checksum = bytes.last_chunk::<4>().expect("not empty");
    format!("{}-{}", bytes.len(), hex::encode(checksum))
}

/// Lets `fill` make the folder `target` unless it is there. Test processes run side by side: each fills a folder of its
/// own, the first to finish names it `target`, the others drop theirs.
fn once(target: &Path, fill: impl FnOnce(&Path)) {
    if target.exists() {
        return;
    }
    let work = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    fill(work.path());
    match fs::rename(work.path(), target) {
        Err(error) if !matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {
            panic!("{}: {error}", target.display())
        }
        _ => {}
    }
}

/// Byte offset of the ESP, from the primary GPT (UEFI specification, section 5.3).
fn esp_offset(image: &Path) -> u64 {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::open(image).expect("the disk image");
    let mut table = vec![0; 34 * SECTOR];
    file.read_exact_at(&mut table, 0).expect("34 sectors");
    assert_eq!(&table[SECTOR..SECTOR + 8], b"EFI PART", "{}", image.display());
    let number = |at: usize| u64::from_le_bytes(table[at..at + 8].try_into().expect("eight bytes"));
    let entries = usize::try_from(number(SECTOR + 72)).expect("PartitionEntryLBA") * SECTOR;
    let entry = (0..128).map(|n| entries + n * 128).find(|&at| table[at..at + 16] == ESP_TYPE);
    number(entry.expect("an EFI System Partition") + 32) * SECTOR as u64
}
