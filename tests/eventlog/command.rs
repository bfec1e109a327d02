//! `premeasure log` as a process: exit codes, what goes to which stream.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn boot(case: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/boots").join(case).join(file)
}

pub(crate) fn premeasure(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_premeasure")).args(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Where the log of [`truncated`] ends: the last of four digests has 31 of its 64 bytes.
const PLACE: &str = "TPMT_HA.digest at offset 0x7b1: needs 64 bytes, 31 left";

/// A log that ends inside its tenth record.
fn truncated(folder: &Path) -> PathBuf {
    let bytes = std::fs::read(boot("c-sdboot-257", "eventlog.bin")).expect("a log");
    let path = folder.join("cut.bin");
    std::fs::write(&path, &bytes[..2000]).expect("written");
    path
}

#[test]
fn a_truncated_log_yields_its_sound_part_and_says_where_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let cut = truncated(folder.path());
    for command in ["replay", "show", "check", "convert"] {
        let output = premeasure(&[&"log", &command, &cut]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(!output.stdout.is_empty(), "{command}");
        let errors = text(&output.stderr);
        assert!(errors.contains(PLACE), "{command}: {errors}");
        let output = premeasure(&[&"log", &command, &"--strict", &cut]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(output.stdout.is_empty(), "{command}");
        assert!(text(&output.stderr).contains(PLACE), "{command}");
    }
}

#[test]
fn replay_with_all_logs_of_a_boot_accounts_for_every_register() {
    let case = "k-mkosi-trixie";
    let output = premeasure(&[
        &"log",
        &"replay",
        &boot(case, "eventlog.bin"),
        &boot(case, "guest/tpm2-measure.log"),
        &boot(case, "guest/ima_runtime_measurements"),
        &"--against",
        &boot(case, "pcrs.json"),
        &"--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let comparison: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = comparison["registers"].as_array().expect("registers");
    assert_eq!(rows.len(), 4 * 24);
    let equal = rows.iter().filter(|row| row["verdict"] == "equal").count();
    // PCRs 0 to 7, 9, 10 (IMA), 11 and 15 (user space), in four banks.
    assert_eq!(equal, 4 * 12, "{comparison:#}");
}

#[test]
fn what_came_after_the_firmware_log_is_named() {
    let case = "k-mkosi-trixie";
    let against = [&"log", &"replay", &boot(case, "eventlog.bin"), &"--against", &boot(case, "pcrs.json")]
        as [&dyn AsRef<std::ffi::OsStr>; 5];
    let output = premeasure(&against);
    assert_eq!(output.status.code(), Some(1), "PCRs 10 and 15 are not explained");
    let shown = text(&output.stdout);
    let phases =
        r#"extended after the log  by "enter-initrd", then "leave-initrd", then "sysinit", then "ready""#;
    assert!(shown.contains(phases), "{shown}");
    assert!(shown.contains("not in the log"), "{shown}");
}

#[test]
fn replay_json_has_the_shape_of_a_list_of_pcrs() {
    let output = premeasure(&[&"log", &"replay", &"--json", &boot("t-tiny-257", "eventlog.bin")]);
    let replayed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let live = std::fs::read(boot("t-tiny-257", "pcrs.json")).expect("pcrs.json");
    let live: Value = serde_json::from_slice(&live).expect("JSON");
    for (bank, registers) in replayed.as_object().expect("banks") {
        for (pcr, value) in registers.as_object().expect("registers") {
            assert_eq!(*value, live[bank][pcr], "{bank} {pcr}");
        }
    }
    assert_eq!(replayed["sha512"].as_object().expect("sha512").len(), 10);
}

#[test]
fn what_was_converted_to_canonical_json_replays_to_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("boot.cel.json");
    for case in ["k-mkosi-trixie", "j-shim-grub-bookworm"] {
        let log = boot(case, "eventlog.bin");
        let output = premeasure(&[&"log", &"convert", &log, &"-o", &json]);
        assert_eq!(output.status.code(), Some(0));
        let before = premeasure(&[&"log", &"replay", &"--json", &log]);
        let after = premeasure(&[&"log", &"replay", &"--json", &json]);
        assert_eq!(after.status.code(), Some(0), "{}", text(&after.stderr));
        assert_eq!(text(&before.stdout), text(&after.stdout));
    }
}

#[test]
fn a_folder_is_many_machines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/boots/t-tiny-257");
    let output = premeasure(&[&"log", &"replay", &"--json-lines", &folder]);
    // pcrs.json is no log, and that is said.
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("pcrs.json"), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON on each line"))
        .collect();
    let log = lines.iter().find(|line| line["log"] == "eventlog.bin").expect("the log");
    assert_eq!(log["registers"], "pcr");
    assert_eq!(log["events"], 45);
}

#[test]
fn a_log_can_not_drive_the_terminal() {
    // A SHA-1 log of one EV_ACTION in PCR 4 whose text clears the screen.
    let text_of_event = b"\x1b[2J\x07\xe2\x80\xaeevil";
    let mut log = 4_u32.to_le_bytes().to_vec(); // PCRIndex
    log.extend_from_slice(&5_u32.to_le_bytes()); // EventType: EV_ACTION
    log.extend_from_slice(&[0xAA; 20]); // Digest
    log.extend_from_slice(&u32::try_from(text_of_event.len()).expect("small").to_le_bytes()); // EventSize
    log.extend_from_slice(text_of_event); // Event
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("evil\u{1b}[2J.bin");
    std::fs::write(&path, log).expect("written");
    for options in [&["show"][..], &["show", "--verbose"], &["check"], &["replay"]] {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"log"];
        arguments.extend(options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>));
        arguments.push(&path);
        let output = premeasure(&arguments);
        for stream in [output.stdout, output.stderr] {
            assert!(!stream.contains(&0x1B), "{options:?}");
            assert!(!text(&stream).contains('\u{202E}'), "{options:?}");
        }
    }
}

#[test]
fn documents_match_their_schemas() {
    let log = boot("j-shim-grub-bookworm", "eventlog.bin");
    let userspace = boot("k-mkosi-trixie", "guest/tpm2-measure.log");
    let ima = boot("k-mkosi-trixie", "guest/ima_runtime_measurements");
    let commands: [(&str, Output); 3] = [
        ("log-show", premeasure(&[&"log", &"show", &"--json", &log, &userspace, &ima])),
        ("log-check", premeasure(&[&"log", &"check", &"--json", &log])),
        ("log-replay", premeasure(&[&"log", &"replay", &"--json", &log])),
    ];
    for (name, output) in commands {
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{name}.schema.json"));
        let schema: Value = serde_json::from_slice(&std::fs::read(schema).expect("a schema")).expect("JSON");
        let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let errors: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}
