//! Registers of confidential guests (RTMRs).
//!
//! No boot of a TDX guest is among the fixtures, but boots with a TPM are, whose logs hold the same events in the order in which
//! they came. The expected values of RTMR1 and RTMR2 were made of those logs by a script of its own (Python, hashlib) that goes
//! by the mapping of UEFI 2.10 section 38.4.1 and by what the programs' sources say: the SHA-384 digests of PCR 2 to 6 or of
//! PCR 8 to 15, one separator and not five, systemd's texts from 256 and its tagged events from 261 on, the kernel's from 6.9 on
//! unless there is a TPM. RTMR0, and the form of systemd's events, are those of real guests in `PREMEASURE_CORPUS`.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::Value;
use support::{Pcrs, Run, disks, fixture, premeasure, read_json, say, scratch, skipped_without};

/// A boot, and the registers that its log leads to.
struct Case {
    name: &'static str,
    options: &'static [&'static str],
    /// A file of the guest's.
    guest: Option<(&'static str, &'static str)>,
    rtmr1: &'static str,
    /// Without a TPM: the kernel measures too.
    rtmr2: &'static str,
    /// With one.
    rtmr2_beside_tpm: &'static str,
}

const OFF: &[&str] = &["--secure-boot", "off", "--exit-boot-services", "success"];
const OFF_AND_RETRIED: &[&str] = &["--secure-boot", "off", "--exit-boot-services", "failure-then-success"];
const ON: &[&str] = &["--secure-boot", "on", "--exit-boot-services", "success"];
const SECRET: Option<(&str, &str)> = Some(("--boot-secret", "extra/boot-secret"));
/// Nothing was extended.
const ZEROS: &str =
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

const CASES: &[Case] = &[
    // Neither a stub of 252 nor a kernel 6.1 knows the protocol.
    Case {
        name: "a-uki-direct-252",
        options: OFF,
        guest: None,
        rtmr1: "ed7fb13800e6c20ce694ea9d9fa690f7d7855ee850fbeb47cc606d6eaf20bfbfcf1cf71144df761a7a1598a7be190fc8",
        rtmr2: ZEROS,
        rtmr2_beside_tpm: ZEROS,
    },
    // systemd-boot 257 does not measure loader.conf there.
    Case {
        name: "c-sdboot-257",
        options: OFF,
        guest: None,
        rtmr1: "6ff7814a5c9389808039a2712be0eeafe32fa5afad1b06f3259fa8462c226555bba132b1dee7d42e7e7a71adcbaa7691",
        rtmr2: "8c349db6c826c75bd76ecd022d0fb5ee29638ec7bc05b8cf1ae1c6db600fd611197bab2c0065f2d26a7061877b589a62",
        rtmr2_beside_tpm: "b8ed4d345ea5906c8e701a8c3a0efd6dc58102810d68e20d598ff813233f3000d7139aa98b185a035d026b4a730181ee",
    },
    Case {
        name: "d2-uki-direct-262",
        options: OFF_AND_RETRIED,
        guest: SECRET,
        rtmr1: "62b4c594b146402201ea4ba1689678b17281a37c81ddcd31387b07482dba2ba57a9f114aef46c36212e5bf7d5e39aeee",
        rtmr2: "42a091f03dd32efc86a7ee359a5e5bbaae45df6292b7bf4ffc013f41eab7033d066365e2d7ce5dfdb52afe353eba4d5f",
        rtmr2_beside_tpm: "4169aa53515c45bcca99c674eabeb23b95d52391b7e1c3ac8ee065b541f68e9038676fac11aac632dac059312ef4cb49",
    },
    Case {
        name: "d3-sdboot-254",
        options: OFF,
        guest: None,
        rtmr1: "95f770c8c479f2e0e72ad152e5ab1433a857d7d7621a35506c22db4717268451b7624cb2e23ee603a170f46e93edcd71",
        rtmr2: ZEROS,
        rtmr2_beside_tpm: ZEROS,
    },
    // Addons, credentials, extensions: PCR 12 and 13 between PCR 11 and 9.
    Case {
        name: "e-addons-257",
        options: OFF,
        guest: None,
        rtmr1: "43f8b7b90cd22b609984294fbaa4781841440129a8a6c7242218a714244542a9753d5accf20723cfff2af1a74bbfcf8c",
        rtmr2: "47174979aad739ebab5514fe80e79c4ade38f371a4cdfea4276f25fcf0c924359396a6ce5aa5738e74020ab502daa923",
        rtmr2_beside_tpm: "d36419c7dbb3496d1253a5aa4d693c7470a91fc99f107a058a283dc70b7a1ae6a01c96790268767fe1171027d21fe32e",
    },
    // The stub bypasses the firmware for the inner kernel.
    Case {
        name: "f-secureboot-257",
        options: ON,
        guest: None,
        rtmr1: "aeacf8ff17d87f5906cd379d16254515ada91d88fa2a3bed5811983f3c521437b13a8f11d57de929bc36853722b43d0e",
        rtmr2: "40f62f7f2ca80d6a8dc4301a412fb87d90fa50c17b822eb6e61c4ddf724df96999197f6eac3442cc7db169a60e876a92",
        rtmr2_beside_tpm: "320bb6bc4f2ee67e8cbc21ecf979521ba49c5f3f561a1778ff5e5eec7c7cdfc504de2b820c3e2e9ccce5e3ace172b796",
    },
    // systemd 262: loader.conf in RTMR1, the profile's number in RTMR2.
    Case {
        name: "h2-profile2-262",
        options: OFF_AND_RETRIED,
        guest: SECRET,
        rtmr1: "d76047ccce8079c558b64139f8f52030ee4654edb6486571d10bf2fbcca573c6c5621b80062b52d1a582eb68468fda60",
        rtmr2: "185ca538299db87509a32f87ab8afb44b33354f0531b261cca42a8a4f608803ff1acb1a879b8a67910c278c16ee846fe",
        rtmr2_beside_tpm: "7e2a61a3b700910e0a0412b14382672e3077c3dab4dfed8231ffc5564d06767cbde17b1f794801fd9dc9aa3982eec6e3",
    },
    Case {
        name: "i-pcrsig-ucode-257",
        options: OFF,
        guest: None,
        rtmr1: "63e6bfad1669dbac255a695d11717c9f8d8df23ee29c7bf5607a6fe8d9f1939cbdd92b13694ef2ef1c7d85c6d249bc05",
        rtmr2: "25750086dc781ca9b2f01f625e17a7d1a7bffbf32fb46b8ca7ea1a876a3610523c90d3c5f20f11341f1406dde716dc36",
        rtmr2_beside_tpm: "db94ca227bf83bf5559622b205bce9b38f14bd6bc4e822f9d496bba7047b2e32253f57ae84557cf2f82ed4d941414819",
    },
    Case {
        name: "t-tiny-257",
        options: OFF,
        guest: None,
        rtmr1: "29e2aa807786eb81247389f3f2759a372973ab464b10d47d5566710f51a58cf76b55aec6d26ef36947e1b43ddc2ed2ae",
        rtmr2: TINY_RTMR2,
        rtmr2_beside_tpm: TINY_RTMR2_BESIDE_TPM,
    },
];

const TINY_RTMR2: &str =
    "2f8ed3dc9bca8c0547a472040be6279319c359d84dd6b272b32829e318ebab1dbe72b59b6f41f903e8a573e2d9295e24";
const TINY_RTMR2_BESIDE_TPM: &str =
    "40fe3c13fabc9886e0ee4b42d99b4bbe42aedec48408e3e3faf650ff3f63987419309347e7d89611b3d9470915c46d5a";

impl Case {
    fn predict(&self, more: &[&str]) -> Run {
        let mut arguments: Vec<OsString> = vec!["predict".into(), disks::disk(self.name).into()];
        arguments.extend(self.options.iter().chain(more).map(OsString::from));
        if let Some((option, file)) = self.guest {
            let file = fixture("boots").join(self.name).join("guest").join(file);
            arguments.extend([option.into(), file.into()]);
        }
        premeasure(arguments)
    }
}

fn tiny() -> String {
    fixture("t-tiny-257/uki.efi").display().to_string()
}

fn pcr_log() -> String {
    fixture("boots/t-tiny-257/eventlog.bin").display().to_string()
}

/// A document's value of a register right before user space.
fn register(document: &Value, index: usize) -> Option<&str> {
    let register = &document["variants"][0]["guest"]["registers"][index];
    assert_eq!(register["index"], index);
    let values = register["values"].as_array().expect("values");
    values.iter().find(|value| value["stage"] == "exit-boot-services")?["digests"]["sha384"].as_str()
}

#[test]
fn logs_of_real_boots_extended_as_the_mapping_says_give_the_predicted_registers() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    for case in CASES {
        let alone: Pcrs =
            case.predict(&["--registers", "rtmr", "--declare", "separator=rtmr1", "--format", "pcrs"]).json();
        assert_eq!(alone["sha384"].get("2").map(String::as_str), Some(case.rtmr1), "{}", case.name);
        assert_eq!(alone["sha384"].get("3").map(String::as_str), Some(case.rtmr2), "{}", case.name);
        assert_eq!(alone["sha384"].get("4").map(String::as_str), Some(ZEROS), "{}", case.name);
        assert!(!alone["sha384"].contains_key("0") && !alone["sha384"].contains_key("1"), "{}", case.name);

        let both: Value =
            case.predict(&["--registers", "both", "--declare", "separator=rtmr1", "--json"]).json();
        assert_eq!(register(&both, 2), Some(case.rtmr1), "{}", case.name);
        assert_eq!(register(&both, 3), Some(case.rtmr2_beside_tpm), "{}", case.name);
        assert_eq!(both["variants"][0]["pcrs"].as_array().map(Vec::len), Some(24), "{}", case.name);
    }
}

/// EDK2 before 2024.11 has the separator in RTMR0; which firmware it is, nobody said.
#[test]
fn rtmr1_is_unknown_until_the_place_of_the_separator_is_known() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let tiny = CASES.last().expect("cases");
    let open: Value = tiny.predict(&["--registers", "rtmr", "--json"]).json();
    assert_eq!(register(&open, 2), None);
    let gaps = open["variants"][0]["guest"]["registers"][2]["gaps"].to_string();
    assert!(gaps.contains("separator=rtmr1"), "{gaps}");
    let old: Value = tiny.predict(&["--registers", "rtmr", "--declare", "separator=rtmr0", "--json"]).json();
    assert!(register(&old, 2).is_some_and(|value| value != tiny.rtmr1));
}

/// What a program leaves out is said, on standard error and in the document.
#[test]
fn programs_that_do_not_know_the_protocol_are_named() {
    let stub = |version: &str| {
        premeasure(["predict", &tiny(), "--registers", "rtmr", "--systemd-version", version, "--json"])
    };
    let old = stub("255.4");
    assert!(
        old.stderr.contains("systemd-stub 255.4 measures nothing through the CC protocol"),
        "{}",
        old.stderr
    );
    let document: Value = old.json();
    assert_eq!(document["variants"][0]["guest"]["not_covered"][0]["program"], "systemd-stub 255.4");
    // Nothing of what 256 leaves out is in this boot; a boot with loader.conf is below.
    assert!(!stub("256.4").stderr.contains("systemd-stub"));

    let kernel = |version: &str| {
        premeasure(["predict", &tiny(), "--registers", "rtmr", "--kernel-version", version, "--json"])
    };
    let old = kernel("6.8");
    assert!(old.stderr.contains("Linux 6.8 does not measure"), "{}", old.stderr);
    let document: Value = old.json();
    // As beside a TPM: everything but the kernel's own two events.
    assert_eq!(register(&document, 3), Some(TINY_RTMR2_BESIDE_TPM));
    let assumes = document["variants"][0]["guest"]["registers"][3]["assumes"].to_string();
    assert!(assumes.contains("kernel-without-cc"), "{assumes}");
    assert_eq!(register(&kernel("6.9").json(), 3), Some(TINY_RTMR2));
}

/// On Google's machines there is a TPM beside the registers; on Azure's nothing uses them.
#[test]
fn platforms_say_what_stands_beside_the_registers() {
    let on = |platform: &str| {
        premeasure(["predict", &tiny(), "--registers", "rtmr", "--platform", platform, "--json"])
    };
    let document: Value = on("gce").json();
    assert_eq!(register(&document, 3), Some(TINY_RTMR2_BESIDE_TPM));
    let azure = on("azure");
    assert_eq!(azure.code, Some(2));
    assert!(azure.stderr.contains("don't use measurement registers"), "{}", azure.stderr);
}

#[test]
fn declared_values_are_what_registers_start_from() {
    let (mrtd, rtmr0) = ("ab".repeat(48), "cd".repeat(48));
    let run = premeasure([
        "predict",
        &tiny(),
        "--registers",
        "rtmr",
        "--declare",
        &format!("mrtd={mrtd}"),
        "--declare",
        &format!("rtmr0={rtmr0}"),
        "--secure-boot",
        "off",
        "--json",
    ]);
    let document: Value = run.json();
    let registers = &document["variants"][0]["guest"]["registers"];
    assert_eq!(register(&document, 0), Some(mrtd.as_str()));
    assert_eq!(register(&document, 1), Some(rtmr0.as_str()));
    assert_eq!((&registers[0]["status"], &registers[1]["status"]), (&"declared".into(), &"declared".into()));
}

#[test]
fn registers_of_another_kind_are_refused_with_the_way_out() {
    let refused = |more: &[&str], what: &str| {
        let tiny = tiny();
        let run = premeasure(["predict", &tiny].iter().chain(more));
        assert_eq!(run.code, Some(2), "{more:?}: {}", run.text());
        assert!(run.stderr.contains(what), "{more:?}: {}", run.stderr);
    };
    let log = pcr_log();
    refused(&["--registers", "rtmr", "--baseline", &log], "is of a TPM's PCRs");
    refused(&["--registers", "rtmr", "--bank", "sha256"], "SHA-384");
    refused(&["--declare", "separator=rtmr1"], "--registers rtmr or both");
    refused(&["--registers", "rtmr", "--declare", "mrtd=00"], "96 hexadecimal digits");
    refused(&["--registers", "rtmr", "--declare", "rtmr9=00"], "none of mrtd=HEX");
    refused(
        &["--registers", "rtmr", "--declare", "separator=rtmr1", "--declare", "separator=rtmr0"],
        "given twice",
    );
    refused(&["--registers", "rtmr", "--format", "systemd"], "--format systemd");
    refused(&["--registers", "rtmr", "--pcr", "4"], "--pcr");
    refused(&["--registers", "rtmr", "--event-log", "-"], "--event-log");
    refused(&["--registers", "both", "--format", "pcrs"], "--format");
}

/// A document without PCRs reaches nobody who enforces PCRs.
#[test]
fn a_document_of_registers_is_sound_and_is_refused_where_pcrs_are_demanded() {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let path = folder.path().join("reference.json").display().to_string();
    let run = premeasure(["predict", &tiny(), "--registers", "rtmr", "-o", &path]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(premeasure(["validate", &path]).code, Some(0));
    for arguments in [
        vec!["export", "--format", "keylime", &path],
        vec!["export", "--format", "csv", &path],
        vec!["diff", &path, &path],
    ] {
        let run = premeasure(&arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.text());
        assert!(run.stderr.contains("has no PCRs"), "{arguments:?}: {}", run.stderr);
    }
    let wrong = TINY_RTMR2.replacen("2f8e", "2f8f", 1);
    let text = std::fs::read_to_string(&path).expect("the document");
    assert!(text.contains(TINY_RTMR2));
    std::fs::write(&path, text.replace(TINY_RTMR2, &wrong)).expect("the changed document");
    let run = premeasure(["validate", &path]);
    assert_eq!(run.code, Some(1), "{}", run.text());
    assert!(run.text().contains("another value than its measurements extend to"), "{}", run.text());
}

/// Values of a guest, as `log replay --json` prints those of its CC event log.
#[test]
fn values_of_a_guest_are_compared_by_the_index_of_the_register() {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let write = |name: &str, rtmr2: &str| {
        let values = BTreeMap::from([("sha384", BTreeMap::from([("3", rtmr2), ("4", ZEROS)]))]);
        let path = folder.path().join(name);
        std::fs::write(&path, serde_json::to_vec(&values).expect("JSON")).expect("values");
        path.display().to_string()
    };
    let (same, other) = (write("same.json", TINY_RTMR2), write("other.json", TINY_RTMR2_BESIDE_TPM));
    let compare = |values: &str| premeasure(["compare", &tiny(), values, "--registers", "rtmr", "--json"]);
    let equal = compare(&same);
    let comparison: Value = equal.json();
    assert_eq!(comparison["registers"], "rtmr");
    let rtmr2 = comparison["pcrs"].as_array().expect("registers").iter().find(|of| of["index"] == 3);
    assert_eq!(rtmr2.map(|of| (&of["name"], &of["verdict"])), Some((&"RTMR2".into(), &"match".into())));
    assert_eq!(compare(&other).code, Some(1));
    let logs = premeasure(["compare", &tiny(), &pcr_log(), "--registers", "rtmr"]);
    assert_eq!(logs.code, Some(2));
    assert!(logs.stderr.contains("observed are PCRs of a TPM"), "{}", logs.stderr);
}

/// Log and truth of a guest of the corpus.
fn guest(test: &str, name: &str) -> Option<(String, Value)> {
    let Some(corpus) = std::env::var_os("PREMEASURE_CORPUS").map(PathBuf::from) else {
        say(&format!("SKIPPED {test}: PREMEASURE_CORPUS is not set"));
        return None;
    };
    let truth = read_json(corpus.join("truth").join(format!("{name}.json")));
    Some((corpus.join("logs").join(format!("{name}.bin")).display().to_string(), truth))
}

/// Guests without shim and Secure Boot: the image has no share in RTMR0.
#[test]
fn rtmr0_of_a_recorded_guest_is_what_its_log_and_quotes_say() {
    let test = "rtmr0_of_a_recorded_guest_is_what_its_log_and_quotes_say";
    // The kernel of QEMU's -kernel starts before the first boot option: what a disk would give is not known.
    let direct = [false, true, true, true, true];
    let names = ["gke-tdx-uki", "qemu-tdx-ovmf", "qemu-tdx-padded", "qemu-tdx-unpadded", "tdx-live-report"];
    for (name, direct) in names.into_iter().zip(direct) {
        let Some((log, truth)) = guest(test, &format!("ccel-{name}")) else { return };
        let run = premeasure(["predict", &tiny(), "--registers", "rtmr", "--baseline", &log, "--json"]);
        let document: Value = run.json();
        assert_eq!(register(&document, 1), truth["banks"]["sha384"]["1"].as_str(), "{name}");
        assert_eq!(document["variants"][0]["guest"]["registers"][1]["status"], "observed", "{name}");
        let gaps = document["variants"][0]["guest"]["registers"][2]["gaps"].to_string();
        assert_eq!(gaps.contains("before the first boot option"), direct, "{name}: {gaps}");

        let profile = premeasure(["baseline", "make", &log]);
        let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
        let path = folder.path().join("profile.json");
        std::fs::write(&path, &profile.stdout).expect("a profile");
        let path = path.display().to_string();
        let by_profile: Value =
            premeasure(["predict", &tiny(), "--registers", "rtmr", "--baseline", &path, "--json"]).json();
        assert_eq!(register(&by_profile, 1), register(&document, 1), "{name}");
        let refused = premeasure(["predict", &tiny(), "--baseline", &path]);
        assert_eq!(refused.code, Some(2));
        assert!(refused.stderr.contains("of a confidential guest's registers"), "{}", refused.stderr);
    }
}

/// What systemd-stub measured in a guest of Google's: names of sections, in the form and order that is predicted.
#[test]
fn events_of_a_stub_in_a_real_guest_are_those_predicted() {
    let test = "events_of_a_stub_in_a_real_guest_are_those_predicted";
    let Some((log, _)) = guest(test, "ccel-gke-tdx-uki") else { return };
    let bytes = std::fs::read(&log).expect("the log");
    let log = premeasure::tcg::eventlog::EventLog::parse(&bytes[..]).expect("a log");
    let sha384 = premeasure::tcg::HashAlgorithm::Sha384;
    let seen: Vec<(String, String)> = log
        .events()
        .filter(|event| event.register == 3)
        .map(|event| (event.digest(sha384).expect("a digest").to_string(), hex::encode(event.data)))
        .collect();
    let document: Value = premeasure(["predict", &tiny(), "--registers", "rtmr", "--json"]).json();
    let predicted = document["variants"][0]["guest"]["measurements"].as_array().expect("measurements").iter();
    let names: Vec<(String, String)> = predicted
        .filter(|of| {
            of["register"] == "RTMR2" && of["event_type"] == "EV_IPL" && of["rule"] == "stub-section"
        })
        .filter(|of| of["source"]["kind"] == "constant")
        .map(|of| {
            (of["digests"]["sha384"].as_str().unwrap().into(), of["event_data"].as_str().unwrap().into())
        })
        .collect();
    // Name and content alternate: the names of the log are every other event.
    let of_log: Vec<(String, String)> = seen.iter().step_by(2).cloned().collect();
    assert_eq!(of_log.len(), 6, "the log's sections");
    assert_eq!(names, of_log, "the same six sections in the same order: .linux to .sbat");
}

/// The log of a TPM and that of a guest have to be of one machine: here their PK differs.
#[test]
fn baselines_of_two_machines_are_refused() {
    let test = "baselines_of_two_machines_are_refused";
    let Some((log, _)) = guest(test, "ccel-gke-tdx-uki") else { return };
    let pcrs = pcr_log();
    let run =
        premeasure(["predict", &tiny(), "--registers", "both", "--baseline", &log, "--baseline", &pcrs]);
    assert_eq!(run.code, Some(2), "{}", run.text());
    assert!(run.stderr.contains("variable PK is not that of eventlog.bin"), "{}", run.stderr);
    let run =
        premeasure(["predict", &tiny(), "--registers", "both", "--baseline", &log, "--secure-boot", "on"]);
    assert_eq!(run.code, Some(2), "{}", run.text());
    assert!(run.stderr.contains("recorded with Secure Boot off"), "{}", run.stderr);
}

#[test]
fn ccel_logs_are_compared_with_each_other_and_with_predictions() {
    let test = "ccel_logs_are_compared_with_each_other_and_with_predictions";
    let Some((gke, _)) = guest(test, "ccel-gke-tdx-uki") else { return };
    let Some((padded, _)) = guest(test, "ccel-qemu-tdx-padded") else { return };
    let Some((unpadded, _)) = guest(test, "ccel-qemu-tdx-unpadded") else { return };
    assert_eq!(premeasure(["compare", &padded, &unpadded]).code, Some(0), "the same events");
    assert_eq!(premeasure(["compare", &gke, &unpadded]).code, Some(1));
    let run = premeasure(["compare", &tiny(), &gke, "--registers", "rtmr", "--baseline", &gke, "--json"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let comparison: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let verdicts: Vec<(&str, &str)> = comparison["pcrs"]
        .as_array()
        .expect("registers")
        .iter()
        .map(|of| (of["name"].as_str().unwrap_or_default(), of["verdict"].as_str().unwrap_or_default()))
        .collect();
    assert!(verdicts.contains(&("RTMR0", "match")), "the platform is the same: {verdicts:?}");
    assert!(verdicts.contains(&("RTMR2", "differs")), "the image is another one: {verdicts:?}");
    let wrong = premeasure(["compare", &tiny(), &gke]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("registers of a confidential guest"), "{}", wrong.stderr);
    let wrong = premeasure(["predict", &tiny(), "--baseline", &gke]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("--registers rtmr or both"), "{}", wrong.stderr);
}
