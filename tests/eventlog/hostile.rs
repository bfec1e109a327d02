//! Logs that leave something out or contradict themselves: nothing of it may pass in silence. The logs are written
//! here, field by field.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use premeasure::tcg::check::{Level, check};
use premeasure::tcg::timeline::BootLog;
use premeasure::tcg::{Digest, HashAlgorithm};
use serde_json::{Value, json};

use crate::command::premeasure;

const SHA1: HashAlgorithm = HashAlgorithm::Sha1;
const SHA256: HashAlgorithm = HashAlgorithm::Sha256;
pub(crate) const BOTH: [HashAlgorithm; 2] = [SHA1, SHA256];

/// `TCG_EfiSpecIDEvent` with these banks, in a record of register `index`; `behind` follows the vendor information.
pub(crate) fn header(index: u32, banks: &[HashAlgorithm], behind: &[u8]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0]); // platformClass
    data.extend([0, 2, 0, 2]); // specVersionMinor, specVersionMajor, specErrata, uintnSize
    data.extend(u32::try_from(banks.len()).expect("few").to_le_bytes());
    for bank in banks {
        data.extend(bank.id().0.to_le_bytes());
        data.extend(u16::try_from(bank.size()).expect("small").to_le_bytes());
    }
    data.push(0); // vendorInfoSize
    data.extend(behind);
    let length = u32::try_from(data.len()).expect("small").to_le_bytes();
    [&index.to_le_bytes()[..], &3_u32.to_le_bytes(), &[0; 20], &length, &data].concat()
}

/// `TCG_PCR_EVENT2` whose digests are those of `measured`.
pub(crate) fn event(index: u32, kind: u32, data: &[u8], measured: &[u8], banks: &[HashAlgorithm]) -> Vec<u8> {
    let mut record = [index.to_le_bytes(), kind.to_le_bytes()].concat();
    record.extend(u32::try_from(banks.len()).expect("few").to_le_bytes());
    for bank in banks {
        record.extend(bank.id().0.to_le_bytes());
        let digest = Digest::of(*bank, measured);
        record.extend(if kind == 3 { vec![0; bank.size()] } else { digest.as_bytes().to_vec() });
    }
    record.extend(u32::try_from(data.len()).expect("small").to_le_bytes());
    record.extend(data);
    record
}

/// `EV_S_CRTM_VERSION`, and separators in these registers.
pub(crate) fn start(separators: &[u32], banks: &[HashAlgorithm]) -> Vec<u8> {
    let mut log = [header(0, banks, &[]), event(0, 8, b"v\0", b"v\0", banks)].concat();
    for register in separators {
        log.extend(event(*register, 4, &[0; 4], &[0; 4], banks));
    }
    log
}

pub(crate) const ALL: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

pub(crate) fn file(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("written");
    path
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

pub(crate) fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The findings of a log: level and code, once each.
pub(crate) fn codes(bytes: &[u8]) -> Vec<(Level, &'static str)> {
    let mut codes: Vec<_> =
        check(&BootLog::read(bytes)).iter().map(|finding| (finding.level, finding.code)).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// A record of systemd's log whose digests are those of `measured`.
fn systemd(string: &str, measured: &str, banks: &[HashAlgorithm]) -> String {
    let digests: Vec<Value> = banks
        .iter()
        .map(|bank| json!({"hashAlg": bank.name(), "digest": Digest::of(*bank, measured.as_bytes()).to_string()}))
        .collect();
    let record = json!({"pcr": 11, "digests": digests, "content_type": "systemd",
        "content": {"string": string, "eventType": "phase"}});
    format!("\u{1e}{record}\n")
}

/// An entry of IMA's text whose template hash is that of `measured`.
fn ima(path: &str, measured: &str) -> String {
    let hash = Digest::of(SHA256, b"x");
    let field =
        |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("small").to_le_bytes()[..], bytes].concat();
    let data =
        [field(&[b"sha256:\0", hash.as_bytes()].concat()), field(&[measured.as_bytes(), b"\0"].concat())]
            .concat();
    format!("10 {} ima-ng sha256:{hash} {path}\n", Digest::of(SHA1, &data))
}

#[test]
fn a_record_without_a_banks_digest_is_said_in_every_format() {
    let folder = tempfile::tempdir().expect("a folder");
    let firmware = file(folder.path(), "firmware.bin", start(&ALL, &BOTH));
    let whole = file(folder.path(), "sd.log", systemd("a", "a", &BOTH));
    let lacking = file(folder.path(), "cut.log", systemd("a", "a", &[SHA256]) + &systemd("b", "b", &BOTH));
    let stripped = [start(&ALL, &BOTH), event(12, 13, b"c", b"c", &[SHA1])].concat();
    let stripped = file(folder.path(), "stripped.bin", stripped);
    let cel = folder.path().join("stripped.cel.json");
    assert_eq!(premeasure(&[&"log", &"convert", &stripped, &"-o", &cel]).status.code(), Some(0));
    let altered = file(folder.path(), "ima.txt", ima("/a", "/a") + &ima("/b", "/c"));
    let sound = premeasure(&[&"log", &"replay", &"--json", &firmware, &whole]);
    assert_eq!(errors(&sound), "");
    assert_eq!(document(&sound)["incomplete"], Value::Null);
    for (logs, bank, register) in [
        (vec![&lacking], "sha1", 11),
        (vec![&firmware, &lacking], "sha1", 11),
        (vec![&stripped], "sha256", 12),
        (vec![&cel], "sha256", 12),
        (vec![&altered], "sha256", 10),
        (vec![&firmware, &altered], "sha256", 10),
    ] {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"log", &"replay", &"--json"];
        arguments.extend(logs.iter().map(|log| *log as &dyn AsRef<std::ffi::OsStr>));
        let output = premeasure(&arguments);
        let expected =
            format!("1 events have no {bank} digest: that bank's registers are not complete ({register})");
        assert!(errors(&output).contains(&expected), "{logs:?}: {}", errors(&output));
        assert_eq!(document(&output)["incomplete"][bank], json!([register]), "{logs:?}");
        let line = premeasure(&[&"log", &"replay", &"--json-lines", logs[logs.len() - 1]]);
        let line = document(&line);
        assert_eq!(line["incomplete"][bank], json!([register]));
        assert!(line["warnings"].to_string().contains(&format!("1 events have no {bank} digest")), "{line}");
        let found = codes(&fs::read(logs[logs.len() - 1]).expect("a log"));
        assert!(found.contains(&(Level::Warning, "digest-missing")), "{logs:?}: {found:?}");
    }
}

#[test]
fn values_of_a_bank_that_only_ima_computed_are_not_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let firmware = file(folder.path(), "firmware.bin", start(&ALL, &[SHA256]));
    let entries = file(folder.path(), "ima.txt", ima("/a", "/a"));
    let replayed = document(&premeasure(&[&"log", &"replay", &"--json", &firmware, &entries]));
    let given = json!({"sha256": replayed["sha256"], "sha1": {"0": "11".repeat(20)}});
    let given = file(folder.path(), "pcrs.json", given.to_string());
    let output = premeasure(&[&"log", &"replay", &"--json", &firmware, &entries, &"--against", &given]);
    assert_eq!(output.status.code(), Some(0), "{}", document(&output));
    let rows = document(&output)["registers"].as_array().expect("rows").clone();
    let sha1: Vec<&Value> = rows.iter().filter(|row| row["bank"] == "sha1").collect();
    assert_eq!(sha1.len(), 1);
    assert_eq!(sha1[0]["verdict"], "bank-not-in-log");
}

#[test]
fn a_header_in_canonical_json_is_no_bank() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = file(folder.path(), "firmware.bin", start(&ALL, &[SHA256]));
    let cel = folder.path().join("firmware.cel.json");
    assert_eq!(premeasure(&[&"log", &"convert", &log, &"-o", &cel]).status.code(), Some(0));
    let output = premeasure(&[&"log", &"replay", &"--json", &cel]);
    let banks: Vec<String> = document(&output).as_object().expect("banks").keys().cloned().collect();
    assert_eq!((banks, errors(&output)), (vec!["sha256".to_owned()], String::new()));
}

#[test]
fn a_strict_folder_takes_no_log_with_something_behind_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let junk = [start(&ALL, &BOTH), vec![0xFF; 64], b"junk".to_vec()].concat();
    file(folder.path(), "junk.bin", junk);
    let output = premeasure(&[&"log", &"replay", &"--json-lines", &"--strict", &folder.path()]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(errors(&output).contains("4 bytes at"), "{}", errors(&output));
    let output = premeasure(&[&"log", &"replay", &"--json-lines", &folder.path()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(document(&output)["warnings"].to_string().contains("are no records"), "{}", document(&output));
}

#[test]
fn the_acpi_table_alone_is_called_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = [b"CCEL".to_vec(), vec![56, 0, 0, 0], vec![0; 28], vec![2], vec![0; 19]].concat();
    let output = premeasure(&[&"log", &"show", &file(folder.path(), "CCEL", table)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("/sys/firmware/acpi/tables/data/CCEL"), "{}", errors(&output));
}

fn has(bytes: &[u8], level: Level, code: &str) -> bool {
    codes(bytes).contains(&(level, code))
}

#[test]
fn a_quirk_excuses_what_its_firmware_does_and_nothing_else() {
    // A separator is missing in PCR 4 alone: not the firmware that has one in PCR 7 only.
    let pcr4 = start(&[0, 1, 2, 3, 5, 6, 7], &BOTH);
    assert!(has(&pcr4, Level::Warning, "separator-missing"), "{:?}", codes(&pcr4));
    assert!(!has(&pcr4, Level::Note, "separator-in-pcr7-only"));
    assert!(has(&start(&[7], &BOTH), Level::Note, "separator-in-pcr7-only"));
    // Digests taken out of PCRs 12 and 7: the first must not speak for the second, nor SHA-1 for SHA-256.
    let windows = event(12, 6, b"c", b"c", &[SHA256]);
    let stripped = event(7, 0x8000_00E0, b"c", b"c", &[SHA256]);
    let log = [start(&ALL, &BOTH), windows.clone()].concat();
    assert!(
        has(&log, Level::Note, "bank-not-in-every-event") && !has(&log, Level::Warning, "digest-missing")
    );
    let log = [start(&ALL, &BOTH), windows, stripped].concat();
    assert!(has(&log, Level::Note, "bank-not-in-every-event") && has(&log, Level::Warning, "digest-missing"));
    let log = [start(&ALL, &BOTH), event(12, 6, b"c", b"c", &[SHA1])].concat();
    assert!(
        has(&log, Level::Warning, "digest-missing") && !has(&log, Level::Note, "bank-not-in-every-event")
    );
    // No separator in RTMR1, and none too many in RTMR0.
    let sha384 = [HashAlgorithm::Sha384];
    let separator = |register| event(register, 4, &[0; 4], &[0; 4], &sha384);
    let log = [header(1, &sha384, &[]), separator(1)].concat();
    assert!(has(&log, Level::Warning, "separator-missing"), "{:?}", codes(&log));
    let log = [header(1, &sha384, &[]), separator(1), separator(1)].concat();
    assert!(
        has(&log, Level::Note, "tdvf-separator-in-rtmr0") && !has(&log, Level::Warning, "separator-missing")
    );
    let log = [header(1, &sha384, &[]), separator(1), separator(1), separator(2)].concat();
    assert!(has(&log, Level::Error, "separator-duplicate"));
    // Google's TDX guests have images and the partition table in PCR 2, not boot variables.
    let log = [start(&ALL, &BOTH), event(2, 0x8000_0002, b"v", b"v", &BOTH)].concat();
    assert!(has(&log, Level::Warning, "wrong-register"), "{:?}", codes(&log));
    // A kernel that measures its initrd knows the events of ExitBootServices.
    let boot = [start(&ALL, &BOTH), event(4, 0x8000_0003, b"image", b"hash", &BOTH)].concat();
    assert!(has(&boot, Level::Note, "log-before-exit-boot-services"));
    let log = [boot.clone(), event(9, 6, b"initrd", b"initrd", &BOTH)].concat();
    assert!(has(&log, Level::Warning, "no-exit-boot-services"), "{:?}", codes(&log));
    assert!(has(&boot[..boot.len() - 1], Level::Error, "truncated"));
}

#[test]
fn records_of_user_space_that_contradict_themselves_are_errors() {
    let mismatch = |bytes: &[u8]| has(bytes, Level::Error, "digest-mismatch");
    assert!(mismatch(systemd("leave-initrd", "enter-initrd", &BOTH).as_bytes()));
    assert_eq!(codes(systemd("enter-initrd", "enter-initrd", &[SHA256]).as_bytes()), []);
    assert!(mismatch((ima("/a", "/a") + &ima("/b", "/c")).as_bytes()));
    assert_eq!(codes(ima("/a b", "/a b").as_bytes()), []);
    let violation = format!("10 {} ima-ng sha256:{} /a\n", "00".repeat(20), "00".repeat(32));
    assert!(!mismatch(violation.as_bytes()), "{:?}", codes(violation.as_bytes()));
}

#[test]
fn logs_of_real_user_space_do_not_contradict_themselves() {
    let mut count = 0;
    for boot in crate::fixtures::boots() {
        for name in ["guest/tpm2-measure.log", "guest/ima_runtime_measurements"] {
            let Ok(bytes) = fs::read(boot.join(name)) else { continue };
            let found = codes(&bytes);
            assert!(found.iter().all(|(level, _)| *level == Level::Note), "{}: {found:?}", boot.display());
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn a_record_that_was_taken_out_of_a_canonical_log_leaves_a_gap() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = [start(&ALL, &BOTH), event(7, 0x8000_00E0, b"c", b"c", &BOTH), event(7, 6, b"d", b"d", &BOTH)];
    let log = file(folder.path(), "firmware.bin", log.concat());
    let output = premeasure(&[&"log", &"convert", &log]);
    let records = document(&output).as_array().expect("records").clone();
    let cel = |records: &[Value]| serde_json::to_vec(records).expect("JSON");
    let numbers = |bytes: &[u8]| {
        codes(bytes).into_iter().filter(|(_, code)| code.starts_with("recnum")).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&cel(&records)), []);
    let mut gap = records.clone();
    gap.remove(records.len() - 2);
    assert_eq!(numbers(&cel(&gap)), [(Level::Error, "recnum-gap")]);
    let mut twice = records.clone();
    twice.push(records[records.len() - 1].clone());
    assert_eq!(numbers(&cel(&twice)), [(Level::Error, "recnum-repeated")]);
}

#[test]
fn an_event_without_a_digest_of_the_shown_bank_is_claimed() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = [start(&ALL, &BOTH), event(12, 6, b"c", b"c", &[SHA1])].concat();
    let log = file(folder.path(), "log.bin", log);
    for (bank, data) in [("sha1", "verified"), ("sha256", "claimed")] {
        let output = premeasure(&[&"log", &"show", &"--json", &"--pcr", &"12", &"--bank", &bank, &log]);
        assert_eq!(document(&output)["events"][0]["data"], data, "{bank}");
    }
    for command in ["show", "replay"] {
        let output = premeasure(&[&"log", &command, &"--bank", &"sha512", &log]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{command}");
    }
}

#[test]
fn what_follows_a_measured_name_is_not_verified() {
    use premeasure::tcg::EventType;
    use premeasure::tcg::event_data::{Rule, coverage};
    use premeasure::uefi::variable::Uintn;
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let digest = Digest::of(SHA256, b".linux\0");
    let found = coverage(EventType::IPL, &utf16(".linux\0evil"), digest, Uintn::Bits64);
    assert_eq!((found.rule, found.range), (Rule::AsciiForm, 0..14));
    let digest = Digest::of(SHA256, "\u{fffd}\0".as_bytes());
    let found = coverage(EventType::IPL, &[0, 0xD8, 0, 0], digest, Uintn::Bits64);
    assert_eq!(found.rule, Rule::Nothing);
}

#[test]
fn firmware_logs_with_different_headers_are_not_of_one_boot() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = file(folder.path(), "one.bin", start(&ALL, &BOTH));
    let other = file(folder.path(), "other.bin", start(&ALL, &[SHA256]));
    for command in ["show", "replay", "convert"] {
        let output = premeasure(&[&"log", &command, &one, &other]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{command}");
        assert!(errors(&output).contains("different headers"), "{}", errors(&output));
    }
}

#[test]
fn a_locality_that_no_tpm_starts_from_is_an_error() {
    for (locality, wrong) in [(0, false), (2, true), (3, false), (4, false), (5, true)] {
        let data = [&b"StartupLocality\0"[..], &[locality]].concat();
        let log = [header(0, &BOTH, &[]), event(0, 3, &data, &data, &BOTH)].concat();
        assert_eq!(has(&log, Level::Error, "locality-value"), wrong, "{locality}");
    }
}

#[test]
fn a_key_of_a_cbor_record_is_there_once() {
    // [{0: 0, 1: 7, 2 or 1: 7, 3: [], 9: 5, 10: {0: 4, 1: h''}}]
    for second in [1, 2] {
        let log =
            [&[0x81, 0xA6, 0, 0, 1, 7, second, 7, 3, 0x80, 9, 5, 10][..], &[0xA2, 0, 4, 1, 0x40]].concat();
        let log = BootLog::read(&log);
        assert!(log.is_empty() && log.error.is_some_and(|error| error.to_string().contains("a second time")));
    }
}

#[test]
fn a_header_in_pcr_1_does_not_make_a_tpm_a_confidential_guest() {
    let log = [header(1, &BOTH, &[]), event(7, 4, &[0; 4], &[0; 4], &BOTH)].concat();
    assert!(has(&log, Level::Warning, "header-register"), "{:?}", codes(&log));
    assert_eq!(BootLog::read(&log).register_kind(), Some(premeasure::tcg::eventlog::RegisterKind::Pcr));
    let log = [header(1, &[SHA256], &[]), event(1, 4, &[0; 4], &[0; 4], &[SHA256])].concat();
    assert_eq!(BootLog::read(&log).register_kind(), Some(premeasure::tcg::eventlog::RegisterKind::Mr));
}

#[test]
fn an_h_crtm_behind_the_version_is_an_error() {
    let late = [start(&[], &BOTH), event(0, 0x8000_0010, b"HCRTM", b"x", &BOTH)].concat();
    assert!(has(&late, Level::Error, "late-hcrtm"), "{:?}", codes(&late));
}
