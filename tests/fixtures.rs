//! The fixtures agree with themselves: logs replay to the recorded PCRs, disks hold the recorded files. A prediction that
//! differs from a fixture is then a wrong prediction, not a damaged fixture.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use support::{BANKS, Pcrs, disks, fixture, read, read_json, scratch, skipped_without, tcg2};

/// Extended by the kernel's IMA, which is not in the firmware's log.
const IMA: u32 = 10;

#[test]
fn every_log_replays_to_the_recorded_pcrs() {
    let cases = cases();
    assert_eq!(cases.len(), 16, "{cases:?}");
    for case in cases {
        let folder = fixture("boots").join(&case);
        let mut extended: Vec<(u32, BTreeMap<String, String>)> =
            tcg2::parse(&read(folder.join("eventlog.bin")))
                .into_iter()
                .map(|event| (event.pcr, event.digests))
                .collect();
        extended.extend(user_space_log(&folder));
        let recorded: Pcrs = read_json(folder.join("pcrs.json"));
        for bank in BANKS {
            for pcr in (0..16).filter(|&pcr| pcr != IMA) {
                let digests =
                    extended.iter().filter(|(index, _)| *index == pcr).map(|(_, digests)| &digests[bank]);
                assert_eq!(
                    replay(bank, digests),
                    recorded[bank][&pcr.to_string()],
                    "{case}: PCR {pcr} {bank}"
                );
            }
        }
    }
}

#[test]
fn every_disk_holds_the_recorded_files() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let mut files = 0;
    for case in cases().into_iter().filter(|case| case != "k-mkosi-trixie") {
        let record: serde_json::Value = read_json(fixture("boots").join(&case).join("case.json"));
        for file in record["esp"].as_array().expect("a list of files") {
            let path = file["path"].as_str().expect("a path");
            let digest = hex::encode(Sha256::digest(read(disks::esp(&case).join(path))));
            assert_eq!(file["sha256"], digest, "{case}: {path}");
            files += 1;
        }
        assert_eq!(
            record["firmware_vars_sha256"],
            hex::encode(Sha256::digest(read(disks::variables(&case)))),
            "{case}"
        );
    }
    assert!(files > 40, "{files} files");
    assert!(scratch().exists());
}

fn cases() -> Vec<String> {
    let is_case = |path: &PathBuf| path.join("case.json").exists();
    let entries = fs::read_dir(fixture("boots")).expect("fixtures/boots");
    let mut cases: Vec<String> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(is_case)
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    cases.sort();
    cases
}

/// systemd's own log of what it extended (`/run/log/systemd/tpm2-measure.log`, JSON text sequence), where there is one.
fn user_space_log(folder: &std::path::Path) -> Vec<(u32, BTreeMap<String, String>)> {
    let Ok(text) = fs::read_to_string(folder.join("guest/tpm2-measure.log")) else { return Vec::new() };
    let record = |text: &str| {
        let record: serde_json::Value = serde_json::from_str(text).expect("a record");
        let digests = record["digests"].as_array().expect("digests").iter();
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let digests = digests.map(|digest| (text(&digest["hashAlg"]), text(&digest["digest"]))).collect();
        (record["pcr"].as_u64().expect("a PCR") as u32, digests)
    };
    text.split('\x1e').filter(|text| !text.trim().is_empty()).map(record).collect()
}

fn replay<'a>(bank: &str, digests: impl Iterator<Item = &'a String>) -> String {
    fn extend<'a, H: Digest>(digests: impl Iterator<Item = &'a String>) -> String {
        let zeros = vec![0; <H as Digest>::output_size()];
        let extended = |value: Vec<u8>, digest: &String| {
            H::new().chain_update(value).chain_update(hex::decode(digest).expect("hex")).finalize().to_vec()
        };
        hex::encode(digests.fold(zeros, extended))
    }
    match bank {
        "sha1" => extend::<Sha1>(digests),
        "sha256" => extend::<Sha256>(digests),
        "sha384" => extend::<Sha384>(digests),
        "sha512" => extend::<Sha512>(digests),
        other => panic!("bank {other}"),
    }
}
