//! dm-verity against `veritysetup`: root hashes of many shapes, and `premeasure check` on a disk that is whole and then is not.

mod support;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use premeasure::source::Blob;
use premeasure::verity::{Superblock, check_tree};
use serde::Deserialize;
use support::{Run, disks, find_tool, premeasure, read, scratch, skipped_without, tool};

/// Tools that Debian keeps in /usr/sbin.
fn sbin(name: &str) -> PathBuf {
    find_tool(name).unwrap_or_else(|| Path::new("/usr/sbin").join(name))
}

fn is_skipped_without(names: &[&str]) -> bool {
    let missing: Vec<&str> = names.iter().copied().filter(|name| !sbin(name).is_file()).collect();
    !missing.is_empty() && skipped_without(&missing)
}

/// Makes a hash device and returns the root hash that veritysetup prints.
fn format(data: &Path, hashes: &Path, options: &[&str]) -> String {
    let printed = tool(Command::new(sbin("veritysetup")).arg("format").args(options).arg(data).arg(hashes));
    let line = printed.lines().find(|line| line.starts_with("Root hash:")).expect("a root hash");
    line.split_whitespace().last().expect("the hash").to_owned()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

#[test]
fn root_hashes_equal_those_of_veritysetup() {
    if is_skipped_without(&["veritysetup"]) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let (data, hashes) = (folder.path().join("data"), folder.path().join("hashes"));
    let cases: [(usize, &[&str]); 9] = [
        (2, &[]),
        (127, &[]),
        (128, &[]),
        (129, &["--salt=00"]),
        (16385, &["--salt=-"]),
        (300, &["--hash=sha512"]),
        (300, &["--hash=sha1"]),
        (300, &["--hash=sha384", "--hash-block-size=1024"]),
        (700, &["--data-block-size=1024", "--hash-block-size=4096"]),
    ];
    for (blocks, options) in cases {
        let block = if options.contains(&"--data-block-size=1024") { 1024 } else { 4096 };
        let mut bytes = noise(blocks * block);
        // Some of it are holes.
        bytes.chunks_mut(block).skip(1).step_by(3).for_each(|block| block.fill(0));
        std::fs::write(&data, bytes).expect("written");
        std::fs::write(&hashes, "").expect("written");
        let expected = format(&data, &hashes, options);
        let (data, hashes) = (Blob::from_bytes(read(&data)), Blob::from_bytes(read(&hashes)));
        let superblock = Superblock::parse(&hashes).expect("a superblock");
        let check = check_tree(&superblock, &data, &hashes, &|_| ()).expect("computable");
        assert_eq!(check.root.to_string(), expected, "{blocks} {options:?}");
        assert_eq!((check.wrong_blocks, check.first_wrong), (0, None), "{blocks} {options:?}");
    }
}

/// A disk with systemd-boot, a Type #1 entry that names a root hash, root, hash tree and signature partition.
struct VerityDisk {
    folder: tempfile::TempDir,
    hash: String,
}

const MIB: u64 = 1 << 20;
/// Offsets of the root, hash and signature partitions.
const ROOT: u64 = 41 * MIB;
const HASHES: u64 = 61 * MIB;
const SIGNATURE: u64 = 63 * MIB;

impl VerityDisk {
    fn new(options: &str) -> Self {
        let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("root"), noise(20 * MIB as usize)).expect("written");
        std::fs::write(path("hashes"), "").expect("written");
        let hash = format(&path("root"), &path("hashes"), &["--salt=aabb"]);

        let esp = disks::esp("g2-type1-252");
        let image = path("esp");
        std::fs::File::create(&image).and_then(|file| file.set_len(40 * MIB)).expect("an empty image");
        tool(Command::new(sbin("mkfs.vfat")).args(["-F", "32"]).arg(&image));
        for name in ["EFI", "rig"] {
            tool(Command::new("mcopy").args(["-s", "-i"]).arg(&image).arg(esp.join(name)).arg("::/"));
        }
        std::fs::write(path("loader.conf"), "editor no\n").expect("written");
        let entry = format!("title Root\nlinux /rig/vmlinuz\noptions roothash={hash} {options}\n");
        std::fs::write(path("root.conf"), entry).expect("written");
        tool(Command::new("mmd").arg("-i").arg(&image).args(["::/loader", "::/loader/entries"]));
        for (file, target) in [("loader.conf", "::/loader/"), ("root.conf", "::/loader/entries/")] {
            tool(Command::new("mcopy").arg("-i").arg(&image).arg(path(file)).arg(target));
        }
        Self::assemble(&folder, &hash);
        Self { folder, hash }
    }

    fn assemble(folder: &tempfile::TempDir, hash: &str) {
        let path = |name: &str| folder.path().join(name);
        let uuid = |digits: &str| {
            let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| &digits[from..to]);
            parts.join("-")
        };
        let disk = path("disk.img");
        std::fs::File::create(&disk).and_then(|file| file.set_len(66 * MIB)).expect("an empty image");
        let kinds = [
            "1:c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "2:4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
            "3:2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
            "4:41092b05-9fc8-4523-994f-2def0408b176",
        ];
        let mut sgdisk = Command::new(sbin("sgdisk"));
        sgdisk.args(["-n", "1:1M:+40M", "-n", "2:41M:+20M", "-n", "3:61M:+2M", "-n", "4:63M:+1M"]);
        for kind in kinds {
            sgdisk.args(["-t", kind]);
        }
        sgdisk.args(["-u", &format!("2:{}", uuid(&hash[..32])), "-u", &format!("3:{}", uuid(&hash[32..]))]);
        tool(sgdisk.arg(&disk));
        let mut bytes = read(&disk);
        let mut put =
            |offset: u64, content: &[u8]| bytes[offset as usize..][..content.len()].copy_from_slice(content);
        put(MIB, &read(path("esp")));
        put(ROOT, &read(path("root")));
        put(HASHES, &read(path("hashes")));
        put(SIGNATURE, format!("{{\"rootHash\":\"{hash}\",\"signature\":\"MAA=\"}}").as_bytes());
        std::fs::write(&disk, bytes).expect("the disk");
    }

    /// Puts another text into the signature partition.
    fn sign(&self, json: &str) {
        let mut bytes = read(self.image());
        let place = &mut bytes[SIGNATURE as usize..][..MIB as usize];
        place.fill(0);
        place[..json.len()].copy_from_slice(json.as_bytes());
        std::fs::write(self.image(), bytes).expect("written");
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }

    /// `check --json` of the disk with some bytes changed.
    fn check_with(&self, changes: &[(u64, u8)]) -> (Run, Report) {
        self.check_options(changes, &[])
    }

    fn check_options(&self, changes: &[(u64, u8)], options: &[OsString]) -> (Run, Report) {
        let image = self.folder.path().join("changed.img");
        let mut bytes = read(self.image());
        for (offset, mask) in changes {
            bytes[*offset as usize] ^= mask;
        }
        std::fs::write(&image, bytes).expect("written");
        let arguments = ["check".into(), image.into_os_string(), "--json".into()];
        let run = premeasure(arguments.into_iter().chain(options.iter().cloned()));
        let report =
            serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
        (run, report)
    }
}

#[derive(Deserialize)]
struct Report {
    findings: Vec<Finding>,
    verity: Vec<Verity>,
}

#[derive(Deserialize)]
struct Finding {
    severity: String,
    code: String,
}

#[derive(Deserialize)]
struct Verity {
    expected: String,
    computed: String,
    wrong_blocks: u64,
    signed_by: Option<String>,
}

impl Report {
    fn errors(&self) -> Vec<&str> {
        let errors = self.findings.iter().filter(|finding| finding.severity == "error");
        errors.map(|finding| finding.code.as_str()).collect()
    }
}

fn is_disk_skipped() -> bool {
    skipped_without(&disks::TOOLS) || is_skipped_without(&["veritysetup", "sgdisk", "mkfs.vfat"])
}

#[test]
fn a_whole_disk_matches_and_each_damage_has_its_name() {
    if is_disk_skipped() {
        return;
    }
    let disk = VerityDisk::new("quiet");
    let (_, report) = disk.check_with(&[]);
    assert_eq!(report.errors(), [""; 0]);
    let [tree] = report.verity.as_slice() else { panic!("one tree") };
    assert_eq!((&tree.expected, &tree.computed, tree.wrong_blocks), (&disk.hash, &disk.hash, 0));

    // A flipped bit in the data also makes the stored tree differ in each of its levels.
    let (run, report) = disk.check_with(&[(ROOT + 5_000_000, 1)]);
    assert_eq!((run.code, report.errors()), (Some(1), vec!["verity-root-mismatch", "verity-tree-mismatch"]));
    let (_, report) = disk.check_with(&[(HASHES + 4096 * 3, 1)]);
    assert_eq!(report.errors(), ["verity-tree-mismatch"]);
    let (_, report) = disk.check_with(&[(HASHES + 88, 1)]);
    assert!(report.errors().contains(&"verity-root-mismatch"), "the salt counts: {:?}", report.errors());
    let (_, report) = disk.check_with(&[(HASHES, 1)]);
    assert_eq!(report.errors(), ["verity-unreadable"]);
    let (_, report) = disk.check_with(&[(SIGNATURE + 14, 1)]);
    assert_eq!(report.errors(), ["verity-signature-mismatch"]);
}

#[test]
fn a_word_that_switches_verity_off_is_an_error() {
    if is_disk_skipped() {
        return;
    }
    let disk = VerityDisk::new("systemd.verity=0 rd.shell");
    let (run, report) = disk.check_with(&[]);
    assert_eq!((run.code, report.errors()), (Some(1), vec!["command-line-word"]));
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.severity == "warning" && finding.code == "command-line-word")
    );
}

/// The signature partition as `openssl smime` signs it, the way that systemd's documentation shows, and with attributes.
#[test]
fn signatures_of_root_hashes_are_verified() {
    if is_disk_skipped() || skipped_without(&["openssl"]) {
        return;
    }
    let disk = VerityDisk::new("quiet");
    let at = |name: &str| disk.folder.path().join(name);
    for name in ["one", "two"] {
        let mut request = Command::new("openssl");
        request.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", &format!("/CN={name}/")]);
        tool(request.arg("-keyout").arg(at(name)).arg("-out").arg(at(&format!("{name}.pem"))));
    }
    std::fs::write(at("hash.txt"), &disk.hash).expect("written");
    let fingerprint = |name: &str| {
        let mut command = Command::new("openssl");
        let printed = tool(command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(at(name)));
        printed.trim().rsplit('=').next().expect("a value").replace(':', "").to_lowercase()
    };
    let signature = |options: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["smime", "-sign", "-nocerts", "-binary", "-outform", "der"]).args(options);
        command.arg("-in").arg(at("hash.txt")).arg("-inkey").arg(at("one")).arg("-signer").arg(at("one.pem"));
        tool(command.arg("-out").arg(at("signature")));
        tool(Command::new("base64").arg("-w0").arg(at("signature")))
    };
    let by = |certificate: &str| {
        let options = [OsString::from("--certificate"), at(certificate).into_os_string()];
        let (_, report) = disk.check_options(&[], &options);
        let errors: Vec<String> = report.errors().iter().map(|code| (*code).to_owned()).collect();
        // Nobody signed the programs of this disk.
        let errors: Vec<String> = errors.into_iter().filter(|code| code != "certificate").collect();
        (errors, report.verity[0].signed_by.clone())
    };
    let json = |fingerprint: &str, signature: &str| {
        let hash = &disk.hash;
        format!(
            "{{\"rootHash\":\"{hash}\",\"certificateFingerprint\":\"{fingerprint}\",\"signature\":\"{signature}\"}}"
        )
    };
    let invalid = (vec!["verity-signature-invalid".to_owned()], None);
    for options in [&["-noattr"][..], &[]] {
        disk.sign(&json(&fingerprint("one.pem"), &signature(options)));
        assert_eq!(by("one.pem"), (Vec::new(), Some("one".to_owned())), "{options:?}");
        assert_eq!(by("two.pem"), invalid, "{options:?}");
        disk.sign(&json(&fingerprint("two.pem"), &signature(options)));
        assert_eq!(by("one.pem"), invalid, "another fingerprint, {options:?}");
    }
    // A signature of something else.
    std::fs::write(at("hash.txt"), disk.hash.replace('0', "1")).expect("written");
    disk.sign(&json(&fingerprint("one.pem"), &signature(&["-noattr"])));
    assert_eq!(by("one.pem"), invalid);
    disk.sign(&json(&fingerprint("one.pem"), "!!"));
    assert_eq!(by("one.pem").0, ["verity-signature-unreadable"]);
}
