//! virt-firmware's `virt-fw-measure` (PyPI, 26.10): PCR 0 of an OVMF image and PCR 7 of a variable store. It is known to disagree with
//! machines in three points; each is listed here with its reason, and has to be there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use premeasure::tcg::{Digest, HashAlgorithm};
use serde_json::Value;

use crate::support::{BANKS, fixture, premeasure, read, say, scratch, skipped_without, tool};

const TOOLS: [&str; 2] = ["virt-fw-measure", "virt-fw-vars"];
const FOLDER: &str = "/usr/share/OVMF";
/// Images of which premeasure may know PCR 0.
const IMAGES: [&str; 2] = ["OVMF_CODE_4M.fd", "OVMF_CODE_4M.secboot.fd"];
/// Of those, Debian's 2022.11-6+deb12u2 plain and secboot. The plain build of 2026.08 changes nothing.
const CHANGED: [&str; 2] = [
    "b157d97b1f69729514feb7f201d2cbe4957f23ab77920e361fe9f822ba49ca4c",
    "d50189a486d22af418198226a3a5bcb6ddac775590f6a808bd629474ee034d62",
];

/// Of PCR 0 the volume DXEFV is the same. The volume PEIFV is not: its modules run in place and change it before it is measured, and
/// virt-fw-measure hashes it as it stands in the file. Real boots (`fixtures/boots`) have our digest. It also leaves the version out
/// unless it is named, which is empty in OVMF.
#[test]
fn virt_firmware_measures_the_same_volume_of_drivers() {
    if skipped_without(&TOOLS) {
        return;
    }
    for name in IMAGES {
        let image = Path::new(FOLDER).join(name);
        if !image.exists() {
            continue;
        }
        let theirs = records(Command::new("virt-fw-measure").arg("--image").arg(&image));
        assert_eq!(theirs.len(), 2, "{name}: PEIFV and DXEFV");
        let uki = fixture("t-tiny-257/uki.efi");
        let machine = "cpus=2,mem=1024,qemu=7.2";
        let mut arguments =
            vec!["predict".to_owned(), uki.display().to_string(), "--secure-boot".into(), "off".into()];
        arguments.extend([
            "--firmware".into(),
            image.display().to_string(),
            "--machine".into(),
            machine.into(),
        ]);
        let store = Path::new(FOLDER).join("OVMF_VARS_4M.fd");
        arguments.extend(["--variables".into(), store.display().to_string()]);
        arguments.push("--json".into());
        let document: Value = premeasure(with_banks(arguments)).json();
        let ours = measured(&document, 0);
        // Version, PEIFV, DXEFV, separator; of a build that is not known, the separator alone.
        if ours.len() == 1 {
            say(&format!("{}: not among the builds that are known", image.display()));
            continue;
        }
        assert_eq!(ours.len(), 4, "{name}");
        assert_eq!(ours[2], theirs[1], "{name}: DXEFV");
        let sha256 = Digest::of(HashAlgorithm::Sha256, &read(&image)).to_string();
        if CHANGED.contains(&sha256.as_str()) {
            assert_ne!(ours[1], theirs[0], "{name}: PEIFV is changed before it is measured");
        }
    }
}

/// Of PCR 7 all is the same where every variable exists. Where one does not, the firmware measures it empty and virt-fw-measure
/// leaves it out: the guest of `fixtures/boots/f4-setup-mode-257` has our value.
#[test]
fn virt_firmware_measures_the_same_variables() {
    if skipped_without(&TOOLS) {
        return;
    }
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    for (name, complete) in
        [("OVMF_VARS_4M.ms.fd", true), ("OVMF_VARS_4M.snakeoil.fd", true), ("OVMF_VARS_4M.fd", false)]
    {
        let template = Path::new(FOLDER).join(name);
        if !template.exists() {
            continue;
        }
        let store: PathBuf = folder.path().join(name);
        let mut command = Command::new("virt-fw-vars");
        command.arg("--input").arg(&template).arg("--output").arg(&store);
        tool(command.args(["--set-false", "SecureBootEnable"]));
        let theirs = records(Command::new("virt-fw-measure").arg("--vars").arg(&store).arg("--no-sb"));
        let uki = fixture("t-tiny-257/uki.efi").display().to_string();
        let arguments =
            ["predict", &uki, "--variables", &store.display().to_string(), "--json"].map(str::to_owned);
        let document: Value = premeasure(with_banks(arguments.to_vec())).json();
        let ours = measured(&document, 7);
        if complete {
            assert_eq!(ours, theirs, "{name}");
        } else {
            assert_eq!(theirs.len(), 2, "{name}: SecureBoot and the separator");
            assert_eq!((ours.len(), &ours[0], &ours[5]), (6, &theirs[0], &theirs[1]), "{name}");
        }
    }
    fs::remove_dir_all(folder.path()).expect("removed");
}

/// The digests of its events, by bank.
fn records(command: &mut Command) -> Vec<BTreeMap<String, String>> {
    for bank in BANKS {
        command.args(["--bank", bank]);
    }
    let document: Value = serde_json::from_str(&tool(command.arg("--pcrlock"))).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let digests = |record: &Value| -> BTreeMap<String, String> {
        let digests = record["digests"].as_array().expect("digests").iter();
        digests.map(|digest| (text(&digest["hashAlg"]), text(&digest["digest"]))).collect()
    };
    document["records"].as_array().expect("records").iter().map(digests).collect()
}

/// The digests of what we predict for a register, up to the kernel.
fn measured(document: &Value, pcr: u32) -> Vec<BTreeMap<String, String>> {
    let measurements = document["variants"][0]["measurements"].as_array().expect("measurements").iter();
    let wanted = measurements.filter(|m| m["pcr"] == pcr && m["stage"] == "exit-boot-services");
    wanted.filter_map(|m| serde_json::from_value(m["digests"].clone()).ok()).collect()
}

fn with_banks(arguments: Vec<String>) -> Vec<std::ffi::OsString> {
    crate::support::document::with_banks(arguments)
}
