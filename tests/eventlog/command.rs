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
    assert_eq!(output.status.code(), Some(1), "PCR 15 is not explained");
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

/// An NvPCR that systemd extended without saying what it starts with.
const NV: &str = concat!(
    "\u{1e}{\"nv_index\":30474752,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":\"",
    "4fdc4d4dfea787c1b43813094d1164188fc30ebcac268df97a4d425dc919b2c3",
    "\"}],\"content_type\":\"systemd\",\"content\":{\"nvIndexName\":\"hardware\",",
    "\"string\":\"product-id:missing\",\"eventType\":\"product-id\"}}\n"
);

#[test]
fn an_nv_index_whose_start_nobody_knows_is_said_to_be_unknown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nv.log");
    std::fs::write(&path, NV).expect("written");
    let shown = text(&premeasure(&[&"log", &"replay", &path]).stdout);
    assert!(
        shown.contains("0x01d10200  hardware  unknown  the log does not say what it starts with"),
        "{shown}"
    );
    let json = premeasure(&[&"log", &"replay", &"--json", &path]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["nv"]["0x01d10200"]["records"], 1);
    assert!(json["nv"]["0x01d10200"]["value"].is_null());
}

#[test]
fn a_folder_is_no_machine_to_compare_with() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/boots/t-tiny-257");
    let pcrs = boot("t-tiny-257", "pcrs.json");
    for more in [vec![&"--json" as &dyn AsRef<std::ffi::OsStr>], vec![&"--against", &pcrs]] {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"log", &"replay", &folder];
        arguments.extend(more);
        let output = premeasure(&arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(text(&output.stderr).contains("hint:"), "{}", text(&output.stderr));
    }
}

#[test]
fn documents_match_their_schemas() {
    let log = boot("j-shim-grub-bookworm", "eventlog.bin");
    let userspace = boot("k-mkosi-trixie", "guest/tpm2-measure.log");
    let ima = boot("k-mkosi-trixie", "guest/ima_runtime_measurements");
    let folder = tempfile::tempdir().expect("a folder");
    truncated(folder.path());
    for (name, file) in [("a.bin", &log), ("b.log", &userspace), ("c.ima", &ima)] {
        std::fs::copy(file, folder.path().join(name)).expect("copied");
    }
    std::fs::write(folder.path().join("nv.log"), NV).expect("written");
    let pcrs = boot("k-mkosi-trixie", "pcrs.json");
    let firmware = boot("k-mkosi-trixie", "eventlog.bin");
    let nv = folder.path().join("nv.log");
    let mut commands: Vec<(&str, Output)> = vec![
        ("log-show", premeasure(&[&"log", &"show", &"--json", &log, &userspace, &ima])),
        ("log-show", premeasure(&[&"log", &"show", &"--json", &firmware, &"--against", &pcrs])),
        ("log-check", premeasure(&[&"log", &"check", &"--json", &log])),
        ("log-check", premeasure(&[&"log", &"check", &"--json", &"--level", &"note", &userspace])),
        ("log-replay", premeasure(&[&"log", &"replay", &"--json", &log])),
        ("log-replay", premeasure(&[&"log", &"replay", &"--json", &nv])),
        ("log-against", premeasure(&[&"log", &"replay", &"--json", &firmware, &"--against", &pcrs])),
        ("log-against", premeasure(&[&"log", &"replay", &"--json", &log, &"--against", &pcrs])),
    ];
    let lines = premeasure(&[&"log", &"replay", &"--json-lines", &folder.path()]);
    assert_eq!(text(&lines.stdout).lines().count(), 5);
    for line in text(&lines.stdout).lines() {
        commands.push(("log-replay-line", Output { stdout: line.as_bytes().to_vec(), ..lines.clone() }));
    }
    for (name, output) in commands {
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{name}.schema.json"));
        let schema: Value = serde_json::from_slice(&std::fs::read(schema).expect("a schema")).expect("JSON");
        let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let errors: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}
