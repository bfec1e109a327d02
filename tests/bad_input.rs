//! Damaged and odd inputs: a clear error with exit code 2, or a right answer; never a panic, never a partial file.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::pe_builder::{ARM64, I386, Pe, RISCV64, Section};
use support::{Run, fixture, premeasure, read, scratch};

/// PCR 11 right after `enter-initrd` of the four sections below, SHA-256.
/// Witness: `systemd-measure calculate` of systemd 252 (Debian 12) over four files with these contents.
const PCR11: &str = "9640e7e48e7a379b4ecd5be68545014f6848a9bd8ba5c8c4fdc370be320463c4";
const SECTIONS: &[(&str, &[u8])] =
    &[(".linux", b"KERNEL"), (".osrel", b"ID=test\n"), (".cmdline", b"quiet"), (".initrd", b"INITRD")];

fn folder(name: &str) -> PathBuf {
    let path = scratch().join("bad-input").join(name);
    fs::create_dir_all(&path).expect("a scratch folder");
    path
}

fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder("files").join(name);
    fs::write(&path, bytes).expect("written");
    path
}

fn predict(path: &Path) -> Run {
    premeasure(["predict".as_ref(), path.as_os_str(), "--format".as_ref(), "pcrs".as_ref()])
}

/// Exit code 2, nothing on standard output, the file's name and these words in the message.
fn assert_refused(path: &Path, words: &[&str]) {
    let run = predict(path);
    assert_eq!((run.code, run.text().as_str()), (Some(2), ""), "{}", run.stderr);
    let name = path.file_name().expect("a name").to_string_lossy();
    for word in words.iter().chain([&&*name]) {
        assert!(run.stderr.contains(word), "'{word}' is not in: {}", run.stderr);
    }
}

#[test]
fn what_is_no_pe_file_is_refused_by_name() {
    assert_refused(&write("empty.efi", b""), &["is empty", "hint:"]);
    assert_refused(&write("one-byte.efi", b"M"), &["neither a UKI, a disk nor a boot partition"]);
    assert_refused(
        &write("text.efi", &[b'x'; 4096]),
        &["neither a UKI, a disk nor a boot partition", "no FAT file system"],
    );
    assert_refused(&folder("a-folder.efi"), &["no boot partition"]);
    assert_refused(Path::new("/nowhere/missing.efi"), &["No such file"]);
    let mut elf = read(fixture("t-tiny-257/uki.efi"));
    elf[0..4].copy_from_slice(b"\x7fELF");
    assert_refused(&write("elf.efi", &elf), &["neither a UKI, a disk nor a boot partition"]);
}

#[test]
fn a_file_that_may_not_be_read_is_an_error() {
    let path = write("secret.efi", b"MZ");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("changed");
    // root may read everything: then the file is refused for what it holds.
    let run = predict(&path);
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("Permission denied") || run.stderr.contains("truncated PE"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_plain_program_is_no_uki() {
    assert_refused(
        &write("program.efi", &Pe::new().section(Section::new(".text", [0xc3])).build()),
        &["no section .linux"],
    );
    assert_refused(&write("no-sections.efi", &Pe::new().build()), &["no section .linux"]);
}

/// A UKI cut at every length of its headers, and at many lengths behind them: an error that names an offset or a
/// section, never a value.
#[test]
fn a_truncated_uki_is_refused_at_every_length() {
    let whole = Pe::uki("257.13").sections(SECTIONS).build();
    for length in (0..whole.len()).filter(|length| *length < 1100 || length % 97 == 0) {
        let path = write("truncated.efi", &whole[..length]);
        let run = predict(&path);
        assert_eq!((run.code, run.text().as_str()), (Some(2), ""), "{length}: {}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{length}: {}", run.stderr);
    }
}

#[test]
fn sections_outside_the_file_are_named() {
    let with = |field, value: u32| {
        let mut bytes = Pe::uki("257.13").sections(SECTIONS).section(Section::new(".splash", [1])).build();
        let header = bytes.windows(8).position(|name| name == b".splash\0").expect("its header");
        bytes[header + field..][..4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    // SizeOfRawData stands 16 bytes into a section's header, PointerToRawData 20.
    assert_refused(
        &write("outside.efi", &with(20, 0x7fff_0000)),
        &["section .splash", "PointerToRawData 0x7fff0000"],
    );
    assert_refused(
        &write("huge-raw.efi", &with(16, u32::MAX)),
        &["section .splash", "SizeOfRawData 0xffffffff"],
    );
}

#[test]
fn a_virtual_size_of_4_gib_is_refused_at_once() {
    for name in [".initrd", ".splash"] {
        let pe = Pe::uki("257.13")
            .sections(&SECTIONS[..3])
            .section(Section::new(name, [1]).virtual_size(u32::MAX));
        assert_refused(&write("4gib.efi", &pe.build()), &["zero fill"]);
    }
}

#[test]
fn a_certificate_table_larger_than_the_file_is_refused() {
    let pe = Pe::uki("257.13").sections(SECTIONS).trailing(&[0; 16]).security_directory(0, 0x100_0000);
    assert_refused(&write("certificates.efi", &pe.build()), &["certificate table"]);
    let pe = Pe::uki("257.13").sections(SECTIONS).size_of_headers(0x10);
    assert_refused(&write("headers.efi", &pe.build()), &["SizeOfHeaders"]);
}

/// Overlapping raw data is odd but firmware loads it, and what is measured is defined.
#[test]
fn overlapping_sections_are_hashed_as_they_are_loaded() {
    let first = Pe::uki("257.13").sections(SECTIONS);
    let pe = first.section(Section::new(".splash", b"12345678").raw_offset(0x200));
    let run = predict(&write("overlap.efi", &pe.build()));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

/// ARM64, RISC-V and 32-bit images: the sections count as anywhere, and the output says that no such boot was seen.
#[test]
fn other_architectures_work_and_say_that_none_was_observed() {
    for (name, machine) in [("arm64", ARM64), ("riscv64", RISCV64), ("ia32", I386)] {
        let mut pe = Pe::uki("257.13").machine(machine).sections(SECTIONS);
        if machine == I386 {
            pe = pe.pe32();
        }
        let path = write(&format!("{name}.efi"), &pe.build());
        let arguments = ["predict".as_ref(), path.as_os_str(), "--json".as_ref()];
        let document: serde_json::Value = premeasure(arguments).json();
        let pcr11 = &document["variants"][0]["pcrs"][11];
        let value = pcr11["values"].as_array().expect("values").iter().find(|v| v["stage"] == "enter-initrd");
        assert_eq!(value.expect("known")["digests"]["sha256"], PCR11, "{name}");
        let assumptions = document["scenarios"][0]["assumptions"].as_array().expect("assumptions");
        assert!(assumptions.iter().any(|a| a["id"] == "architecture-not-observed"), "{name}");
    }
}

#[test]
fn a_full_disk_leaves_no_partial_file() {
    let uki = fixture("t-tiny-257/uki.efi");
    let run = premeasure(["predict".as_ref(), uki.as_os_str(), "-o".as_ref(), "/dev/full".as_ref()]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("/dev/full") && run.stderr.contains("No space left"), "{}", run.stderr);

    let missing = folder("output").join("no-such-folder/out.json");
    let run = premeasure(["predict".as_ref(), uki.as_os_str(), "-o".as_ref(), missing.as_os_str()]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("no-such-folder"), "{}", run.stderr);
}

#[test]
fn an_error_leaves_the_old_output_alone() {
    let out = folder("kept").join("out.json");
    fs::write(&out, "old").expect("written");
    let bad = write("bad.efi", b"MZ");
    let run = premeasure(["predict".as_ref(), bad.as_os_str(), "-o".as_ref(), out.as_os_str()]);
    assert_eq!(run.code, Some(2));
    assert_eq!(read(&out), b"old");
    assert_eq!(fs::read_dir(folder("kept")).expect("readable").count(), 1);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let uki = fixture("t-tiny-257/uki.efi");
    let mut child = Command::new(env!("CARGO_BIN_EXE_premeasure"))
        .args(["predict".as_ref(), uki.as_os_str(), "--json".as_ref()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn standard_input_gives_what_the_file_gives() {
    let uki = fixture("t-tiny-257/uki.efi");
    let from_file = predict(&uki);
    let output = Command::new(env!("CARGO_BIN_EXE_premeasure"))
        .args(["predict", "-", "--format", "pcrs"])
        .stdin(fs::File::open(&uki).expect("the fixture"))
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, from_file.stdout);
}

#[test]
fn a_document_is_the_same_every_time_and_sound() {
    let uki = fixture("t3-tiny-262/uki.efi");
    let run = || premeasure(["predict".as_ref(), uki.as_os_str(), "--json".as_ref()]).stdout;
    let document = run();
    assert_eq!(document, run());
    let path = write("document.json", &document);
    assert_eq!(premeasure(["validate".as_ref(), path.as_os_str()]).code, Some(0));
}

/// Every change of a document is noticed by one of the two checks.
#[test]
fn altered_documents_are_not_sound() {
    let uki = fixture("t-tiny-257/uki.efi");
    let document = premeasure(["predict".as_ref(), uki.as_os_str(), "--json".as_ref()]).text();
    let alterations = [
        ("\"pcr\": 11", "\"pcr\": 12"),
        ("\"pcr\": 11", "\"pcr\": 24"),
        ("3d6772b4f84ed475", "3d6772b4f84ed476"),
        ("\"status\": \"computed\"", "\"status\": \"certain\""),
        ("\"rule\": \"stub-section\"", "\"rule\": \"another\""),
        ("\"stage\": \"ready\"", "\"stage\": \"steady\""),
        ("\"scenario\": \"ovmf", "\"scenario\": \"bvmf"),
        ("\"sha384\"\n", "\"sha512\"\n"),
        ("\"gap\": \"firmware\"", "\"gap\": \"weather\""),
        ("\"profile\": 0", "\"profile\": 0, \"extra\": 1"),
    ];
    for (old, new) in alterations.iter().filter(|(old, _)| document.contains(old)) {
        let path = write("altered.json", document.replacen(old, new, 1).as_bytes());
        let run = premeasure(["validate".as_ref(), path.as_os_str()]);
        assert_eq!(run.code, Some(1), "{old} -> {new}: {}{}", run.text(), run.stderr);
    }
    let newer = document.replacen("\"schema_version\": \"1.", "\"schema_version\": \"2.", 1);
    let run = premeasure(["validate".as_ref(), write("newer.json", newer.as_bytes()).as_os_str()]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("schema version 2."), "{}", run.stderr);
}
