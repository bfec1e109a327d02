//! Filters that nothing can pass are mistakes, and documents that hold two answers are refused.

use std::path::Path;

use premeasure::tcg::timeline::BootLog;
use premeasure::tcg::{Digest, HashAlgorithm};
use serde_json::{Value, json};

use crate::command::premeasure;
use crate::fixtures::boots;
use crate::hostile::{ALL, BOTH, document, errors, event, file, header, start};

fn log(folder: &Path) -> std::path::PathBuf {
    file(folder, "log.bin", start(&ALL, &BOTH))
}

#[test]
fn filters_that_do_not_exist_are_usage_errors_that_name_what_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    for (filter, value, says) in [
        ("--type", "EV_SEPERATOR", "did you mean EV_SEPARATOR?"),
        ("--type", "nonsense", "names as EV_SEPARATOR"),
        ("--type", "0xZZ", "numbers as 0x80000001"),
        ("--type", "EV_SEPARATOR,EV_NOPE", "--type EV_NOPE"),
        ("--pcr", "32", "0..=31"),
        ("--pcr", "7,99", "0..=31"),
        ("--bank", "md5", "sha1, sha256, sha384, sha512"),
        ("--bank", "sha384", "banks of the logs: sha1, sha256"),
    ] {
        let output = premeasure(&[&"log", &"show", &filter, &value, &log]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{filter} {value}");
        assert!(errors(&output).contains(says), "{filter} {value}: {}", errors(&output));
    }
    for value in ["EV_SEPARATOR", "separator", "4", "0x4", "EV_EFI_GPT_EVENT", "GPT_EVENT", "systemd"] {
        let output = premeasure(&[&"log", &"show", &"--type", &value, &log]);
        assert_eq!((output.status.code(), errors(&output)), (Some(0), String::new()), "{value}");
    }
    let output = premeasure(&[&"log", &"show", &"--json", &"--type", &"S_CRTM_VERSION", &log]);
    assert_eq!(document(&output)["events"].as_array().expect("events").len(), 1);
}

/// A canonical log may have content types of its own.
#[test]
fn a_content_type_of_the_log_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = json!([{"recnum": 0, "pcr": 13, "digests": [], "content_type": "acme", "content": {}}]);
    let path = file(folder.path(), "log.json", record.to_string());
    let output = premeasure(&[&"log", &"show", &"--json", &"--type", &"acme", &path]);
    assert_eq!(document(&output)["events"].as_array().map(Vec::len), Some(1), "{}", errors(&output));
}

#[test]
fn a_bank_that_no_log_of_a_folder_has_is_a_usage_error() {
    let folder = tempfile::tempdir().expect("a folder");
    log(folder.path());
    file(folder.path(), "other.bin", start(&ALL, &[HashAlgorithm::Sha256]));
    let run = |bank: &str, more: &'static str| {
        premeasure(&[&"log", &"replay", &"--bank", &bank, &more, &folder.path()])
    };
    let output = run("sha512", "--json-lines");
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("banks of the logs: sha1, sha256"), "{}", errors(&output));
    assert_eq!(run("md5", "--json-lines").status.code(), Some(2));
    // A bank that one has: the other says that it lacks it.
    let output = run("sha1", "--json-lines");
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let warnings: Vec<&Value> = lines.iter().map(|line| &line["warnings"]).collect();
    assert_eq!(warnings, [&Value::Null, &json!(["the log has no sha1 digests"])]);
    let file = premeasure(&[
        &"log",
        &"replay",
        &"--bank",
        &"sha512",
        &"--json-lines",
        &folder.path().join("log.bin"),
    ]);
    assert_eq!((file.status.code(), file.stdout.len()), (Some(2), 0));
}

#[test]
fn values_that_are_there_twice_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    let zeros = "00".repeat(20);
    for (name, text) in [
        ("json", format!(r#"{{"sha1": {{"0": "{zeros}", "0": "{zeros}"}}}}"#)),
        ("json", format!(r#"{{"sha1": {{"0": "{zeros}", "00": "{zeros}"}}}}"#)),
        ("yaml", format!("sha1:\n  0 : 0x{zeros}\n  0 : 0x{zeros}\n")),
    ] {
        let given = file(folder.path(), name, &text);
        let output = premeasure(&[&"log", &"replay", &"--against", &given, &log]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{text}");
        assert!(errors(&output).contains("is there twice"), "{text}: {}", errors(&output));
    }
}

#[test]
fn a_key_of_a_records_content_is_there_once() {
    let digest = Digest::of(HashAlgorithm::Sha256, &[0; 4]);
    // {0: 0, 1: 7, 3: [{0: 11, 1: h'…'}], 9: 5, 10: {0: 4, 1: h''}}, and the same with a key twice in an inner map.
    let record = |digests: &[u8], content: &[u8]| {
        [&[0x81, 0xA5, 0, 0, 1, 7, 3, 0x81][..], digests, &[9, 5, 10], content].concat()
    };
    let digests = [&[0xA2, 0, 11, 1, 0x58, 32][..], digest.as_bytes()].concat();
    let sound = record(&digests, &[0xA2, 0, 4, 1, 0x40]);
    assert_eq!(BootLog::read(&sound).error, None);
    let twice = [
        record(&digests, &[0xA2, 0, 4, 0, 3]),
        record(&digests, &[0xA2, 1, 0x40, 1, 0x40]),
        record(&[0xA2, 0, 11, 0, 4], &[0xA2, 0, 4, 1, 0x40]),
        // cel_version: {0: 1, 0: 2}
        record(&digests, &[0xA2, 0, 4, 1, 0x40])
            .into_iter()
            .take(sound.len() - 8)
            .chain([9, 4, 10, 0xA2, 0, 1, 1, 0xA2, 0, 1, 0, 2])
            .collect(),
    ];
    for bytes in twice {
        let error = BootLog::read(&bytes).error.expect("a key is there twice").to_string();
        assert!(error.contains("a second time"), "{error}");
    }
    let json = r#"[{"recnum":0,"pcr":7,"digests":[],"content_type":"pcclient_std","content":{"event_type":4,"event_type":3,"event_data":""}}]"#;
    let error = BootLog::read(json.as_bytes()).error.expect("a key is there twice").to_string();
    assert!(error.contains("the key 'event_type' is there twice"), "{error}");
}

/// Debian 12's kernel extends SHA-384 and SHA-512 with IMA's SHA-1 digests and zeros behind them: the value is explained, but
/// says nothing of the SHA-384 digests that are shown. Truth: the registers of those boots.
#[test]
fn padded_digests_of_ima_do_not_vouch_for_those_of_another_bank() {
    let mut padded = 0;
    for boot in boots() {
        let ima = boot.join("guest/ima_runtime_measurements");
        let kernel_6_1 =
            std::fs::read_to_string(boot.join("case.json")).expect("case.json").contains("6.1.192");
        if !ima.exists() || !kernel_6_1 {
            continue;
        }
        for (bank, vouched) in [("sha256", json!(true)), ("sha384", Value::Null)] {
            let (firmware, given) = (boot.join("eventlog.bin"), boot.join("pcrs.json"));
            let output = premeasure(&[
                &"log",
                &"show",
                &"--json",
                &"--type",
                &"ima_template",
                &"--bank",
                &bank,
                &firmware,
                &ima,
                &"--against",
                &given,
            ]);
            for event in document(&output)["events"].as_array().expect("events") {
                assert_eq!(event["vouched"], vouched, "{} {bank}", boot.display());
                padded += u32::from(bank == "sha384");
            }
        }
    }
    assert!(padded > 0);
}

#[test]
fn documents_of_a_log_that_ends_early_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = [header(0, &BOTH, &[]), event(0, 8, b"v\0", b"v\0", &BOTH)].concat();
    let sound = file(folder.path(), "sound.bin", &bytes);
    let cut = file(folder.path(), "cut.bin", &bytes[..bytes.len() - 1]);
    let given = file(folder.path(), "pcrs.json", json!({"sha1": {"0": "11".repeat(20)}}).to_string());
    let place = "TCG_PCR_EVENT2.EventSize at offset";
    let run = |log: &Path, more: &[&dyn AsRef<std::ffi::OsStr>]| {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"log", &"replay", &"--json", &log];
        arguments.extend(more);
        premeasure(&arguments)
    };
    for more in [&[][..], &[&"--against" as &dyn AsRef<std::ffi::OsStr>, &given]] {
        let output = run(&cut, more);
        assert_eq!(output.status.code(), Some(2));
        let document = document(&output);
        assert!(document["error"].as_str().is_some_and(|error| error.contains(place)), "{document}");
        assert_eq!(self::document(&run(&sound, more))["error"], Value::Null);
    }
}

/// Every line of `--verbose` that shows something of an event says what it is worth.
#[test]
fn every_shown_field_is_marked() {
    let words = ["verified", "partly", "claimed", "vouches", "differs", "undecodable"];
    let mut lines = 0;
    for boot in boots() {
        for name in ["eventlog.bin", "guest/tpm2-measure.log", "guest/ima_runtime_measurements"] {
            let path = boot.join(name);
            if !path.exists() {
                continue;
            }
            let output = premeasure(&[&"log", &"show", &"--verbose", &path]);
            for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
                let marked = match line.strip_prefix("  ") {
                    Some(field) => words.iter().any(|word| field.starts_with(word)),
                    None => line.is_empty() || words.iter().any(|word| line.contains(&format!("  {word}  "))),
                };
                assert!(marked, "{}: {line}", path.display());
                lines += 1;
            }
        }
    }
    assert!(lines > 1000, "{lines}");
}
