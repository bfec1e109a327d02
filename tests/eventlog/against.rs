//! Logs against the registers of their machines: what is equal, what came later, what is proven.

use std::fs;

use premeasure::tcg::eventlog::{EventLog, VerifyError};
use premeasure::tcg::timeline::BootLog;
use premeasure::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues};
use serde_json::Value;

use crate::command::premeasure;
use crate::fixtures::{boots, live_pcr};

/// IMA measures `boot_aggregate` without any policy: PCR 10 follows from the firmware's log. Truth: PCR 10 of the TPM
/// of each boot, in four banks. Debian 12's kernel lacks two hashes when IMA starts.
#[test]
fn pcr_10_of_a_kernel_without_policy_is_explained_by_the_firmware_log() {
    let (mut explained, mut padded) = (0, 0);
    for boot in boots() {
        let Ok(ima) = fs::read(boot.join("guest/ima_runtime_measurements")) else { continue };
        // Under Secure Boot these kernels measured the signed module that they loaded, too.
        let entries = BootLog::read(&ima).len();
        let output = premeasure(&[
            &"log",
            &"replay",
            &boot.join("eventlog.bin"),
            &"--against",
            &boot.join("pcrs.json"),
            &"--json",
        ]);
        let comparison: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        for row in comparison["registers"].as_array().expect("registers") {
            if row["register"] != 10 {
                continue;
            }
            if entries > 1 {
                assert_eq!(row["verdict"], "not-in-log", "{} {row}", boot.display());
                continue;
            }
            assert_eq!(row["verdict"], "extended-after-log", "{} {row}", boot.display());
            let why = row["after_the_log"][0].as_str().expect("a reason");
            assert!(why.starts_with("IMA's boot_aggregate (ima-"), "{why}");
            assert!(why.contains("sha256 of PCRs 0 to 9"), "{why}");
            explained += 1;
            padded += u32::from(why.contains("zeros behind it"));
        }
    }
    println!("{explained} values of PCR 10 explained, {padded} of them as zero-padded SHA-1");
    assert!(explained >= 4 * 12 && padded >= 2, "{explained} {padded}");
}

/// The kernel of another boot read other PCRs.
#[test]
fn pcr_10_of_another_boot_is_not_explained() {
    let all = boots();
    let boot = |name: &str| all.iter().find(|boot| boot.ends_with(name)).expect("the boot").clone();
    let output = premeasure(&[
        &"log",
        &"replay",
        &boot("c-sdboot-257").join("eventlog.bin"),
        &"--against",
        &boot("k-mkosi-trixie").join("pcrs.json"),
        &"--json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let comparison: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = comparison["registers"].as_array().expect("registers");
    // The machine's own values explain it: its kernel did read those.
    let explained = rows.iter().filter(|row| row["register"] == 10 && row["verdict"] == "extended-after-log");
    assert_eq!(explained.count(), 4);
    let pcr4 = rows.iter().find(|row| row["register"] == 4).expect("PCR 4");
    assert_eq!(pcr4["verdict"], "differs");
}

#[test]
fn pcr_15_is_explained_by_the_machine_id() {
    let boot = boots().into_iter().find(|boot| boot.ends_with("k-mkosi-trixie")).expect("the boot");
    let run = |id: &dyn AsRef<std::ffi::OsStr>| {
        premeasure(&[
            &"log",
            &"replay",
            &boot.join("eventlog.bin"),
            &"--against",
            &boot.join("pcrs.json"),
            &"--machine-id",
            id,
        ])
    };
    for id in
        [&boot.join("guest/machine-id") as &dyn AsRef<std::ffi::OsStr>, &"0123456789abcdef0123456789abcdef"]
    {
        let output = run(id);
        assert_eq!(output.status.code(), Some(0), "every register is accounted for");
        let shown = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(
            shown.contains(r#"extended after the log  by "machine-id:0123456789abcdef0123456789abcdef""#),
            "{shown}"
        );
    }
    assert_eq!(run(&"1123456789abcdef0123456789abcdef").status.code(), Some(1));
    assert_eq!(run(&"not an id").status.code(), Some(2));
}

/// `log show --against`: PCRs that agree vouch for the digests of their events, others do not.
#[test]
fn events_are_shown_with_what_their_register_says_of_them() {
    let boot = boots().into_iter().find(|boot| boot.ends_with("k-mkosi-trixie")).expect("the boot");
    let folder = tempfile::tempdir().expect("a folder");
    let log = boot.join("eventlog.bin");
    let shown = |path: &std::path::Path, code: i32| -> Vec<(u64, u64, Option<bool>)> {
        let output = premeasure(&[&"log", &"show", &path, &"--against", &boot.join("pcrs.json"), &"--json"]);
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let events = document["events"].as_array().expect("events").iter();
        events
            .map(|event| {
                let number = |member: &str| event[member].as_u64().expect("a number");
                (number("number"), number("register"), event["vouched"].as_bool())
            })
            .collect()
    };
    // PCR 15 went on for a reason that the log can't say, hence 1; no event of the log is in it.
    let sound = shown(&log, 1);
    assert_eq!(sound[0].2, None, "the header is not extended");
    assert!(sound[1..].iter().all(|row| row.2 == Some(true)), "{sound:?}");
    // One bit of one digest of PCR 4: all events of PCR 4 lose their proof, and no other does.
    let mut bytes = fs::read(&log).expect("a log");
    let parsed = EventLog::parse(bytes.clone()).expect("a sound log");
    let event = parsed.events().find(|event| event.number > 0 && event.register == 4).expect("an event");
    let sha256 = event.digest(HashAlgorithm::Sha256).expect("sha256");
    let at = bytes.windows(32).position(|window| window == sha256.as_bytes()).expect("the digest");
    bytes[at] ^= 1;
    let changed = folder.path().join("changed.bin");
    fs::write(&changed, bytes).expect("written");
    for (number, register, vouched) in shown(&changed, 1).into_iter().skip(1) {
        assert_eq!(vouched, Some(register != 4), "event {number} of PCR {register}");
    }
    let table =
        premeasure(&[&"log", &"show", &changed, &"--against", &boot.join("pcrs.json"), &"--pcr", &"4"]);
    let table = String::from_utf8(table.stdout).expect("UTF-8");
    assert!(table.lines().skip(1).all(|line| line.contains("  differs  ")), "{table}");
}

/// The library's types: registers that went on take only themselves out of a verified log.
#[test]
fn registers_that_agree_are_verified_beside_others_that_do_not() {
    let boot = boots().into_iter().find(|boot| boot.ends_with("k-mkosi-trixie")).expect("the boot");
    let bytes = fs::read(boot.join("eventlog.bin")).expect("a log");
    let log = EventLog::parse(&bytes[..]).expect("a sound log");
    let bank = HashAlgorithm::Sha256;
    let mut given = PcrValues::default();
    for pcr in PcrIndex::all() {
        let value = hex::decode(live_pcr(&boot, bank, pcr)).expect("hexadecimal");
        given.set(pcr, Digest::from_bytes(bank, &value).expect("32 bytes"));
    }
    let Err(VerifyError::Mismatch(mismatches)) = log.clone().verify(bank, &given) else {
        panic!("user space and IMA extended more")
    };
    let (verified, left) = log.verify_registers(bank, &given).expect("both have the bank");
    assert_eq!(left, mismatches);
    let differing: Vec<u8> = left.iter().map(|mismatch| mismatch.register.get()).collect();
    assert_eq!(differing, [10, 11, 15]);
    assert_eq!(verified.registers().count(), 21);
    assert!(verified.events().count() > 20);
    assert!(verified.events().all(|event| event.register() != 11));
}
