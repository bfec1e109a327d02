//! systemd's own tools: `systemd-measure` of the system, and the newer suites whose roots `PREMEASURE_SYSTEMD_ROOTS` names
//! (separated by colons; `tests/boot/mkchroot.sh` makes them). Their programs run through their own loader, so no root is
//! needed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::documents::{Doc, export, exported, folder, text};
use crate::support::tpm::Tpm;
use crate::support::{
    Pcrs, boots::boot, disks, fixture, premeasure, read, read_json, say, skipped_without, tcg2, tool,
};

/// A suite with a systemd of its own.
struct Suite(PathBuf);

/// The suites that there are; says so when there is none.
fn suites(test: &str) -> Vec<Suite> {
    let roots = std::env::var_os("PREMEASURE_SYSTEMD_ROOTS").unwrap_or_default();
    let roots: Vec<Suite> = std::env::split_paths(&roots).filter(|root| root.is_dir()).map(Suite).collect();
    if roots.is_empty() {
        say(&format!(
            "SKIPPED {test}: PREMEASURE_SYSTEMD_ROOTS names no newer Debian suite (tests/boot/mkchroot.sh)"
        ));
    }
    roots
}

impl Suite {
    fn program(&self, name: &str) -> Command {
        let libraries = self.0.join("usr/lib/x86_64-linux-gnu");
        let mut command = Command::new(self.0.join("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path");
        command.arg(format!("{0}/systemd:{0}", libraries.display()));
        command.arg(self.0.join("usr/lib/systemd").join(name));
        command
    }

    /// The version of systemd, as in `systemd 257 (257.13-1~deb13u1)`.
    fn version(&self) -> u32 {
        let output = tool(self.program("systemd-measure").arg("--version"));
        output.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a version")
    }
}

/// The sections that `systemd-measure` takes, as files, with the options that name them.
fn sections(uki: &Path, names: &[&str], folder: &Path) -> Vec<String> {
    let section = |name: &&str| {
        let to = folder.join(name);
        let dump = format!(".{name}={}", text(&to));
        tool(Command::new("objcopy").args(["-O", "binary", "--dump-section", &dump, text(uki), "/dev/null"]));
        format!("--{name}={}", text(&to))
    };
    names.iter().map(section).collect()
}

/// What a run of `systemd-measure` prints as JSON, in all banks.
fn measured(mut measure: Command, verb: &str, options: &[String]) -> Value {
    measure.args([verb, "--json=short"]).args(options);
    for bank in ["sha1", "sha256", "sha384", "sha512"] {
        measure.arg(format!("--bank={bank}"));
    }
    serde_json::from_str(&tool(&mut measure)).expect("JSON")
}

/// Witness: `systemd-measure` of Debian 12 (252), on the sections of a UKI with a stub of its version: the same JSON, in all
/// banks.
#[test]
fn systemd_measure_prints_the_same() {
    const MEASURE: &str = "/lib/systemd/systemd-measure";
    if skipped_without(&[MEASURE, "objcopy", "zstd", "mcopy"]) {
        return;
    }
    let folder = folder("systemd-measure");
    let uki = disks::esp("a-uki-direct-252").join("EFI/BOOT/BOOTX64.EFI");
    let options = sections(&uki, &["linux", "osrel", "cmdline", "initrd"], &folder);
    let document = folder.join("document.json");
    let run = premeasure([
        "predict",
        text(&uki),
        "--bank",
        "sha1,sha256,sha384,sha512",
        "--secure-boot",
        "off",
        "-o",
        text(&document),
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let run = premeasure(["export", text(&document), "--format", "systemd-measure"]);
    assert_eq!(run.json::<Value>(), measured(Command::new(MEASURE), "calculate", &options));
}

/// Witness: `systemd-measure` 257 and later: values, signed policies, and (where it has that verb) policy digests, the same
/// in every member.
#[test]
fn newer_systemd_measure_prints_signs_and_digests_the_same() {
    let suites = suites("newer_systemd_measure_prints_signs_and_digests_the_same");
    if suites.is_empty() || skipped_without(&["objcopy"]) {
        return;
    }
    let folder = folder("newer-systemd-measure");
    let uki = fixture("t-tiny-257").join("uki.efi");
    let sections = sections(&uki, &["linux", "osrel", "cmdline", "initrd", "uname", "sbat"], &folder);
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/keys");
    let key = private_copy(&keys.join("rsa-2048.pem"), &folder.join("key.pem"));
    let ours = |arguments: &[&str]| -> Value {
        let mut all = vec!["--format"];
        all.extend(arguments);
        let document = exported_in_all_banks(&folder);
        all.splice(0..0, ["export", text(&document)]);
        let run = premeasure(all);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.json()
    };
    for suite in suites {
        let measure = || suite.program("systemd-measure");
        assert_eq!(ours(&["systemd-measure"]), measured(measure(), "calculate", &sections));
        let signing = [
            sections.clone(),
            vec![
                format!("--private-key={}", text(&key)),
                format!("--public-key={}", text(&keys.join("rsa-2048.pub"))),
            ],
        ]
        .concat();
        let (mut mine, mut theirs) =
            (ours(&["pcrsig", "--key", text(&key)]), measured(measure(), "sign", &signing));
        assert_eq!(mine["sha256"], theirs["sha256"]);
        // 257 signs other banks' policies with the bank's hash, which no TPM2_VerifySignature of systemd's accepts: it wants
        // SHA-256, as 262 signs.
        if suite.version() < 262 {
            [&mut mine, &mut theirs].into_iter().for_each(without_signatures);
        }
        assert_eq!(mine, theirs);
        if suite.version() >= 258 {
            assert_eq!(ours(&["policy-digest"]), measured(measure(), "policy-digest", &sections));
        }
    }
}

fn without_signatures(signed: &mut Value) {
    let entries = signed.as_object_mut().expect("banks").values_mut();
    for entry in entries.flat_map(|bank| bank.as_array_mut().expect("a list")) {
        entry.as_object_mut().expect("an object").remove("sig").expect("a signature");
    }
}

/// A document of the tiny UKI with all banks that `systemd-measure` knows.
fn exported_in_all_banks(folder: &Path) -> PathBuf {
    let document = folder.join("all-banks.json");
    let uki = fixture("t-tiny-257").join("uki.efi");
    let banks = "sha1,sha256,sha384,sha512";
    let run =
        premeasure(["predict", text(&uki), "--bank", banks, "--secure-boot", "off", "-o", text(&document)]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    document
}

/// `systemd-measure` refuses keys that others may read.
fn private_copy(from: &Path, to: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::copy(from, to).expect("writable");
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    to.to_owned()
}

/// `systemd-pcrlock predict` on the event log of a real machine, whose TPM (swtpm) holds what that log says: with our
/// components beside systemd's own it recognises all of PCR 4, 9 and 11 and predicts what the machine held.
#[test]
fn systemd_pcrlock_predicts_what_the_machine_held() {
    let suites = suites("systemd_pcrlock_predicts_what_the_machine_held");
    if suites.is_empty() || skipped_without(&["swtpm", "tpm2_pcrextend"]) {
        return;
    }
    let machine = boot("t-tiny-257");
    let tpm = Tpm::start("pcrlock-tpm");
    let extends: Vec<String> = machine.observed_events().iter().map(extend).collect();
    tpm.run("tpm2_pcrextend", &extends.iter().map(String::as_str).collect::<Vec<_>>());
    let held: Pcrs = machine.observed_pcrs();
    let components = |name: &str, documents: &[Doc]| {
        let folder = folder(name);
        let run = export(documents, &["--format", "pcrlock", "-o", text(&folder)]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        folder
    };
    let (one, two) = (
        components("pcrlock-one", &[Doc::Tiny257]),
        components("pcrlock-two", &[Doc::Tiny257, Doc::Tiny262]),
    );
    let other = components("pcrlock-other", &[Doc::Tiny262]);
    let of_262 = exported(
        &[Doc::Tiny262],
        &["--format", "env", "--bank", "sha256", "--stage", "exit-boot-services", "--pcr", "11"],
    );
    let of_262 =
        String::from_utf8(of_262).expect("text").trim().rsplit('=').next().expect("a value").to_owned();
    for suite in suites {
        let listed: Value = serde_json::from_str(&tool(
            suite
                .program("systemd-pcrlock")
                .args(["list-components", "--json=short"])
                .arg(format!("--components={}", text(&two))),
        ))
        .expect("JSON");
        let names = listed
            .as_array()
            .expect("a list")
            .iter()
            .map(|item| item["id"].as_str().expect("an id").to_owned());
        assert_eq!(names.collect::<BTreeSet<_>>().len(), 3, "{listed}");
        let predict =
            |components: &Path| pcrlock_predict(&suite, &tpm, &machine.record("eventlog.bin"), components);
        let values = predict(&one);
        assert_eq!(values(9), BTreeSet::from([held["sha256"]["9"].clone()]));
        assert_eq!(values(11), BTreeSet::from([held["sha256"]["11"].clone()]));
        // systemd's own 500-separator has a variant for failed boots beside.
        assert!(values(4).contains(&held["sha256"]["4"]), "{:?}", values(4));
        let values = predict(&two);
        assert_eq!(values(11), BTreeSet::from([held["sha256"]["11"].clone(), of_262.clone()]));
        assert!(values(4).contains(&held["sha256"]["4"]));
        // The other release alone does not explain this machine's log.
        let values = predict(&other);
        assert!(values(4).is_empty() && values(11).is_empty());
    }
}

/// `systemd-pcrlock cel` on the real log prints the records that we predicted, member by member: only the numbers differ (the
/// firmware's own records are between), and the data of image loads, which holds addresses.
#[test]
fn systemd_pcrlock_prints_the_same_canonical_log() {
    let suites = suites("systemd_pcrlock_prints_the_same_canonical_log");
    if suites.is_empty() || skipped_without(&["swtpm"]) {
        return;
    }
    let tpm = Tpm::start("pcrlock-cel");
    let arguments = ["--format", "cel-json", "--stage", "exit-boot-services"];
    let ours: Value = serde_json::from_slice(&exported(&[Doc::Tiny257], &arguments)).expect("JSON");
    let ours = comparable(&ours);
    assert!(ours.len() > 10, "{} records", ours.len());
    for suite in suites {
        let mut cel = suite.program("systemd-pcrlock");
        cel.args(["cel", "--json=short"])
            .env("SYSTEMD_MEASURE_LOG_FIRMWARE", boot("t-tiny-257").record("eventlog.bin"))
            .env("SYSTEMD_MEASURE_LOG_USERSPACE", "/dev/null")
            .env("SYSTEMD_TPM2_DEVICE", &tpm.tcti);
        let theirs: Value = serde_json::from_str(&tool(&mut cel)).expect("JSON");
        assert_eq!(ours, comparable(&theirs));
    }
}

/// Records of PCR 4, 9 and 11 without their numbers; digests of the document's banks, by bank.
fn comparable(log: &Value) -> Vec<Value> {
    let records = log.as_array().expect("a list").iter();
    let ours = records.filter(|record| [4, 9, 11].map(Value::from).contains(&record["pcr"]));
    ours.map(|record| {
        let mut record = record.clone();
        record.as_object_mut().expect("an object").remove("recnum").expect("a number");
        let mut digests = record["digests"].as_array().expect("digests").clone();
        digests.retain(|digest| digest["hashAlg"] == "sha256" || digest["hashAlg"] == "sha384");
        digests.sort_by_key(|digest| digest["hashAlg"].to_string());
        record["digests"] = digests.into();
        if record["content"]["event_type"] == "EV_EFI_BOOT_SERVICES_APPLICATION" {
            record["content"]["event_data"] = "".into();
        }
        record
    })
    .collect()
}

/// An event as an argument of `tpm2_pcrextend`.
fn extend(event: &tcg2::Event) -> String {
    let digests: Vec<String> =
        event.digests.iter().map(|(bank, digest)| format!("{bank}={digest}")).collect();
    format!("{}:{}", event.pcr, digests.join(","))
}

/// The SHA-256 values that `systemd-pcrlock` predicts for a PCR when the firmware hands over (before 750-enter-initrd).
fn pcrlock_predict(
    suite: &Suite,
    tpm: &Tpm,
    log: &Path,
    components: &Path,
) -> impl Fn(u64) -> BTreeSet<String> + use<> {
    let own = suite.0.join("usr/lib/pcrlock.d");
    let mut predict = suite.program("systemd-pcrlock");
    predict
        .args(["predict", "--json=short", "--pcr=4,9,11", "--location=740"])
        .args([&own, components].map(|folder| format!("--components={}", text(folder))))
        .env("SYSTEMD_MEASURE_LOG_FIRMWARE", log)
        .env("SYSTEMD_MEASURE_LOG_USERSPACE", "/dev/null")
        .env("SYSTEMD_TPM2_DEVICE", &tpm.tcti);
    let predicted: Value = serde_json::from_str(&tool(&mut predict)).expect("JSON");
    move |pcr| {
        let entries = predicted["sha256"].as_array().into_iter().flatten();
        let values = entries.filter(|entry| entry["pcr"] == pcr).flat_map(|entry| entry["values"].as_array());
        values.flatten().map(|value| value.as_str().expect("hex").to_owned()).collect()
    }
}

/// A folder of components is complete: what the document says of PCR 4, 9 and 11 is in one of them, and only once.
#[test]
fn pcrlock_components_hold_every_record_once() {
    let folder = folder("pcrlock-complete");
    let run = export(&[Doc::Tiny257], &["--format", "pcrlock", "-o", text(&folder)]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let mut records = Vec::new();
    for file in std::fs::read_dir(&folder).expect("readable") {
        let component: Value = read_json(file.expect("an entry").path());
        for record in component["records"].as_array().expect("records") {
            let sha256 =
                record["digests"].as_array().expect("digests").iter().find(|d| d["hashAlg"] == "sha256");
            records.push((
                record["pcr"].as_u64().expect("a PCR"),
                sha256.expect("SHA-256")["digest"].to_string(),
            ));
        }
    }
    let machine = boot("t-tiny-257");
    // systemd ships the firmware's separators and actions as components.
    let mut expected: Vec<_> = machine
        .observed_events()
        .iter()
        .filter(|event| {
            [4, 9, 11].contains(&event.pcr)
                && !["EV_SEPARATOR", "EV_EFI_ACTION"].contains(&event.type_name().as_str())
        })
        .map(|event| (u64::from(event.pcr), format!("\"{}\"", event.digests["sha256"])))
        .collect();
    records.sort();
    expected.sort();
    assert_eq!(records, expected);
}

/// Whatever the PCRs are that the report calls enforced, the components hold all that a real boot's log has in them, in order:
/// UKIs by boot loader, addons, a Type #1 entry's kernel and options, GRUB's files and kernel behind a shim.
#[test]
fn pcrlock_components_hold_the_log_of_every_kind_of_boot() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let folder = folder("pcrlock-kinds");
    let cases: [(&str, &str, &[u64]); 5] = [
        ("c-sdboot-257", "off", &[4, 9, 11]),
        ("e-addons-257", "off", &[4, 9, 11, 12, 13]),
        ("f-secureboot-257", "on", &[4, 9, 11]),
        ("g2-type1-252", "off", &[4, 9, 12]),
        ("j-shim-grub-bookworm", "on", &[4, 9]),
    ];
    for (case, secure_boot, pcrs) in cases {
        let file = |name: &str| folder.join(format!("{case}-{name}"));
        let (document, report, components) = (file("document"), file("report"), file("components"));
        let disk = disks::disk(case);
        let decided = ["--secure-boot", secure_boot, "--exit-boot-services", "success"];
        let run = premeasure([&["predict", text(&disk), "-o", text(&document)], &decided[..]].concat());
        assert_eq!(run.code, Some(0), "{case}: {}", run.stderr);
        let arguments = ["--format", "pcrlock", "-o", text(&components), "--report", text(&report)];
        let run = premeasure([&["export", text(&document)], &arguments[..]].concat());
        assert_eq!(run.code, Some(0), "{case}: {}", run.stderr);
        let values = read_json::<Value>(&report)["variants"][0]["values"].clone();
        let enforced: Vec<u64> = values
            .as_array()
            .expect("a list")
            .iter()
            .map(|value| value["pcr"].as_u64().expect("a PCR"))
            .collect();
        assert_eq!(enforced, pcrs, "{case}: {}", run.stderr);
        let mut files: Vec<PathBuf> = std::fs::read_dir(&components)
            .expect("readable")
            .map(|file| file.expect("an entry").path())
            .collect();
        files.sort();
        let contents: Vec<Value> = files.iter().map(read_json).collect();
        let records: Vec<&Value> =
            contents.iter().flat_map(|component| component["records"].as_array().expect("records")).collect();
        assert!(
            records.iter().all(|record| pcrs.contains(&record["pcr"].as_u64().expect("a PCR"))),
            "{case}"
        );
        let log = tcg2::parse(&read(fixture("boots").join(case).join("eventlog.bin")));
        for pcr in pcrs {
            let ours = records.iter().filter(|record| record["pcr"] == *pcr).map(|record| {
                let digests = record["digests"].as_array().expect("digests");
                let sha256 = digests.iter().find(|digest| digest["hashAlg"] == "sha256").expect("SHA-256");
                sha256["digest"].as_str().expect("hex").to_owned()
            });
            let logged = log.iter().filter(|event| {
                u64::from(event.pcr) == *pcr
                    && !["EV_SEPARATOR", "EV_EFI_ACTION"].contains(&event.type_name().as_str())
            });
            let logged: Vec<String> = logged.map(|event| event.digests["sha256"].to_string()).collect();
            assert_eq!(ours.collect::<Vec<_>>(), logged, "{case}: PCR {pcr}");
        }
    }
}

/// A variant of an older release would stay accepted; what is not ours stays where it is.
#[test]
fn a_new_export_removes_what_the_old_one_left() {
    let folder = folder("pcrlock-stale");
    let run = |documents: &[Doc]| {
        let run = export(documents, &["--format", "pcrlock", "-o", text(&folder)]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.stderr
    };
    run(&[Doc::Tiny257, Doc::Tiny262]);
    let variants = folder.join("650-uki.pcrlock.d");
    assert_eq!(std::fs::read_dir(&variants).expect("two variants").count(), 2);
    let others = [folder.join("655-other.pcrlock"), folder.join("710-kernel-cmdline.pcrlock.d/site.pcrlock")];
    for other in &others {
        std::fs::write(other, "{}").expect("writable");
    }
    let said = run(&[Doc::Tiny262]);
    assert!(said.contains("which an earlier export left"), "{said}");
    assert!(!variants.exists() && folder.join("650-uki.pcrlock").is_file());
    assert!(others.iter().all(|other| other.is_file()));
    run(&[Doc::Tiny257, Doc::Tiny262]);
    assert!(variants.is_dir() && !folder.join("650-uki.pcrlock").exists());
}
