//! The FAT reader against mtools and dosfstools, and against volumes that are broken on purpose.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use premeasure::disk::{FatKind, FatVolume, Volume as _};
use premeasure::source::Blob;
use support::{find_tool, premeasure, read, scratch, skipped_without, tool};

const TOOLS: [&str; 3] = ["mcopy", "mdel", "mmd"];

/// A volume made by `mkfs.vfat` with these options.
fn volume(folder: &Path, size: u64, options: &[&str]) -> PathBuf {
    let image = folder.join("fat.img");
    std::fs::File::create(&image).and_then(|file| file.set_len(size)).expect("an empty image");
    tool(Command::new(mkfs()).args(options).arg(&image));
    image
}

fn mkfs() -> PathBuf {
    find_tool("mkfs.vfat").unwrap_or_else(|| "/usr/sbin/mkfs.vfat".into())
}

fn is_skipped() -> bool {
    skipped_without(&TOOLS) || (!mkfs().exists() && skipped_without(&["mkfs.vfat"]))
}

fn mtools(program: &str, image: &Path, arguments: &[&str]) {
    tool(Command::new(program).arg("-i").arg(image).args(arguments).env("MTOOLS_SKIP_CHECK", "1"));
}

fn parse(image: &Path) -> FatVolume {
    FatVolume::parse(&Blob::from_bytes(read(image)), "volume").expect("a FAT volume")
}

/// Bytes that tell their place.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at / 512) as u8 ^ (at % 251) as u8 ^ seed).collect()
}

#[test]
fn all_formats_and_sector_sizes_are_read_as_mtools_wrote_them() {
    if is_skipped() {
        return;
    }
    let cases: [(u64, &[&str], FatKind); 4] = [
        (2 << 20, &["-F", "12"], FatKind::Fat12),
        (32 << 20, &["-F", "16"], FatKind::Fat16),
        (64 << 20, &["-F", "32", "-s", "1"], FatKind::Fat32),
        (300 << 20, &["-F", "32", "-S", "4096", "-s", "1"], FatKind::Fat32),
    ];
    for (size, options, kind) in cases {
        let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
        let image = volume(folder.path(), size, options);
        mtools("mmd", &image, &["::/EFI", "::/EFI/Linux"]);
        // Holes of 5 KiB between files that stay, so that the big file is in pieces.
        for number in 0..30 {
            let small = folder.path().join(format!("small-{number}"));
            std::fs::write(&small, pattern(5000, number)).expect("written");
            let target = format!("::/EFI/Linux/Small file number {number}.efi");
            mtools("mcopy", &image, &[small.to_str().expect("UTF-8"), &target]);
        }
        for number in (0..30).step_by(2) {
            mtools("mdel", &image, &[&format!("::/EFI/Linux/Small file number {number}.efi")]);
        }
        let big = folder.path().join("big");
        std::fs::write(&big, pattern(400_000, 77)).expect("written");
        mtools("mcopy", &image, &[big.to_str().expect("UTF-8"), "::/EFI/Linux/Big.EFI"]);

        let volume = parse(&image);
        assert_eq!(volume.kind(), kind, "{options:?}");
        let content =
            |path: &str| volume.open(path).expect("sound").expect("there").read(1 << 20).expect("read");
        assert!(content("\\efi\\LINUX\\big.efi") == pattern(400_000, 77), "{options:?}");
        assert!(content("/EFI/Linux/small FILE number 7.efi") == pattern(5000, 7), "{options:?}");
        assert!(content("\\EFI\\LINUX\\BIG.EFI") == pattern(400_000, 77), "{options:?}");
        assert!(
            volume.open("\\EFI\\Linux\\Small file number 2.efi").expect("sound").is_none(),
            "{options:?}"
        );
        let names = volume.list("EFI/Linux").expect("sound").expect("there");
        assert_eq!(names.len(), 16, "{names:?}");
        assert!(names.iter().any(|entry| entry.name == "Small file number 29.efi"), "{names:?}");
    }
}

#[test]
fn circles_and_chains_that_lead_nowhere_are_errors() {
    if is_skipped() {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let image = volume(folder.path(), 32 << 20, &["-F", "16", "-s", "1", "-R", "1"]);
    let file = folder.path().join("file");
    std::fs::write(&file, pattern(5000, 1)).expect("written");
    mtools("mcopy", &image, &[file.to_str().expect("UTF-8"), "::/FILE.BIN"]);
    let sound = read(&image);
    // The file has clusters 2 to 11; the table starts in sector 1, with 2 bytes for a cluster.
    let with = |cluster: usize, next: u16| {
        let mut bytes = sound.clone();
        bytes[512 + 2 * cluster..][..2].copy_from_slice(&next.to_le_bytes());
        let volume = FatVolume::parse(&Blob::from_bytes(bytes), "volume").expect("a FAT volume");
        volume.open("FILE.BIN").map(|blob| blob.map(|blob| blob.len())).map_err(|error| error.to_string())
    };
    assert_eq!(with(5, 6), Ok(Some(5000)), "as it was");
    for (next, words) in
        [(2, "circle"), (5, "circle"), (0xFFFF, "hold 2048"), (1, "clusters 2 to"), (0xFFF6, "clusters 2 to")]
    {
        let error = with(5, next).expect_err("damaged");
        assert!(error.contains(words), "{next:#x}: {error}");
    }
}

/// Every prefix of an image and some thousand damaged copies: an answer or an error, never more.
#[test]
fn damaged_images_never_do_more_than_fail() {
    if is_skipped() {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let image = volume(folder.path(), 1 << 20, &["-F", "12", "-s", "1", "-R", "1"]);
    mtools("mmd", &image, &["::/EFI"]);
    let file = folder.path().join("file");
    std::fs::write(&file, pattern(3000, 1)).expect("written");
    mtools("mcopy", &image, &[file.to_str().expect("UTF-8"), "::/EFI/A long file name.efi"]);
    let sound = read(&image);
    let walk = |bytes: Vec<u8>| {
        let Ok(volume) = FatVolume::parse(&Blob::from_bytes(bytes), "volume") else { return };
        let _ = volume.list("EFI");
        let _ = volume.open("EFI/A long file name.efi").map(|blob| blob.map(|blob| blob.read(1 << 20)));
    };
    for length in (0..sound.len()).step_by(997) {
        walk(sound[..length].to_vec());
    }
    let mut state = 1_u64;
    for _ in 0..3000 {
        let mut damaged = sound.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % 16384;
            damaged[at] = (state >> 20) as u8;
        }
        walk(damaged);
    }
}

#[test]
fn what_nothing_boots_from_is_a_clear_error() {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text"), "hello, this is no disk at all\n").expect("written");
    std::fs::write(path("empty"), "").expect("written");
    std::fs::create_dir(path("folder")).expect("made");
    std::fs::create_dir_all(path("esp/EFI/BOOT")).expect("made");
    for (name, words) in [
        ("text", "no GUID partition table"),
        ("empty", "is empty"),
        ("folder", "no boot partition"),
        ("esp", "no boot loader"),
    ] {
        let run = premeasure(["predict".into(), path(name).into_os_string()]);
        assert_eq!(run.code, Some(2), "{name}");
        assert!(run.stderr.contains(words) && run.stderr.contains("hint:"), "{name}: {}", run.stderr);
    }
}

/// Witness: OVMF booted `\EFI\..\rig\vmlinuz` with `\rig\.\initrd`.
#[test]
fn dots_in_paths_stay_in_the_volume() {
    if is_skipped() {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let image = volume(folder.path(), 2 << 20, &["-F", "12"]);
    let file = folder.path().join("vmlinuz");
    std::fs::write(&file, "kernel").expect("written");
    mtools("mmd", &image, &["::/EFI", "::/rig"]);
    mtools("mcopy", &image, &[file.to_str().expect("a text"), "::/rig/vmlinuz"]);
    let parsed = parse(&image);
    let content = |path: &str| parsed.open(path).expect("sound").map(|blob| blob.read(10).expect("read"));
    for path in
        ["\\EFI\\..\\rig\\vmlinuz", "/rig/./vmlinuz", "../../rig/vmlinuz", "EFI/../rig/../rig/vmlinuz"]
    {
        assert_eq!(content(path), Some(b"kernel".to_vec()), "{path}");
    }
    for path in ["none/../rig/vmlinuz", "rig/vmlinuz/../vmlinuz", "rig/vmlinuz/."] {
        assert_eq!(content(path), None, "{path}");
    }
}
