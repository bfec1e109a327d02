//! Both sides in every form that they may have, and files that are nothing of the kind.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::outcome::{compare, document, folder, write_values};
use crate::support::boots::boot;
use crate::support::{BANKS, Run, fixture, premeasure, read, read_json, scratch};

const TINY: &str = "t-tiny-257";

fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("written");
    path
}

/// The output of `tpm2_pcrread` (form of tpm2-tools 5.4) of a case.
fn yaml(case: &str) -> PathBuf {
    let mut text = String::new();
    for (bank, values) in boot(case).observed_pcrs() {
        text.push_str(&format!("  {bank}:\n"));
        for (pcr, value) in values {
            text.push_str(&format!("    {pcr:<2}: 0x{}\n", value.to_uppercase()));
        }
    }
    write("pcrs.yaml", text.as_bytes())
}

/// A root folder with sysfs as Linux from 5.12 on has it, and the firmware's log.
fn machine(case: &str, with_log: bool) -> PathBuf {
    let root = folder().join(format!("root-{with_log}"));
    for bank in BANKS {
        let values = root.join(format!("sys/class/tpm/tpm0/pcr-{bank}"));
        fs::create_dir_all(&values).expect("a folder");
        for (pcr, value) in &boot(case).observed_pcrs()[bank] {
            fs::write(values.join(pcr), value.to_uppercase() + "\n").expect("written");
        }
    }
    let logs = root.join("sys/kernel/security/tpm0");
    fs::create_dir_all(&logs).expect("a folder");
    if with_log {
        fs::copy(boot(case).record("eventlog.bin"), logs.join("binary_bios_measurements")).expect("copied");
    }
    root
}

#[test]
fn values_may_be_json_yaml_or_sysfs() {
    let document = document("forms", boot(TINY).predict());
    let root = machine(TINY, false);
    for observed in [boot(TINY).record("pcrs.json"), yaml(TINY), root.join("sys/class/tpm/tpm0")] {
        let outcome = compare([&document, &observed]);
        assert!(outcome.equal, "{}", observed.display());
        assert_eq!(outcome.with_verdict("match"), [4, 8, 9, 11, 12, 13, 14, 15], "{}", observed.display());
    }
}

#[test]
fn a_live_machine_is_read_from_sysfs_and_securityfs() {
    let document = document("live", boot(TINY).predict());
    let root = machine(TINY, true);
    let live = |root: &Path| {
        premeasure([
            "compare".as_ref(),
            document.as_os_str(),
            "--live".as_ref(),
            "--live-root".as_ref(),
            root.as_os_str(),
            "--json".as_ref(),
        ])
    };
    let run = live(&root);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert_eq!(json["observed"]["kind"], "registers-and-log");
    let run = live(&machine(TINY, false));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("compared without the log"), "{}", run.stderr);
    let run = live(&folder().join("nowhere"));
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("hint:"), "{}", run.stderr);
}

/// Policies that premeasure exports, each read by its importer, against the machine that the image booted on.
#[test]
fn policies_of_every_format_are_compared() {
    let document = document("policies", boot(TINY).predict());
    let pcrs = boot(TINY).record("pcrs.json");
    let other = boot("t3-tiny-262").record("pcrs.json");
    for format in ["keylime", "constellation", "csv", "env", "tpm2-yaml", "flashbots", "bottlerocket", "cmc"]
    {
        let output = folder().join(format!("policy-{format}"));
        let mut arguments: Vec<std::ffi::OsString> = vec![
            "export".into(),
            document.clone().into(),
            "--format".into(),
            format.into(),
            "--pcr".into(),
            "4,11".into(),
            "--stage".into(),
            "exit-boot-services".into(),
            "-o".into(),
            output.clone().into(),
        ];
        arguments.extend(["--accept-assumption".into(), "all".into()]);
        let run = premeasure(&arguments);
        if run.code != Some(0) {
            // What an exporter refuses is its own matter; its tests are elsewhere.
            continue;
        }
        let expected = if output.is_dir() {
            fs::read_dir(&output).expect("a folder").next().expect("a file").expect("readable").path()
        } else {
            output
        };
        let outcome = compare([&expected, &pcrs]);
        assert!(outcome.equal, "{format}: {:?}", outcome.pcrs);
        assert!(matches!(outcome.expected.kind.as_str(), "policy" | "registers"), "{format}");
        let outcome = compare([&expected, &other]);
        assert_eq!(outcome.with_verdict("differs"), [4, 11], "{format} ({})", outcome.expected.format);
    }
}

/// The policy of Constellation may say that a deviation only warns.
#[test]
fn a_deviation_that_only_warns_is_none() {
    let values = &boot(TINY).observed_pcrs()["sha256"];
    let policy = format!(
        r#"{{"measurements": {{"4": {{"expected": "{}", "warnOnly": true}}, "11": {{"expected": "{}", "warnOnly": false}}}}}}"#,
        "11".repeat(32),
        values["11"]
    );
    let policy = write("warn.json", policy.as_bytes());
    let outcome = compare([&policy, &boot(TINY).record("pcrs.json")]);
    assert!(outcome.equal);
    assert_eq!(outcome.with_verdict("differs"), [4]);
}

#[test]
fn two_logs_of_one_machine_are_compared() {
    let log = boot(TINY).record("eventlog.bin");
    let outcome = compare([&log, &log]);
    assert!(outcome.equal);
    assert!(outcome.events.iter().all(|row| row.status == "equal"));
    let outcome = compare([&log, &boot("t3-tiny-262").record("eventlog.bin")]);
    assert!(!outcome.equal);
    assert!(outcome.codes().contains("firmware-changed"), "another OVMF: {:?}", outcome.codes());
}

/// A document with several variants: the nearest one counts, and is said.
#[test]
fn the_nearest_variant_is_chosen() {
    let document = document("variants", vec!["predict".into(), fixture("t-tiny-257/uki.efi").into()]);
    let outcome = compare([&document, &boot(TINY).record("pcrs.json")]);
    assert!(outcome.equal);
    assert!(outcome.expected.variant.contains("secure-boot-off"), "{}", outcome.expected.variant);
}

#[test]
fn a_prediction_may_be_observed() {
    let (one, other) =
        (document("one", boot(TINY).predict()), document("other", boot("t3-tiny-262").predict()));
    assert!(compare([&one, &one]).equal);
    let outcome = compare([&one, &other]);
    assert!(outcome.codes().contains("command-line-changed"), "{:?}", outcome.codes());
}

/// An altered log does not lead to the TPM's values, and is not believed.
#[test]
fn a_log_that_does_not_lead_to_the_values_is_named() {
    let document = document("cut", boot(TINY).predict());
    let whole = read(boot(TINY).record("eventlog.bin"));
    let mut altered = whole.clone();
    // The last byte of the last digest: "Exit Boot Services Returned with Success" is the last event, of PCR 5.
    let at = altered.len() - b"Exit Boot Services Returned with Success".len() - 4 - 1;
    altered[at] ^= 1;
    let outcome = compare([&document, &write("altered.bin", &altered), &boot(TINY).record("pcrs.json")]);
    let bank_hit = outcome.codes().contains("log-incomplete");
    // The last digest is of SHA-512; the comparison is in SHA-256. Without that bank there is nothing to see.
    assert!(outcome.equal && !bank_hit, "{:?}", outcome.causes);
    let cut = write("cut.bin", &whole[..whole.len() / 2]);
    let run = premeasure([
        "compare".as_ref(),
        document.as_os_str(),
        cut.as_os_str(),
        boot(TINY).record("pcrs.json").as_os_str(),
        "--json".as_ref(),
    ]);
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let codes: Vec<&str> = json["causes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|cause| cause["code"].as_str())
        .collect();
    assert_eq!(codes, ["log-incomplete"], "the values are those expected");
    assert_eq!(run.code, Some(2), "a log that ends early is no sound input");
    assert!(run.stderr.contains("records before it are compared"), "{}", run.stderr);
}

/// The list of codes is closed: schema and documentation have each of them, and no other.
#[test]
fn schema_and_documentation_list_every_code() {
    use premeasure::compare::{Code, SCHEMA};
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("a schema");
    let listed = &schema["properties"]["causes"]["items"]["properties"]["code"]["enum"];
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(*listed, serde_json::json!(codes));
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compare.md")).expect("text");
    for code in Code::ALL {
        let row = format!("| `{}` | {} |", code.name(), code.meaning());
        assert!(text.contains(&row), "docs/compare.md has no row {row}");
    }
}

fn refused(arguments: &[&std::ffi::OsStr], words: &[&str]) {
    let run: Run = premeasure(std::iter::once("compare".as_ref()).chain(arguments.iter().copied()));
    assert_eq!((run.code, run.text().as_str()), (Some(2), ""), "{arguments:?}: {}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "'{word}' is not in: {}", run.stderr);
    }
}

#[test]
fn what_can_not_be_compared_is_refused_with_a_hint() {
    let document = document("refusals", boot(TINY).predict());
    let (document, pcrs) = (document.as_os_str(), boot(TINY).record("pcrs.json"));
    let log = boot(TINY).record("eventlog.bin");
    let empty = write("empty", b"");
    refused(&[document, empty.as_os_str()], &["is empty", "hint:"]);
    refused(&[empty.as_os_str(), pcrs.as_os_str()], &["is empty", "hint:"]);
    refused(&[document, write("junk.json", b"{\"a\": [}").as_os_str()], &["junk.json", "hint:"]);
    refused(&[document, pcrs.as_os_str(), pcrs.as_os_str()], &["given twice"]);
    refused(&[document, document, log.as_os_str()], &["can't be observed together"]);
    refused(&[document, "/nowhere".as_ref()], &["No such file"]);
    refused(&[document], &["required"]);
    let sha1 = write_values(
        "sha1",
        &std::collections::BTreeMap::from([(
            "sha1",
            [("4".to_owned(), "00".repeat(20))].into_iter().collect(),
        )]),
    );
    refused(&[document, sha1.as_os_str()], &["no bank in common", "sha256", "sha1"]);
    let mut altered = String::from_utf8(read(document)).expect("text");
    let value = &boot(TINY).observed_pcrs()["sha256"]["11"];
    altered = altered.replace(value.as_str(), &"22".repeat(32));
    refused(&[write("altered.json", altered.as_bytes()).as_os_str(), pcrs.as_os_str()], &["altered"]);
}

/// What logs and file names say must not drive a terminal, and stays JSON in JSON.
#[test]
fn hostile_text_is_escaped() {
    let hostile = "\u{1b}[2J\u{202e}</script>\"'\r\n";
    let mut log = read(boot(TINY).record("eventlog.bin"));
    // An event of PCR 12 with all four banks, whose text is hostile.
    log.extend(12_u32.to_le_bytes());
    log.extend(0xD_u32.to_le_bytes());
    log.extend(4_u32.to_le_bytes());
    for (algorithm, size) in [(0x4_u16, 20), (0xB, 32), (0xC, 48), (0xD, 64)] {
        log.extend(algorithm.to_le_bytes());
        log.extend(vec![7; size]);
    }
    log.extend((hostile.len() as u32).to_le_bytes());
    log.extend(hostile.as_bytes());
    let name = std::ffi::OsStr::from_bytes(b"evil\x1b[31m.bin");
    let path = folder().join(name);
    fs::write(&path, &log).expect("written");
    let document = document("hostile", boot(TINY).predict());
    for more in [&[][..], &["--all-events"], &["--json"]] {
        let mut arguments = vec!["compare".as_ref(), document.as_os_str(), path.as_os_str()];
        arguments.extend(more.iter().map(std::ffi::OsStr::new));
        let run = premeasure(&arguments);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        let text = run.text();
        assert!(!text.contains('\u{1b}') && !run.stderr.contains('\u{1b}'), "{more:?}: {text:?}");
        assert!(more == ["--json"] || !text.contains('\u{202e}'), "{text:?}");
    }
}

/// Arbitrary bytes on either side: an error, never a panic.
#[test]
fn damaged_inputs_are_errors() {
    let document = document("damaged", boot(TINY).predict());
    let log = read(boot(TINY).record("eventlog.bin"));
    for cut in [1, 31, 32, 65, 200, 1000, log.len() - 1] {
        let path = write("cut-log.bin", &log[..cut]);
        let run = premeasure(["compare".as_ref(), document.as_os_str(), path.as_os_str()]);
        assert!(matches!(run.code, Some(1 | 2)), "{cut}: {:?} {}", run.code, run.stderr);
        assert!(!run.stderr.contains("panicked"), "{cut}: {}", run.stderr);
    }
    let text = read(&document);
    for cut in [1, 100, text.len() / 2, text.len() - 3] {
        let path = write("cut-document.json", &text[..cut]);
        let run =
            premeasure(["compare".as_ref(), path.as_os_str(), boot(TINY).record("pcrs.json").as_os_str()]);
        assert_eq!(run.code, Some(2), "{cut}: {}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{cut}: {}", run.stderr);
    }
}

/// Equal is only what was held against something: a listing of other registers is an error, one of some leaves the others open.
#[test]
fn what_was_not_observed_is_not_equal() {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let boot = fixture("boots/t-tiny-257");
    let uki = fixture("t-tiny-257/uki.efi");
    let values: serde_json::Value = read_json(boot.join("pcrs.json"));
    let compare = |name: &str, listing: serde_json::Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, listing.to_string()).expect("written");
        let options = ["--secure-boot", "off"].map(std::ffi::OsStr::new);
        premeasure(["compare".as_ref(), uki.as_os_str(), path.as_os_str()].into_iter().chain(options))
    };
    let other = compare("23.json", serde_json::json!({ "sha256": { "23": "00".repeat(32) } }));
    assert_eq!(other.code, Some(2), "{}", other.stderr);
    assert!(
        other.stderr.contains("nothing to compare") && other.stderr.contains("observed: 23"),
        "{}",
        other.stderr
    );
    let part = compare("11.json", serde_json::json!({ "sha256": { "11": values["sha256"]["11"] } }));
    assert_eq!(part.code, Some(0), "{}", part.stderr);
    assert!(part.text().contains("predicted, and not observed: 4, "), "{}", part.text());
}
