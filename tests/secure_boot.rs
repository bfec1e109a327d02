//! The firmware's share against real boots: PCR 7 from a variable store, PCR 0 to 3 and 6 from the log of *another* boot on the
//! same firmware; and Secure Boot's verdicts on images that openssl and sbsign signed for the occasion.
//!
//! Expected values come from guests and from those tools, none from this project.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::boots::{BOOTS, Boot, boot};
use support::{BANKS, disks, fixture, premeasure, read, read_json, scratch, skipped_without, tcg2, tool};

const AUTHORITY: u32 = 0x8000_00E0;

/// PCR 7 is what the variable store and the images say, value by value and event by event, in four banks. The store does not
/// say whether the firmware can do Secure Boot at all, so with no keys there are two answers, of which one is the guest's.
#[test]
fn pcr_7_follows_from_the_variable_store() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    for boot in BOOTS {
        let mut arguments = boot.predict_without("--secure-boot");
        arguments.extend(["--variables".into(), disks::variables(boot.case).into_os_string()]);
        let document = document(arguments);
        let observed = boot.observed_pcrs();
        let fits = |variant: &&Value| {
            BANKS.iter().all(|bank| pcr(variant, 7, bank) == Some(observed[*bank]["7"].as_str()))
        };
        let variants = document["variants"].as_array().expect("variants");
        let fitting: Vec<&Value> = variants.iter().filter(fits).collect();
        assert_eq!(fitting.len(), 1, "{}: {} variants", boot.case, variants.len());
        let predicted = digests(fitting[0], 7);
        assert_eq!(predicted, observed_digests(boot, 7), "{}", boot.case);
        let expected = if boot.case == "f-secureboot-257" { 1 } else { 2 };
        assert_eq!(variants.len(), expected, "{}", boot.case);
    }
}

/// The log of another boot on the same firmware build gives what the firmware measures: PCR 0 to 3 and 6.
#[test]
fn another_boot_on_the_same_firmware_is_a_baseline() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let mut compared = 0;
    for boot in BOOTS {
        // PCR 1 has SMBIOS structures from stub 262 on, which the tiny guests did not record.
        let tables = boot.record("guest/dmi/DMI");
        let Some(other) =
            BOOTS.iter().find(|other| other.case != boot.case && firmware(other) == firmware(boot))
        else {
            continue;
        };
        if secure_boot(boot) != secure_boot(other) {
            continue;
        }
        let mut arguments = boot.predict();
        if tables.exists() && !arguments.contains(&"--smbios".into()) {
            arguments.extend(["--smbios".into(), tables.into_os_string()]);
        }
        arguments.extend(["--baseline".into(), other.record("eventlog.bin").into_os_string()]);
        let document = document(arguments);
        let variant = &document["variants"][0];
        assert_eq!(document["variants"].as_array().map(Vec::len), Some(1), "{}", boot.case);
        let observed = boot.observed_pcrs();
        for number in [0, 1, 2, 3, 4, 6, 7] {
            if number == 1 && boot.case == "t3-tiny-262" {
                assert_eq!(status(variant, 1), "unknown");
                continue;
            }
            for bank in BANKS {
                let expected = Some(observed[bank][&number.to_string()].as_str());
                assert_eq!(
                    pcr(variant, number, bank),
                    expected,
                    "{} from {}: PCR {number} {bank}",
                    boot.case,
                    other.case
                );
            }
            assert_eq!(status(variant, number), "observed", "{}: PCR {number}", boot.case);
        }
        compared += 1;
    }
    assert!(compared >= 11, "{compared} boots have a sibling");
}

/// A profile says the same as the logs that it was made of, and holds no boot option.
#[test]
fn a_profile_predicts_as_its_logs_do() {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let profile = folder.path().join("profile.json");
    let logs = ["c-sdboot-257", "t-tiny-257"].map(|case| boot(case).record("eventlog.bin"));
    let mut make: Vec<OsString> = vec!["baseline".into(), "make".into()];
    make.extend(logs.iter().map(|log| log.clone().into_os_string()));
    make.extend(["-o".into(), profile.clone().into_os_string()]);
    let run = premeasure(&make);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = fs::read_to_string(&profile).expect("a profile");
    let boot_option = tcg2::parse(&read(&logs[0]))
        .into_iter()
        .find(|event| event.pcr == 1 && event.event_type == 0x8000_0002);
    assert!(
        !text.contains(&hex::encode(boot_option.expect("a boot option").data)),
        "only its digest is kept"
    );

    let predict = |baseline: &Path| {
        let mut arguments = boot("t-tiny-257").predict();
        arguments.extend(["--baseline".into(), baseline.into(), "--format".into(), "pcrs".into()]);
        let run = premeasure(support::document::with_banks(arguments));
        run.json::<BTreeMap<String, BTreeMap<String, String>>>()
    };
    let from_log = predict(&logs[0]);
    assert_eq!(predict(&profile), from_log);
    let observed = boot("t-tiny-257").observed_pcrs();
    for number in ["0", "1", "2", "3", "4", "6", "7"] {
        assert_eq!(from_log["sha512"].get(number), observed["sha512"].get(number), "PCR {number}");
    }
}

/// Logs of two kinds of firmware, as logs or as one profile, give each its own answer: PCR 0 to 3 of either guest.
#[test]
fn logs_that_differ_become_alternatives() {
    let cases = ["c-sdboot-257", "a-uki-direct-252"].map(boot);
    assert_ne!(firmware(cases[0]), firmware(cases[1]));
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let profile = folder.path().join("profile.json");
    let logs = cases.map(|case| case.record("eventlog.bin"));
    let run = premeasure([
        "baseline".into(),
        "make".into(),
        logs[0].clone(),
        logs[1].clone(),
        "-o".into(),
        profile.clone(),
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("seen in 2 different ways"), "{}", run.stderr);
    for baselines in [logs.to_vec(), vec![profile]] {
        let mut arguments = boot("t-tiny-257").predict();
        arguments.extend(baselines.into_iter().flat_map(|path| ["--baseline".into(), path.into_os_string()]));
        let document = document(arguments);
        let variants = document["variants"].as_array().expect("variants");
        assert_eq!(variants.len(), 2);
        for (variant, case) in variants.iter().zip(cases) {
            let observed = case.observed_pcrs();
            for (number, bank) in [0, 2, 3, 6].into_iter().flat_map(|number| BANKS.map(|bank| (number, bank)))
            {
                let expected = Some(observed[bank][&number.to_string()].as_str());
                assert_eq!(pcr(variant, number, bank), expected, "{}: PCR {number} {bank}", case.case);
                assert_eq!(status(variant, number), "observed");
            }
        }
    }
}

/// What does not fit together is an error that names the assumption which fails.
#[test]
fn baselines_of_another_machine_are_refused() {
    let refused = |extra: &[&str], says: &str| {
        let mut arguments = boot("t-tiny-257").predict_without("--secure-boot");
        arguments.extend(extra.iter().map(OsString::from));
        let run = premeasure(&arguments);
        assert_eq!(run.code, Some(2), "{extra:?}");
        assert!(run.stderr.contains(says), "{extra:?}: {}", run.stderr);
    };
    let log = |case: &str| boot(case).record("eventlog.bin").display().to_string();
    refused(
        &["--baseline", &log("f4-setup-mode-257"), "--secure-boot", "on"],
        "recorded with Secure Boot off, which is not the state asked for",
    );
    refused(&["--baseline", &log("c-sdboot-257"), "--bank", "sm3-256"], "has no bank sm3_256");
    refused(
        &["--baseline", &log("f-secureboot-257")],
        "it is not signed, and db does not list its image digest",
    );
    let keys = fixture("boots/f-secureboot-257/inputs/db.esl").display().to_string();
    refused(&["--baseline", &log("c-sdboot-257"), "--db", &keys], "variable db is not the one given");
    refused(&["--baseline", &log("a-uki-direct-252"), "--platform", "gce"], "not of platform gce");
    refused(&["--baseline", &fixture("README.md").display().to_string()], "event log is needed here");
    refused(
        &["--variables", &log("f-secureboot-257"), "--secure-boot", "off"],
        "the machine's variables make it on",
    );
}

/// Debian's shim carries two Microsoft signatures; the store's db has the certificate of the first. The guest's log has that
/// entry as the first authority.
#[test]
fn shim_and_its_second_stage_are_followed() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let case = "j-shim-grub-bookworm";
    let arguments = [
        "predict".into(),
        disks::disk(case).into_os_string(),
        "--variables".into(),
        disks::variables(case).into_os_string(),
    ];
    let document = document(arguments.to_vec());
    let variant = &document["variants"][0];
    let log = tcg2::parse(&read(fixture("boots").join(case).join("eventlog.bin")));
    let logged =
        log.iter().find(|event| event.pcr == 7 && event.event_type == AUTHORITY).expect("an authority");
    let measurements = variant["measurements"].as_array().expect("measurements");
    let predicted =
        measurements.iter().find(|m| m["event_type"] == "EV_EFI_VARIABLE_AUTHORITY").expect("an authority");
    for bank in BANKS {
        assert_eq!(predicted["digests"][bank], Value::from(logged.digests[bank].as_str()), "{bank}");
    }
    // shim's own part: SbatLevel and the vendor certificate in PCR 7, its lists in PCR 14.
    let observed: BTreeMap<String, BTreeMap<String, String>> =
        read_json(fixture("boots").join(case).join("pcrs.json"));
    for number in [7, 14] {
        let logged = log.iter().filter(|event| event.pcr == number).map(|event| event.digests.clone());
        assert_eq!(digests(variant, number), logged.collect::<Vec<_>>(), "PCR {number}");
        for bank in BANKS {
            let expected = Some(observed[bank][&number.to_string()].as_str());
            assert_eq!(pcr(variant, number, bank), expected, "PCR {number} {bank}");
        }
    }
}

/// Keys in every form that people keep them in give the same PCR 7.
#[test]
fn keys_are_read_in_every_form() {
    let case = boot("f-secureboot-257");
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let observed = case.observed_pcrs()["sha256"]["7"].clone();
    let inputs = |name: &str| case.record("inputs").join(name).display().to_string();
    let value = |extra: &[String]| {
        let mut arguments = case.predict();
        arguments.extend(extra.iter().map(OsString::from));
        arguments.extend([
            "--bank".into(),
            "sha256".into(),
            "--pcr".into(),
            "7".into(),
            "--format".into(),
            "pcrs".into(),
        ]);
        let run = premeasure(&arguments);
        assert_eq!(run.code, Some(0), "{extra:?}: {}", run.stderr);
        run.json::<Value>()["sha256"]["7"].as_str().map(str::to_owned)
    };
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let dbx = folder.path().join("dbx.esl");
    // What the guest's efivarfs has, less 4 bytes of attributes.
    fs::write(&dbx, &read(case.record("guest/efivar/dbx"))[4..]).expect("a copy");
    let dbx = dbx.display().to_string();
    let lists =
        ["--pk", &inputs("PK.esl"), "--kek", &inputs("KEK.esl"), "--db", &inputs("db.esl"), "--dbx", &dbx];
    assert_eq!(value(&text(&lists)), Some(observed.clone()), "signature lists");
    let efivarfs = case.record("guest/efivar").display().to_string();
    assert_eq!(value(&text(&["--variables", &efivarfs])), Some(observed.clone()), "efivarfs");
    let log = case.record("eventlog.bin").display().to_string();
    assert_eq!(value(&text(&["--variables", &log])), Some(observed.clone()), "event log");
    let store = disks::variables(case.case).display().to_string();
    assert_eq!(value(&text(&["--variables", &store])), Some(observed.clone()), "variable store");
    // The owner is measured: it stands in the list behind 28 bytes.
    let list = read(inputs("db.esl"));
    let owner = guid(&list[28..44]);
    let pem = ["--variables", &store, "--db", &inputs("db.crt"), "--key-owner", &owner];
    assert_eq!(value(&text(&pem)), Some(observed.clone()), "certificate with owner");
    // Without dbx nothing is guessed.
    assert_eq!(value(&text(&lists[..6])), None);
    let other = [
        "--variables",
        &store,
        "--db",
        &inputs("db.crt"),
        "--key-owner",
        "77fa9abd-0359-4d32-bd60-28f4e78f784b",
    ];
    assert_ne!(value(&text(&other)), Some(observed), "another owner");
}

/// A key hierarchy made with openssl, images signed with sbsign: who may start what.
#[test]
fn verdicts_follow_the_chain() {
    if skipped_without(&["openssl", "sbsign", "cert-to-efi-sig-list"]) {
        return;
    }
    for curve in [None, Some("prime256v1"), Some("secp384r1")] {
        let keys = Keys::make(curve);
        let signed = keys.sign("leaf");
        let root = keys.list("root");
        assert_eq!(keys.verdict(&signed, &root, None), None, "the root is not embedded in the signature");
        assert_eq!(keys.verdict(&signed, &keys.list("leaf"), None), None, "the leaf itself");
        let unrelated = keys.verdict(&signed, &keys.list("other"), None);
        assert!(
            unrelated.expect("refused").contains("no certificate in db accounts for it: signed by 'leaf'")
        );
        let unsigned = keys.verdict(&keys.unsigned(), &root, None).expect("refused");
        assert!(unsigned.contains("it is not signed"), "{unsigned}");
        for revoked in ["leaf", "root"] {
            let reason = keys.verdict(&signed, &root, Some(&keys.list(revoked))).expect("revoked");
            assert!(reason.contains(&format!("dbx holds '{revoked}'")), "{reason}");
        }
        let mut changed = read(&signed);
        changed[0x800] ^= 1;
        let tampered = keys.folder.path().join("tampered.efi");
        fs::write(&tampered, changed).expect("a copy");
        let reason = keys.verdict(&tampered, &root, None).expect("refused");
        assert!(reason.contains("changed after signing"), "{reason}");
    }
}

/// Keys in a folder that goes away with the test.
struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn make(curve: Option<&str>) -> Self {
        let keys = Self { folder: tempfile::tempdir_in(scratch()).expect("a temporary folder") };
        let new: Vec<String> = match curve {
            Some(curve) => vec!["ec".into(), "-pkeyopt".into(), format!("ec_paramgen_curve:{curve}")],
            None => vec!["rsa:2048".into()],
        };
        for name in ["root", "other"] {
            let subject = format!("/CN={name}");
            let mut command = Command::new("openssl");
            command.args(["req", "-x509", "-nodes", "-days", "1", "-subj", &subject, "-newkey"]).args(&new);
            tool(command.arg("-keyout").arg(keys.path(name, "key")).arg("-out").arg(keys.path(name, "crt")));
        }
        let mut command = Command::new("openssl");
        command.args(["req", "-nodes", "-subj", "/CN=leaf", "-newkey"]).args(&new);
        tool(command.arg("-keyout").arg(keys.path("leaf", "key")).arg("-out").arg(keys.path("leaf", "csr")));
        let mut command = Command::new("openssl");
        command.args(["x509", "-req", "-days", "1", "-in"]).arg(keys.path("leaf", "csr")).arg("-CA");
        command
            .arg(keys.path("root", "crt"))
            .arg("-CAkey")
            .arg(keys.path("root", "key"))
            .arg("-CAcreateserial");
        tool(command.arg("-out").arg(keys.path("leaf", "crt")));
        keys
    }

    fn path(&self, name: &str, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{suffix}"))
    }

    fn unsigned(&self) -> PathBuf {
        fixture("t-tiny-257/uki.efi")
    }

    fn sign(&self, name: &str) -> PathBuf {
        let output = self.path("signed", "efi");
        let mut command = Command::new("sbsign");
        command.arg("--key").arg(self.path(name, "key")).arg("--cert").arg(self.path(name, "crt"));
        tool(command.arg("--output").arg(&output).arg(self.unsigned()));
        output
    }

    fn list(&self, name: &str) -> PathBuf {
        let output = self.path(name, "esl");
        tool(Command::new("cert-to-efi-sig-list").arg(self.path(name, "crt")).arg(&output));
        output
    }

    /// Why the image is refused; nothing when it starts.
    fn verdict(&self, image: &Path, db: &Path, dbx: Option<&Path>) -> Option<String> {
        let any = self.list("other");
        let dbx = dbx.map_or(OsString::from("none"), |dbx| dbx.as_os_str().to_owned());
        let arguments: Vec<OsString> = vec![
            "predict".into(),
            image.into(),
            "--secure-boot".into(),
            "on".into(),
            "--pk".into(),
            any.clone().into(),
            "--kek".into(),
            any.into(),
            "--db".into(),
            db.into(),
            "--dbx".into(),
            dbx,
        ];
        let run = premeasure(&arguments);
        match run.code {
            Some(0) => None,
            Some(2) => Some(run.stderr),
            other => panic!("{other:?}: {}", run.stderr),
        }
    }
}

/// SHA-256 of the firmware that a boot ran on.
fn firmware(boot: &Boot) -> String {
    let record: Value = read_json(boot.record("boot.json"));
    record["ovmf_code_sha256"].as_str().expect("a digest").to_owned()
}

/// The guest's PCR 7 has an authority.
fn secure_boot(boot: &Boot) -> bool {
    boot.observed_events().iter().any(|event| event.pcr == 7 && event.event_type == AUTHORITY)
}

fn document(arguments: Vec<OsString>) -> Value {
    let mut arguments = support::document::with_banks(arguments);
    arguments.push("--json".into());
    let run = premeasure(&arguments);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
    run.json()
}

fn entry(variant: &Value, number: u32) -> &Value {
    let pcrs = variant["pcrs"].as_array().expect("pcrs");
    pcrs.iter().find(|pcr| pcr["index"] == number).expect("every PCR is there")
}

fn status(variant: &Value, number: u32) -> &str {
    entry(variant, number)["status"].as_str().expect("a status")
}

fn pcr<'v>(variant: &'v Value, number: u32, bank: &str) -> Option<&'v str> {
    let values = entry(variant, number)["values"].as_array()?;
    let value = values.iter().find(|value| value["stage"] == "exit-boot-services")?;
    value["digests"][bank].as_str()
}

/// The digests of a PCR's measurements up to the kernel, in order.
fn digests(variant: &Value, number: u32) -> Vec<BTreeMap<String, String>> {
    let measurements = variant["measurements"].as_array().expect("measurements");
    let wanted = measurements.iter().filter(|m| m["pcr"] == number && m["stage"] == "exit-boot-services");
    wanted.map(|m| serde_json::from_value(m["digests"].clone()).unwrap_or_default()).collect()
}

fn observed_digests(boot: &Boot, number: u32) -> Vec<BTreeMap<String, String>> {
    let events = boot.observed_events().into_iter().filter(|event| event.pcr == number);
    events.map(|event| event.digests).collect()
}

/// The text form of a GUID's 16 bytes.
fn guid(bytes: &[u8]) -> String {
    let reversed =
        |range: std::ops::Range<usize>| hex::encode(bytes[range].iter().rev().copied().collect::<Vec<u8>>());
    let (tail, node) = (hex::encode(&bytes[8..10]), hex::encode(&bytes[10..16]));
    format!("{}-{}-{}-{tail}-{node}", reversed(0..4), reversed(4..6), reversed(6..8))
}

/// A program that is not followed may start whatever its keys allow, and shims measure on their own: with all variables given, no
/// value of PCR 7 is claimed for it. (A boot of shim had three events more than were once predicted so.)
#[test]
fn a_program_that_is_not_followed_leaves_pcr_7_unknown() {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let program = folder.path().join("EFI/BOOT/BOOTX64.EFI");
    fs::create_dir_all(program.parent().expect("a parent")).expect("made");
    for (file, known) in [("t-tiny-257/uki.efi", true), ("pe/global.addon.efi", false)] {
        fs::copy(fixture(file), &program).expect("copied");
        let mut arguments: Vec<OsString> = vec!["predict".into(), folder.path().into()];
        let options =
            "--secure-boot off --pk none --kek none --db none --dbx none --bank sha256 --format pcrs";
        arguments.extend(options.split(' ').map(OsString::from));
        let values: Value = premeasure(&arguments).json();
        assert_eq!(values["sha256"].get("7").is_some(), known, "{file}: {values}");
    }
}
