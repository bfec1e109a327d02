//! Files that a Type #1 entry brings along for its UKI (systemd-boot 261 and later): archives in PCR 12 and 13.
//!
//! No boot with such an entry was recorded. The archives are written here a second time, from the description of systemd's
//! `boot.c`, and cpio lists them.

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::{disks, find_tool, fixture, premeasure, read, scratch, skipped_without, tool};

/// Records of one archive, inodes going on from `inode`.
fn archive(inode: &mut u32, folder: &str, modes: (u32, u32), files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut record = |name: &str, mode: u32, content: &[u8]| {
        *inode += 1;
        let fields = [*inode, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        bytes.extend(b"070701");
        fields.iter().for_each(|field| bytes.extend(format!("{field:08x}").bytes()));
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    for (name, content) in files {
        record(".extra", 0o040_555, b"");
        record(&format!(".extra/{folder}"), 0o040_000 | modes.0, b"");
        record(&format!(".extra/{folder}/{name}"), 0o100_000 | modes.1, content);
    }
    bytes.extend(b"070701");
    for field in ["00000000", "00000000", "00000000", "00000000", "00000001"] {
        bytes.extend(field.bytes());
    }
    bytes.extend("0".repeat(48).bytes());
    bytes.extend(b"0000000B00000000TRAILER!!!\0\0\0\0");
    bytes
}

fn esp(root: &Path, version: &str, uki: &Path, lines: &str) {
    for path in ["EFI/BOOT", "loader/entries"] {
        fs::create_dir_all(root.join(path)).expect("made");
    }
    fs::copy(fixture(format!("pe/systemd-boot-{version}.efi")), root.join("EFI/BOOT/BOOTX64.EFI"))
        .expect("copied");
    fs::copy(uki, root.join("os.efi")).expect("copied");
    for (name, content) in FILES {
        fs::write(root.join(name), content).expect("written");
    }
    fs::write(root.join("loader/entries/os.conf"), format!("{lines}\n")).expect("written");
}

const FILES: [(&str, &[u8]); 5] = [
    ("b.cred", b"second"),
    ("a.cred", b"first"),
    ("x.sysext.raw", b"extension"),
    ("y.confext.raw", b"configuration"),
    ("more.cpio", b"an initrd"),
];

fn predict(root: &Path, more: &[&str]) -> Value {
    let base = ["--json", "--bank", "sha256", "--secure-boot", "off", "--boot-secret", "none"];
    let arguments = [OsStr::new("predict"), root.as_os_str()].into_iter().map(OsString::from);
    premeasure(arguments.chain(base.iter().chain(more).map(OsString::from))).json()
}

/// Digests of a PCR's events up to the kernel.
fn events(document: &Value, pcr: u64) -> Vec<String> {
    let measurements = document["variants"][0]["measurements"].as_array().expect("measurements").iter();
    let of = measurements.filter(|m| m["pcr"] == pcr && m["stage"] == "exit-boot-services");
    of.map(|m| m["digests"]["sha256"].as_str().unwrap_or("unknown").to_owned()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[test]
fn extra_files_are_packed_by_kind_and_measured() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let uki = fixture("t3-tiny-262/uki.efi");
    let lines = "uki /os.efi\nextra /b.cred\nextra /x.sysext.raw\nextra /a.cred\nextra /y.confext.raw";
    let root = folder.path().join("262");
    esp(&root, "262", &uki, lines);
    let document = predict(&root, &[]);

    let mut inode = 0;
    let file = |name: &str| *FILES.iter().find(|(known, _)| *known == name).expect("a file");
    // In the order of the lines, not of the names.
    let credentials = archive(&mut inode, "credentials", (0o500, 0o400), &[file("b.cred"), file("a.cred")]);
    let sysext = archive(&mut inode, "sysext", (0o555, 0o444), &[file("x.sysext.raw")]);
    let confext = archive(&mut inode, "confext", (0o555, 0o444), &[file("y.confext.raw")]);
    assert_eq!(events(&document, 12)[..2], [sha256(&credentials), sha256(&confext)]);
    assert_eq!(events(&document, 13), [sha256(&sysext)]);
    if find_tool("cpio").is_some() {
        let path = folder.path().join("credentials.cpio");
        fs::write(&path, &credentials).expect("written");
        let listed = tool(Command::new("cpio").arg("-tF").arg(&path));
        assert_eq!(listed.lines().filter(|line| line.ends_with(".cred")).count(), 2, "{listed}");
    }
    // PCR 9 has them, too: another file, another initrd.
    let before = events(&document, 9);
    fs::write(root.join("a.cred"), "third").expect("written");
    let after = events(&predict(&root, &[]), 9);
    assert_eq!(before.len(), after.len());
    assert_eq!(before.iter().zip(&after).filter(|(one, other)| one != other).count(), 1);

    // systemd-boot 254 knows neither extra nor uki.
    let old = folder.path().join("254");
    esp(&old, "254", &uki, &lines.replace("uki ", "efi "));
    let document = predict(&old, &[]);
    assert_eq!(events(&document, 13), [""; 0]);
}

/// The stub from 261 on takes the boot loader's initrd before its own; older ones refuse to boot.
#[test]
fn initrd_lines_go_before_the_ukis_own_initrd() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let root = folder.path().join("262");
    esp(&root, "262", &fixture("t3-tiny-262/uki.efi"), "linux /os.efi");
    let without = events(&predict(&root, &["--cmdline", "x console=y"]), 9);
    esp(
        &root,
        "262",
        &fixture("t3-tiny-262/uki.efi"),
        "linux /os.efi\ninitrd /more.cpio\noptions x console=y",
    );
    let document = predict(&root, &[]);
    let with = events(&document, 9);
    assert_eq!(with.len(), without.len());
    assert_ne!(with.last(), without.last());
    let options: Vec<u8> =
        "initrd=\\more.cpio x console=y\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(events(&document, 12), [sha256(&options), sha256(&options)], "by the loader and by the stub");

    // With uki the line means nothing (booted: 262.1).
    esp(&root, "262", &fixture("t3-tiny-262/uki.efi"), "uki /os.efi\ninitrd /more.cpio\noptions x console=y");
    assert_eq!(events(&predict(&root, &[]), 9).last(), without.last());

    let old = folder.path().join("old");
    esp(&old, "262", &fixture("t-tiny-257/uki.efi"), "linux /os.efi\ninitrd /more.cpio");
    let run = premeasure([OsStr::new("predict"), old.as_os_str()]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("refuses an initrd"), "{}", run.stderr);
    assert_eq!(read(old.join("more.cpio")), b"an initrd");
}
