//! ext4 as mke2fs writes it, and as nobody should: the file system on which GRUB has its files.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use premeasure::disk::{EntryKind, ExtError, ExtVolume, Volume};
use premeasure::source::Blob;
use support::{find_tool, read, scratch, skipped_without, tool};

const UUID: &str = "11111111-2222-4333-8444-555555555501";

/// A file system of 8 MiB with the content of `folder`; `None` where there is no mke2fs.
fn make(folder: &Path, options: &[&str]) -> Option<Vec<u8>> {
    let mke2fs = find_tool("mke2fs").unwrap_or_else(|| PathBuf::from("/usr/sbin/mke2fs"));
    if !mke2fs.exists() && skipped_without(&["mke2fs"]) {
        return None;
    }
    let image = folder.with_extension("img");
    let mut command = Command::new(mke2fs);
    command.args(["-q", "-F", "-t", "ext4", "-U", UUID, "-L", "boot"]).args(options);
    tool(command.arg("-d").arg(folder).arg(&image).arg("8M"));
    Some(read(&image))
}

fn tree(folder: &Path) {
    let write = |path: &str, bytes: &[u8]| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, bytes).expect("written");
    };
    write("grub/grub.cfg", b"set timeout=0\n");
    write("vmlinuz-6", &pattern());
    write("empty", b"");
    for number in 0..600 {
        write(&format!("many/a file with a longer name {number}"), b"x");
    }
    for (link, target) in [
        ("vmlinuz", "vmlinuz-6"),
        ("absolute", "/grub/../vmlinuz"),
        ("round", "about"),
        ("about", "round"),
        ("dir", "grub"),
    ] {
        std::os::unix::fs::symlink(target, folder.join(link)).expect("linked");
    }
}

/// Bytes that tell their place, over many blocks.
fn pattern() -> Vec<u8> {
    (0..700_001_usize).map(|at| (at / 1024) as u8 ^ (at % 251) as u8).collect()
}

fn parse(bytes: &[u8]) -> Result<ExtVolume, ExtError> {
    ExtVolume::parse(&Blob::from_bytes(bytes), "partition 2")
}

#[test]
fn files_are_read_as_mke2fs_wrote_them() {
    let kinds: [&[&str]; 4] =
        [&[], &["-b", "1024"], &["-O", "metadata_csum_seed"], &["-O", "^extents,^64bit,^metadata_csum"]];
    for options in kinds {
        let temporary = tempfile::tempdir_in(scratch()).expect("a temporary folder");
        let folder = temporary.path().join("boot");
        tree(&folder);
        let Some(image) = make(&folder, options) else { return };
        let volume = parse(&image).expect("ext4");
        assert_eq!((volume.uuid(), volume.name()), (UUID, "boot"));
        assert_eq!(volume.has_checksum_seed(), options.contains(&"metadata_csum_seed"));
        for name in ["/vmlinuz-6", "vmlinuz", "/absolute", "//grub/..//./vmlinuz-6"] {
            let file = volume.open(name).expect("sound").unwrap_or_else(|| panic!("no {name}"));
            assert!(file.read(1 << 20).expect("read") == pattern(), "{options:?} {name}");
            assert_eq!(
                file.slice(699_990, 11).expect("inside").read(11).expect("read"),
                &pattern()[699_990..]
            );
        }
        assert_eq!(volume.open("/dir/grub.cfg").expect("sound").expect("there").len(), 14);
        assert!(volume.open("/empty").expect("sound").expect("there").is_empty());
        // Other than firmware, GRUB goes by the case of letters.
        for name in ["/VMLINUZ-6", "/grub", "/vmlinuz-6/x", "/nothing/x"] {
            assert!(volume.open(name).expect("sound").is_none(), "{name}");
        }
        assert_eq!(volume.list("/many").expect("sound").expect("a folder").len(), 600);
        let grub = volume.list("/dir/").expect("sound").expect("a folder");
        assert!(
            matches!(grub.as_slice(), [file] if file.name == "grub.cfg" && file.kind == EntryKind::File(14))
        );
        assert!(volume.list("/vmlinuz").expect("sound").is_none());
        let circle = volume.open("/round").expect_err("a circle").to_string();
        assert!(circle.contains("links"), "{circle}");
    }
}

#[test]
fn what_grub_reads_otherwise_is_refused() {
    let temporary = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let folder = temporary.path().join("boot");
    tree(&folder);
    // Without checksums, so that the fields below count.
    let Some(sound) = make(&folder, &["-O", "^metadata_csum,^64bit"]) else { return };
    let with = |at: usize, value: u32| {
        let mut image = sound.clone();
        image[1024 + at..1024 + at + 4].copy_from_slice(&value.to_le_bytes());
        parse(&image).expect_err("changed").to_string()
    };
    let features = u32::from_le_bytes(sound[1024 + 0x60..1024 + 0x64].try_into().expect("four"));
    for (at, value, reason) in [
        (0x38, 0, "s_magic"),
        (0x60, features | 4, "not unmounted cleanly"),
        (0x60, features | 0x8000, "0x8000"),
        (0x04, 1 << 30, "s_blocks_count"),
        (0x18, 20, "s_log_block_size"),
    ] {
        let error = with(at, value);
        assert!(error.contains(reason), "{at:#x}: {error}");
    }
    assert!(parse(&sound[..1500]).is_err());
}

/// Damage anywhere in the structures is an error or nothing, and ends.
#[test]
fn damage_ends_in_an_error() {
    let temporary = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let folder = temporary.path().join("boot");
    tree(&folder);
    let Some(sound) = make(&folder, &["-O", "^metadata_csum", "-b", "1024"]) else { return };
    let mut errors = 0;
    for at in (1024..600_000_usize).step_by(9001) {
        let mut image = sound.clone();
        image[at..at + 64].fill(0xFF);
        let Ok(volume) = parse(&image) else {
            errors += 1;
            continue;
        };
        for folder in ["/", "/many", "/grub"] {
            errors += usize::from(volume.list(folder).is_err());
        }
        let file = volume.open("/vmlinuz");
        errors += usize::from(
            file.is_err() || file.is_ok_and(|file| file.is_some_and(|file| file.read(1 << 21).is_err())),
        );
    }
    assert!(errors > 0, "no damage was seen");
}
