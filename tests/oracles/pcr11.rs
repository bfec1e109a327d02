//! PCR 11 against systemd's own tools: `systemd-measure` where it is installed, and what `ukify build --measure` printed when
//! the UKIs of the fixtures were built.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::boots::{BOOTS, Boot, boot};
use crate::support::document::predict;
use crate::support::{BANKS, disks, fixture, read, read_json, say, scratch, skipped_without, tool};

const SYSTEMD_MEASURE: &str = "/lib/systemd/systemd-measure";

/// systemd-measure's word for a phase, and ours for the stage.
const PHASES: [(&str, &str); 5] = [
    ("", "exit-boot-services"),
    ("enter-initrd", "enter-initrd"),
    ("enter-initrd:leave-initrd", "leave-initrd"),
    ("enter-initrd:leave-initrd:sysinit", "sysinit"),
    ("enter-initrd:leave-initrd:sysinit:ready", "ready"),
];

/// The installed systemd-measure over the sections of UKIs, by the rules of its own version.
#[test]
fn systemd_measure_calculates_the_same() {
    if skipped_without(&[SYSTEMD_MEASURE]) {
        return;
    }
    let mut cases = vec!["t-tiny-257", "t3-tiny-262"];
    if !skipped_without(&disks::TOOLS) {
        cases.extend(["a-uki-direct-252", "i-pcrsig-ucode-257"]);
    }
    let version = tool(Command::new(SYSTEMD_MEASURE).arg("--version"));
    let version = version.split_whitespace().nth(1).expect("systemd 252 (...)");
    for case in cases {
        let mut arguments = boot(case).predict();
        arguments.extend(["--systemd-version".into(), version.into()]);
        let predicted = predict(arguments);
        let calculated = calculate(&sections(boot(case)));
        for (bank, values) in &calculated {
            for ((_, stage), theirs) in PHASES.iter().zip(values) {
                assert_eq!(predicted.value(11, stage, bank), Some(theirs.as_str()), "{case}: {stage} {bank}");
            }
        }
        assert_eq!(calculated.len(), BANKS.len(), "{case}");
    }
}

/// `ukify` 257 and 262 ran the systemd-measure of their version over what they had just built.
#[test]
fn ukify_measured_the_same_when_it_built_the_fixtures() {
    let mut compared = 0;
    for boot in BOOTS {
        let Ok(record) = std::fs::read_to_string(boot.record("ukify-measure.txt")) else { continue };
        if !fixture(boot.case).exists() && skipped_without(&disks::TOOLS) {
            continue;
        }
        // Four banks a phase, four phases a profile, the profiles one after the other.
        let lines: Vec<&str> = record.lines().filter(|line| !line.trim().is_empty()).collect();
        let profile = if boot.case == "h2-profile2-262" { 2 } else { 0 };
        let recorded = lines.chunks(16).nth(profile).expect("the profile's values");
        let predicted = predict(boot.predict());
        for (phase, (_, stage)) in recorded.chunks(BANKS.len()).zip(&PHASES[1..]) {
            for line in phase {
                let (bank, theirs) =
                    line.strip_prefix("11:").and_then(|line| line.split_once('=')).expect("11:bank=value");
                assert_eq!(predicted.value(11, stage, bank), Some(theirs), "{}: {stage} {bank}", boot.case);
                compared += 1;
            }
        }
    }
    assert!(compared >= 32, "{compared} values");
}

/// Runs systemd-measure; for each bank the values of [`PHASES`], in order.
fn calculate(sections: &[(String, Vec<u8>)]) -> BTreeMap<String, Vec<String>> {
    let help = tool(Command::new(SYSTEMD_MEASURE).arg("--help"));
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let mut command = Command::new(SYSTEMD_MEASURE);
    command.args(["calculate", "--json=short"]);
    command.args(BANKS.map(|bank| format!("--bank={bank}")));
    command.args(PHASES.map(|(phase, _)| format!("--phase={phase}")));
    for (name, data) in sections {
        let option = format!("--{}=", name.trim_start_matches('.'));
        if help.contains(&option) {
            let file = folder.path().join(name);
            std::fs::write(&file, data).expect("a section");
            command.arg(OsString::from_iter([option.as_ref(), file.as_os_str()]));
        }
    }
    let printed: BTreeMap<String, Vec<Value>> = serde_json::from_str(&tool(&mut command)).expect("JSON");
    let hash = |value: &Value| value["hash"].as_str().expect("a hash").to_owned();
    printed.into_iter().map(|(bank, values)| (bank, values.iter().map(hash).collect())).collect()
}

/// Sections as they are in memory, by the record of the boot: contents cut or filled with zeros to `VirtualSize`.
fn sections(boot: &Boot) -> Vec<(String, Vec<u8>)> {
    let record: Value = read_json(boot.record("case.json"));
    let path: PathBuf = boot.uki();
    let digest =
        |file: &Value| file["sections"].as_array().is_some_and(|s| s.iter().any(|s| s["name"] == ".linux"));
    let file = record["esp"].as_array().expect("files").iter().find(|file| digest(file)).expect("the UKI");
    let image = read(&path);
    let number = |section: &Value, field: &str| section[field].as_u64().expect("a number") as usize;
    let loaded = |section: &Value| {
        let (virtual_size, offset) = (number(section, "virtual_size"), number(section, "raw_offset"));
        let mut data = image[offset..offset + virtual_size.min(number(section, "raw_size"))].to_vec();
        data.resize(virtual_size, 0);
        (section["name"].as_str().expect("a name").to_owned(), data)
    };
    file["sections"].as_array().expect("sections").iter().map(loaded).collect()
}

/// The sections of Constellation's test image have the digests that its own test expects.
#[test]
fn the_corpus_image_has_the_published_sections() {
    let Some(corpus) = std::env::var_os("PREMEASURE_CORPUS") else {
        return say("SKIPPED the corpus's sections: PREMEASURE_CORPUS is not set");
    };
    // Its `.pcrkey` is none of systemd's names and `.pcrsig` is never measured.
    let measured = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".uname", ".sbat"];
    let folder = Path::new(&corpus).join("uki");
    let truth: Value = read_json(folder.join("constellation-fixture.json"));
    let published: BTreeMap<&str, &str> = truth["sections"]
        .as_array()
        .expect("sections")
        .iter()
        .map(|section| {
            (section["name"].as_str().expect("a name"), section["sha256"].as_str().expect("a digest"))
        })
        .collect();
    let image = folder.join("constellation-fixture.efi");
    let predicted = predict([
        OsString::from("predict"),
        image.into(),
        "--secure-boot".into(),
        "off".into(),
        "--systemd-version".into(),
        "255".into(),
    ]);
    // A section is two measurements: its name, then its contents.
    let measurements = predicted.measurements_before_the_initrd(11);
    let contents: Vec<&str> = measurements.chunks(2).map(|pair| pair[1].digests["sha256"].as_str()).collect();
    assert_eq!(contents, measured.map(|name| published[name]));
}
