//! What `predict` does with options, versions and images that leave something open.

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use support::pe_builder::Pe;
use support::{Run, fixture, premeasure, read, read_json, scratch};

const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn tiny_kernel() -> Vec<u8> {
    read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/boot/tiny/vmlinuz"))
}

/// A UKI with the tiny kernel.
fn uki(version: &str) -> Pe {
    Pe::uki(version).sections(&[
        (".linux", &tiny_kernel()),
        (".osrel", b"ID=test\n"),
        (".cmdline", b"console=ttyS0"),
    ])
}

fn predict(name: &str, pe: &Pe, options: &[&str]) -> Run {
    let path = scratch().join("predict");
    fs::create_dir_all(&path).expect("a scratch folder");
    let path = path.join(format!("{name}.efi"));
    fs::write(&path, pe.build()).expect("written");
    premeasure(["predict", path.to_str().expect("UTF-8")].iter().chain(options))
}

fn pcrs(name: &str, pe: &Pe, options: &[&str]) -> Value {
    let options: Vec<&str> =
        options.iter().copied().chain(["--bank", "sha256", "--format", "pcrs"]).collect();
    predict(name, pe, &options).json::<Value>()["sha256"].clone()
}

fn document(name: &str, pe: &Pe, options: &[&str]) -> Value {
    let options: Vec<&str> = options.iter().copied().chain(["--json"]).collect();
    predict(name, pe, &options).json()
}

/// PCR 12 after one event whose digest is the SHA-256 of `quiet` in UTF-16 with a final NUL.
/// Witness: Python 3.11 hashlib, sha256(bytes(32) + sha256("quiet\0".encode("utf-16le")).digest()).
const PCR12_QUIET: &str = "f04f2f39d747478ae9de1d1976be8fde626487c0ec0407a26836a08c6a4a1b5c";

#[test]
fn accepted_load_options_go_into_pcr_12_and_refused_ones_do_not() {
    for version in ["252.39", "254.26", "257.13", "262.1"] {
        let off = pcrs(
            "options",
            &uki(version),
            &[
                "--cmdline",
                "quiet",
                "--secure-boot",
                "off",
                "--boot-secret",
                "none",
                "--stub-console",
                "none",
            ],
        );
        assert_eq!(off["12"], PCR12_QUIET, "{version}");
        let on = pcrs("options", &uki(version), &["--cmdline", "quiet", "--secure-boot", "on"]);
        assert_eq!(on["12"], ZERO, "{version}");
    }
}

#[test]
fn a_newer_stub_gets_the_newest_rules_and_a_warning() {
    let run = predict("newer", &uki("300.1"), &["--json"]);
    assert!(run.stderr.contains("systemd-stub 300.1 is newer than 262"), "{}", run.stderr);
    let document: Value = run.json();
    let scenario = &document["scenarios"][0];
    assert_eq!(scenario["rules_used"]["systemd-stub"]["nearest"], true);
    assert_eq!(scenario["rules_used"]["systemd-stub"]["rules_from"], "262");
    let assumptions = scenario["assumptions"].as_array().expect("assumptions");
    assert!(assumptions.iter().any(|assumption| assumption["id"] == "stub-rules-nearest"));
}

#[test]
fn an_older_or_foreign_stub_is_not_guessed() {
    let kernel = tiny_kernel();
    let foreign = Pe::new().sections(&[(".text", &[0xc3]), (".linux", &kernel)]);
    for (name, pe) in [("older", uki("251.9")), ("foreign", foreign)] {
        let document = document(name, &pe, &[]);
        for pcr in [4, 9, 11, 12, 13] {
            let entry = &document["variants"][0]["pcrs"][pcr];
            assert_eq!(entry["status"], "unknown", "{name}: PCR {pcr}");
            assert!(entry["gaps"].to_string().contains("--systemd-version"), "{name}: {entry}");
        }
        let known = pcrs(name, &pe, &["--systemd-version", "257.13", "--secure-boot", "on"]);
        assert!(known["11"].is_string(), "{name}");
    }
}

/// The stub takes one of several devicetrees, or none: three values, and a decision leaves one.
#[test]
fn devicetrees_give_a_set_of_values() {
    let pe = uki("257.13").sections(&[(".dtbauto", b"first"), (".dtbauto", b"second"), (".hwids", &[0; 28])]);
    let open = pcrs("devicetree", &pe, &["--secure-boot", "on"]);
    let values = open["11"].as_array().expect("a set");
    assert_eq!(values.len(), 3);
    assert!(open["4"].is_string());
    for choice in ["none", "0", "1"] {
        let decided = pcrs("devicetree", &pe, &["--secure-boot", "on", "--devicetree", choice]);
        assert!(values.contains(&decided["11"]), "{choice}");
    }
    let run = predict("devicetree", &pe, &["--devicetree", "2"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("no .dtbauto number 2"), "{}", run.stderr);
    // A set of more than eight is not listed.
    let many = (0..9).fold(uki("257.13"), |pe, n| pe.sections(&[(".dtbauto", &[n])]));
    assert!(pcrs("many", &many, &["--secure-boot", "on"])["11"].is_null());
    // Stubs before 257 don't choose: they find the last one as .dtb.
    assert!(
        pcrs(
            "devicetree-255",
            &{
                let mut old = uki("255.9");
                old = old.sections(&[(".dtbauto", b"x")]);
                old
            },
            &["--secure-boot", "on"]
        )["11"]
            .is_string()
    );
}

#[test]
fn consoles_that_the_stub_adds_have_to_be_declared() {
    let pe = Pe::uki("262.1").sections(&[(".linux", &tiny_kernel()), (".cmdline", b"quiet")]);
    let open = document("console", &pe, &["--boot-secret", "none"]);
    let gaps = open["variants"][0]["pcrs"][9]["gaps"].to_string();
    assert!(gaps.contains("\"console\"") && gaps.contains("--stub-console"), "{gaps}");
    let one = pcrs("console", &pe, &["--boot-secret", "none", "--stub-console", "console=hvc0"]);
    let other = pcrs("console", &pe, &["--boot-secret", "none", "--stub-console", "none"]);
    assert!(one["9"].is_string() && other["9"].is_string() && one["9"] != other["9"]);
}

/// PCR 15 of the mkosi boot, which measured the machine id and nothing else. Witness: that machine's TPM.
#[test]
fn pcr_15_holds_a_declared_machine_id() {
    let real: Value = read_json(fixture("boots/k-mkosi-trixie/pcrs.json"));
    let uki = fixture("t-tiny-257/uki.efi");
    let run = |options: &[&str]| -> Value {
        let banks =
            ["--bank", "sha1,sha256,sha384,sha512", "--stage", "ready", "--format", "pcrs", "--pcr", "15"];
        premeasure(["predict", uki.to_str().expect("UTF-8")].iter().chain(&banks).chain(options)).json()
    };
    let declared = run(&[
        "--machine-id",
        "0123456789abcdef0123456789abcdef",
        "--root-fs",
        "none",
        "--volume-key",
        "none",
    ]);
    for bank in support::BANKS {
        assert_eq!(declared[bank]["15"], real[bank]["15"], "{bank}");
    }
    assert!(run(&["--root-fs", "none", "--volume-key", "none"])["sha256"]["15"].is_null());
}

#[test]
fn without_systemd_in_user_space_nothing_moves_after_the_firmware() {
    let at = |stage| {
        pcrs(
            "no-userspace",
            &uki("257.13"),
            &["--secure-boot", "on", "--userspace-version", "none", "--stage", stage],
        )
    };
    assert_eq!(at("exit-boot-services"), at("final"));
}

#[test]
fn profiles_that_are_not_there_are_refused() {
    let run = predict("profile", &uki("257.13"), &["--profile", "3"]);
    assert_eq!((run.code, run.text().as_str()), (Some(2), ""));
    assert!(run.stderr.contains("no profile 3") && run.stderr.contains("hint:"), "{}", run.stderr);
}

#[test]
fn the_line_for_cryptenroll_has_one_term_for_each_known_pcr() {
    let run = predict(
        "cryptenroll",
        &uki("257.13"),
        &["--format", "systemd", "--pcr", "7,11,12", "--secure-boot", "on"],
    );
    let text = run.text();
    let terms: Vec<&str> = text.trim_end().split('+').collect();
    assert_eq!(terms.len(), 2, "{text}");
    assert!(terms[0].starts_with("11:sha256=") && terms[1] == format!("12:sha256={ZERO}"), "{text}");
}

#[test]
fn what_nobody_takes_is_said() {
    let wrong = scratch().join("predict").join("note.txt");
    fs::create_dir_all(wrong.parent().expect("a folder")).expect("made");
    fs::write(&wrong, "x").expect("written");
    let run = predict("unused", &uki("257.13"), &["--credential", wrong.to_str().expect("UTF-8")]);
    assert_eq!(run.code, Some(0));
    assert!(run.stderr.contains("note.txt") && run.stderr.contains("*.cred"), "{}", run.stderr);
}
