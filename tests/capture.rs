//! `capture` on folders made of what the guests of real boots saw, and what reads captures elsewhere.

mod support;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64_of_tests::decode;
use serde_json::{Value, json};

use crate::support::boots::boot;
use crate::support::{BANKS, Pcrs, Run, fixture, premeasure, read, read_json, scratch};

/// Vendors of the variables that guests saw.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const DATABASE: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Base64 by coreutils: not the encoder under test.
mod base64_of_tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    pub(crate) fn decode(text: &str) -> Vec<u8> {
        let mut child = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("coreutils");
        let mut stdin = child.stdin.take().expect("a pipe");
        let text = text.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).expect("written"));
        let output = child.wait_with_output().expect("finished");
        writer.join().expect("written");
        assert!(output.status.success());
        output.stdout
    }
}

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// The files of a guest, where Linux has them.
    fn of(case: &str) -> Self {
        let machine = Self { folder: tempfile::tempdir_in(scratch()).expect("a temporary folder") };
        let record = |name: &str| fixture(format!("boots/{case}")).join(name);
        machine.put("sys/kernel/security/tpm0/binary_bios_measurements", &read(record("eventlog.bin")));
        let pcrs: Value = read_json(record("pcrs.json"));
        for bank in BANKS {
            for (pcr, value) in pcrs[bank].as_object().expect("a bank") {
                let value = value.as_str().expect("a value").to_uppercase() + "\n";
                machine.put(&format!("sys/class/tpm/tpm0/pcr-{bank}/{pcr}"), value.as_bytes());
            }
        }
        for (guest, place) in [
            ("cmdline", "proc/cmdline"),
            ("machine-id", "etc/machine-id"),
            ("tpm2-measure.log", "run/log/systemd/tpm2-measure.log"),
            ("ima_runtime_measurements", "sys/kernel/security/ima/binary_runtime_measurements"),
        ] {
            if let Ok(bytes) = fs::read(record("guest").join(guest)) {
                machine.put(place, &bytes);
            }
        }
        let uname = String::from_utf8(read(record("guest/uname"))).expect("text");
        machine.put("proc/sys/kernel/osrelease", uname.split(' ').nth(2).expect("a release").as_bytes());
        for entry in fs::read_dir(record("guest/efivar")).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().expect("a name");
            let vendor = match name.as_str() {
                "db" | "dbx" => DATABASE,
                _ if name.starts_with("Loader") || name.starts_with("Stub") => LOADER,
                _ => GLOBAL,
            };
            machine.put(&format!("sys/firmware/efi/efivars/{name}-{vendor}"), &read(entry.path()));
        }
        machine
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Captures, and requires a document of the schema.
    fn capture(&self, more: &[&OsStr]) -> (PathBuf, Value, Run) {
        let file = self.root().join("capture.json");
        let mut arguments: Vec<&OsStr> = vec![
            "capture".as_ref(),
            "--root".as_ref(),
            self.root().as_os_str(),
            "-o".as_ref(),
            file.as_os_str(),
        ];
        arguments.extend(more);
        let run = premeasure(arguments);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let json: Value = read_json(&file);
        let schema: Value = serde_json::from_str(::premeasure::capture::SCHEMA).expect("a schema");
        let validator = jsonschema::validator_for(&schema).expect("a usable schema");
        let errors: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        (file, json, run)
    }
}

fn log(capture: &Value, name: &str) -> Vec<u8> {
    decode(capture["logs"][name]["data"].as_str().expect("a log"))
}

/// The document, and the logs in it: everything that someone who has the file can read.
fn all_bytes(file: &Path, capture: &Value) -> Vec<u8> {
    let mut all = read(file);
    for name in capture["logs"].as_object().expect("logs").keys() {
        all.extend(log(capture, name));
    }
    all
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn compare(document: &Path, capture: &Path) -> (Option<i32>, Value) {
    let run = premeasure(["compare".as_ref(), document.as_os_str(), capture.as_os_str(), "--json".as_ref()]);
    let json = serde_json::from_slice(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    (run.code, json)
}

fn document(machine: &Machine, case: &str) -> PathBuf {
    let path = machine.root().join(format!("{case}.reference.json"));
    let mut arguments: Vec<OsString> = boot(case).predict();
    arguments.extend(["--bank".into(), "sha256".into(), "-o".into(), path.clone().into()]);
    assert_eq!(premeasure(arguments).code, Some(0));
    path
}

#[test]
fn a_capture_of_a_boot_matches_its_prediction() {
    for case in ["c-sdboot-257", "f-secureboot-257", "t-tiny-257"] {
        let machine = Machine::of(case);
        let (file, _, _) = machine.capture(&[]);
        let (code, json) = compare(&document(&machine, case), &file);
        assert_eq!((code, &json["equal"]), (Some(0), &json!(true)), "{case}");
        assert_eq!(json["observed"]["kind"], "registers-and-log", "{case}");
    }
}

/// How the boots were made says what differs between them.
#[test]
fn a_capture_of_another_boot_names_the_cause() {
    for (expected, observed, code) in
        [("c-sdboot-257", "m-smbios-257", "smbios-options"), ("c-sdboot-257", "e-addons-257", "addon")]
    {
        let machine = Machine::of(observed);
        let (file, _, _) = machine.capture(&[]);
        let (exit, json) = compare(&document(&machine, expected), &file);
        assert_eq!(exit, Some(1), "{observed}");
        let causes = json["causes"].as_array().expect("causes");
        let cause = causes.iter().find(|cause| cause["code"] == code);
        assert_eq!(cause.expect("the cause")["explains_exactly"], true, "{observed}: {causes:?}");
    }
}

#[test]
fn a_full_capture_gives_the_logs_and_values_back_as_they_were() {
    let machine = Machine::of("k-mkosi-trixie");
    let (file, json, _) = machine.capture(&["--full".as_ref()]);
    for (name, path) in [
        ("firmware", "sys/kernel/security/tpm0/binary_bios_measurements"),
        ("userspace", "run/log/systemd/tpm2-measure.log"),
        ("ima", "sys/kernel/security/ima/binary_runtime_measurements"),
    ] {
        assert_eq!(log(&json, name), read(machine.root().join(path)), "{name}");
    }
    let observed: Value = read_json(fixture("boots/k-mkosi-trixie/pcrs.json"));
    for bank in BANKS {
        assert_eq!(json["pcrs"][bank], observed[bank], "{bank}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Masking changes no digest: both captures lead to the registers of the machine.
#[test]
fn replay_is_the_same_with_and_without_secrets() {
    let machine = Machine::of("k-mkosi-trixie");
    let replay = |path: &Path| -> Value {
        premeasure(["log".as_ref(), "replay".as_ref(), path.as_os_str(), "--json".as_ref()]).json()
    };
    let (file, json, _) = machine.capture(&[]);
    assert!(!json["logs"]["firmware"]["masked_events"].as_array().expect("numbers").is_empty());
    let masked = replay(&file);
    let (file, _, _) = machine.capture(&["--full".as_ref()]);
    assert_eq!(masked, replay(&file));
    let observed: Value = read_json(fixture("boots/k-mkosi-trixie/pcrs.json"));
    for pcr in ["0", "4", "5", "7", "9", "11", "15"] {
        assert_eq!(masked["sha256"][pcr], observed["sha256"][pcr], "PCR {pcr}");
    }
}

#[test]
fn log_commands_read_captures() {
    let machine = Machine::of("k-mkosi-trixie");
    let (file, _, _) = machine.capture(&[]);
    let run = premeasure([
        "log".as_ref(),
        "show".as_ref(),
        file.as_os_str(),
        "--against".as_ref(),
        file.as_os_str(),
        "--json".as_ref(),
    ]);
    let shown: Value = serde_json::from_slice(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    assert!(shown.to_string().contains("capture.json: userspace"), "{}", run.stderr);
    assert!(run.stderr.contains("masked"), "{}", run.stderr);
    let run = premeasure(["log".as_ref(), "check".as_ref(), file.as_os_str(), "--json".as_ref()]);
    let findings: Vec<Value> = run.json();
    assert!(findings.iter().any(|finding| finding["code"] == "data-masked"), "{findings:?}");
    let fleet = machine.root().join("fleet");
    fs::create_dir(&fleet).expect("made");
    fs::copy(&file, fleet.join("one.json")).expect("copied");
    let run = premeasure(["log".as_ref(), "replay".as_ref(), fleet.as_os_str(), "--json-lines".as_ref()]);
    let line: Value = run.json();
    let observed: Pcrs = serde_json::from_value(line["values"].clone()).expect("values");
    let truth: BTreeMap<String, Value> = read_json(fixture("boots/k-mkosi-trixie/pcrs.json"));
    assert_eq!(json!(observed["sha256"]["11"]), truth["sha256"]["11"]);
}

/// A machine with something of each kind that is not for others.
#[test]
fn secrets_and_identities_are_nowhere_in_the_bytes() {
    const SECRETS: &[&str] =
        &["hunter2", "rig-0001", "deadbeef-1234", "Zx9Kq2LmN8vB4tR7yU1w", "q3fake", "52:54:00:aa:bb:cc"];
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let machine = Machine::of("k-mkosi-trixie");
    let options = format!(
        "root=UUID={uuid} systemd.set_credential=a:hunter2 api=Zx9Kq2LmN8vB4tR7yU1w url=http://u:q3fake@h/ \
         ifname=eth0:52:54:00:aa:bb:cc systemd.machine_id=0123456789abcdef0123456789abcdef quiet"
    );
    machine.put("proc/cmdline", options.as_bytes());
    machine.put("sys/class/dmi/id/product_serial", b"rig-0001\n");
    machine.put("sys/class/dmi/id/product_uuid", format!("{uuid}\n").as_bytes());
    machine.put("sys/class/dmi/id/product_name", b"Box (S/N RIG-0001)\n");
    machine.put("sys/class/nvme/nvme0/serial", b"DEADBEEF-1234   \n");
    let guids = append_events(&machine, &options);
    let variable = |text: &str| [vec![6, 0, 0, 0], utf16(text), vec![0, 0]].concat();
    machine.put(
        &format!("sys/firmware/efi/efivars/LoaderDevicePartUUID-{LOADER}"),
        &variable(&uuid.to_uppercase()),
    );
    machine.put(&format!("sys/firmware/efi/efivars/LoaderSystemToken-{LOADER}"), b"\x07\0\0\0hunter2");
    let esp = machine.root().join("efi");
    for (name, text) in [
        ("EFI/Linux/0123456789abcdef0123456789abcdef-6.12.efi", "image"),
        ("loader/credentials/x.cred", "hunter2"),
        ("loader/random-seed", "seed"),
    ] {
        machine.put(&format!("efi/{name}"), text.as_bytes());
    }

    let (file, full, _) = machine.capture(&["--full".as_ref(), "--esp".as_ref(), esp.as_os_str()]);
    let all = all_bytes(&file, &full);
    for secret in ["hunter2", "rig-0001", uuid, "0123456789abcdef0123456789abcdef"] {
        assert!(contains(&all, secret.as_bytes()), "{secret} is in a full one, or this test shows nothing");
    }
    assert!(guids.iter().all(|guid| contains(&all, guid)) && guids.len() > 1, "partitions have ids");

    let (file, json, run) = machine.capture(&["--esp".as_ref(), esp.as_os_str()]);
    let all = all_bytes(&file, &json).to_ascii_lowercase();
    let ids = [uuid, "0123456789abcdef0123456789abcdef"];
    for secret in SECRETS.iter().chain(&ids).map(|secret| secret.to_lowercase()) {
        assert!(!contains(&all, secret.as_bytes()), "{secret}");
        assert!(!contains(&all, &utf16(&secret)), "{secret} in UTF-16");
    }
    let firmware = log(&json, "firmware");
    assert!(guids.iter().all(|guid| !contains(&firmware, guid)), "ids of partitions");
    // Written down before, and enough to tell what the file is about.
    for line in ["hashed  machine-id, product_uuid", "left out  product_serial", "LoaderSystemToken"] {
        assert!(run.stderr.contains(line), "{line}: {}", run.stderr);
    }
    let cmdline = json["command_line"].as_str().expect("a command line");
    assert!(
        cmdline.contains("systemd.set_credential=<left-out>") && cmdline.ends_with(" quiet"),
        "{cmdline}"
    );
    let hash = json["identity"]["product_uuid"].as_str().expect("hashed");
    assert!(cmdline.contains(&format!("root=UUID={hash}")), "equal ids stay equal: {cmdline}");
    let image = &json["files"][0];
    // printf image | sha256sum (coreutils)
    assert_eq!(
        image["sha256"], "6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d",
        "{image}"
    );
    assert_eq!(json["files"][1]["sha256"], Value::Null);
}

/// Adds what stubs and GRUB log of a command line, with and without secrets; gives the ids in the log's partition table.
fn append_events(machine: &Machine, options: &str) -> Vec<Vec<u8>> {
    let path = machine.root().join("sys/kernel/security/tpm0/binary_bios_measurements");
    let mut log = read(&path);
    let gpt = crate::support::tcg2::parse(&log)
        .into_iter()
        .find(|event| event.event_type == 0x8000_0006)
        .expect("a partition table");
    let mut guids = vec![gpt.data[56..72].to_vec()];
    guids.extend(gpt.data[100..].chunks_exact(128).map(|entry| entry[16..32].to_vec()));
    for (pcr, data) in [
        (12_u32, [utf16(options), vec![0, 0]].concat()),
        (8, format!("kernel_cmdline: /vmlinuz {options}\0").into_bytes()),
        (8, b"grub_cmd: password root hunter2\0".to_vec()),
    ] {
        log.extend(pcr.to_le_bytes());
        log.extend(13_u32.to_le_bytes());
        log.extend(4_u32.to_le_bytes());
        for (algorithm, size) in [(4_u16, 20), (0xB, 32), (0xC, 48), (0xD, 64)] {
            log.extend(algorithm.to_le_bytes());
            log.extend(std::iter::repeat_n(0xAA, size));
        }
        log.extend(u32::try_from(data.len()).expect("short").to_le_bytes());
        log.extend(data);
    }
    fs::write(path, log).expect("written");
    guids
}

#[test]
fn an_ima_log_with_the_machine_id_in_a_name_is_left_out() {
    let machine = Machine::of("k-mkosi-trixie");
    let (_, json, _) = machine.capture(&[]);
    assert!(json["logs"]["ima"].is_object());
    let line =
        b"10 0adefe762c149c7cec19da62f0da1297fcfbffff ima-ng sha1:0000000000000000000000000000000000000000 \
        /var/log/journal/0123456789abcdef0123456789abcdef/system.journal\n";
    machine.put("sys/kernel/security/ima/binary_runtime_measurements", line);
    let (_, json, run) = machine.capture(&[]);
    assert!(json["logs"]["ima"].is_null());
    assert!(run.stderr.contains("left out  IMA's log"), "{}", run.stderr);
}

#[test]
fn the_end_of_a_log_that_is_cut_off_is_masked_too() {
    let machine = Machine::of("t-tiny-257");
    let path = machine.root().join("sys/kernel/security/tpm0/binary_bios_measurements");
    append_events(&machine, "password=hunter2 more and more");
    let log_with = read(&path);
    let end = log_with.windows(16).position(|window| window == utf16("hunter2 ")).expect("in the log") + 20;
    fs::write(&path, &log_with[..end]).expect("written");
    let (file, json, _) = machine.capture(&[]);
    assert!(!contains(&all_bytes(&file, &json), &utf16("hunter2")));
    assert_eq!(json["logs"]["firmware"]["masked_rest"], true);
}

#[test]
fn a_machine_without_log_and_values_is_an_error_and_leaves_no_file() {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let file = folder.path().join("capture.json");
    let run = premeasure([
        "capture".as_ref(),
        "--root".as_ref(),
        folder.path().as_os_str(),
        "-o".as_ref(),
        file.as_os_str(),
    ]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("hint:"), "{}", run.stderr);
    assert!(!file.exists());
}

#[test]
fn a_pipe_in_place_of_a_file_does_not_block() {
    let machine = Machine::of("t-tiny-257");
    let pipe = machine.root().join("proc/cmdline");
    fs::remove_file(&pipe).expect("removed");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("coreutils").success());
    let (_, json, _) = machine.capture(&[]);
    assert!(json["command_line"].is_null());
}

#[test]
fn hostile_captures_are_refused_with_the_field() {
    let machine = Machine::of("t-tiny-257");
    let (file, json, _) = machine.capture(&[]);
    let document = document(&machine, "t-tiny-257");
    for (pointer, value, said) in [
        ("/logs/firmware/data", json!("!"), "logs.firmware.data"),
        ("/logs", json!({"other\u{1b}[2J": {"data": ""}}), "is none of"),
        ("/pcrs/sha256/7", json!("00"), "sha256 7"),
        ("/schema_version", json!("2.0.0"), "schema_version 2.0.0"),
        ("/files", json!(7), "not a capture"),
    ] {
        let mut hostile = json.clone();
        *hostile.pointer_mut(pointer).expect("a member") = value;
        fs::write(&file, hostile.to_string()).expect("written");
        let run = premeasure(["compare".as_ref(), document.as_os_str(), file.as_os_str()]);
        assert_eq!(run.code, Some(2), "{pointer}: {}", run.stderr);
        assert!(run.stderr.contains(said) && !run.stderr.contains('\u{1b}'), "{pointer}: {}", run.stderr);
    }
    let deep = format!("{{\"kind\":\"premeasure-capture\",\"x\":{}", "[".repeat(1 << 20));
    fs::write(&file, deep).expect("written");
    let run = premeasure(["compare".as_ref(), document.as_os_str(), file.as_os_str()]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
}
