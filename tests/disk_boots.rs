//! Predictions from whole disks against real boots: what `premeasure predict disk.img` finds by itself.
//!
//! Every expected value comes from the guest (`fixtures/boots`), none from this project.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Deserialize;
use support::document::predict;
use support::tcg2::{self, Event, IMAGE_LOAD};
use support::{BANKS, Pcrs, disks, fixture, premeasure, read, read_json, say, scratch, skipped_without};

/// What the disk determines.
const PCRS: [u32; 7] = [4, 5, 8, 9, 11, 12, 13];

/// A boot from disk, and what the disk does not settle.
struct Case {
    name: &'static str,
    secure_boot: &'static str,
    exit_boot_services: &'static str,
    /// One more option with a file that the guest left.
    guest: Option<(&'static str, &'static str)>,
    /// PCRs that a disk alone can't give: of GRUB's, and where the boot secret was not kept.
    unknown: &'static [u32],
}

const fn case(name: &'static str, secure_boot: &'static str) -> Case {
    Case { name, secure_boot, exit_boot_services: "success", guest: None, unknown: &[] }
}

/// OVMF 2026.08, whose first ExitBootServices always fails.
const fn newest(name: &'static str) -> Case {
    let guest = Some(("--boot-secret", "extra/boot-secret"));
    Case { exit_boot_services: "failure-then-success", guest, ..case(name, "off") }
}

const CASES: &[Case] = &[
    case("a-uki-direct-252", "off"),
    case("c-sdboot-257", "off"),
    newest("d2-uki-direct-262"),
    case("d3-sdboot-254", "off"),
    case("e-addons-257", "off"),
    case("f-secureboot-257", "on"),
    case("f4-setup-mode-257", "off"),
    case("g2-type1-252", "off"),
    case("h0-profile0-257", "off"),
    newest("h2-profile2-262"),
    case("i-pcrsig-ucode-257", "off"),
    case("j-shim-grub-bookworm", "on"),
    Case { guest: Some(("--smbios", "dmi/DMI")), ..case("m-smbios-257", "off") },
    case("t-tiny-257", "off"),
    Case { guest: None, unknown: &[9], ..newest("t3-tiny-262") },
];

impl Case {
    fn record(&self, path: &str) -> PathBuf {
        fixture("boots").join(self.name).join(path)
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["predict".into(), disks::disk(self.name).into()];
        if let Some((option, file)) = self.guest {
            arguments.extend([option.into(), self.record("guest").join(file).into()]);
        }
        arguments
    }

    fn decided(&self) -> Vec<OsString> {
        let mut arguments = self.arguments();
        let decisions = ["--secure-boot", self.secure_boot, "--exit-boot-services", self.exit_boot_services];
        arguments.extend(decisions.map(OsString::from));
        arguments
    }

    fn observed(&self) -> Pcrs {
        read_json(self.record("pcrs.json"))
    }
}

/// `--format pcrs`: one value, or those that are possible.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    More(Vec<String>),
}

/// Every boot with a disk, every bank, every PCR: the table is printed and written to `target/disk-boots.txt`.
#[test]
fn every_disk_predicts_its_boot() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    disks::disk("c-sdboot-257"); // unpack before the threads start
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let reports: Vec<(String, Vec<String>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = CASES
            .chunks(CASES.len().div_ceil(threads))
            .map(|share| scope.spawn(move || share.iter().map(compare).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a comparison")).collect()
    });
    let mut table = format!("{:24}  {:8}", "case", "bank");
    for pcr in PCRS {
        let _ = write!(table, "  {:14}", format!("PCR {pcr}"));
    }
    table.push('\n');
    reports.iter().for_each(|(rows, _)| table.push_str(rows));
    say(&table);
    std::fs::write(scratch().join("../disk-boots.txt"), &table).expect("the table is written");
    let faults: Vec<&String> = reports.iter().flat_map(|(_, faults)| faults).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The rows of the table, and what is wrong.
fn compare(case: &Case) -> (String, Vec<String>) {
    let mut faults = Vec::new();
    let observed = case.observed();
    let undecided = values(case.arguments());
    let decided = values(case.decided());
    let mut rows = String::new();
    for bank in BANKS {
        let _ = write!(rows, "{:24}  {bank:8}", case.name);
        for pcr in PCRS {
            let word = verdict(case, pcr, bank, &undecided, &decided, &observed);
            if word.starts_with(char::is_uppercase) {
                faults.push(format!("{}: PCR {pcr} {bank}: {word}", case.name));
            }
            let _ = write!(rows, "  {word:14}");
        }
        rows.push('\n');
    }
    compare_logs(case, &mut faults);
    (rows, faults)
}

fn values(mut arguments: Vec<OsString>) -> BTreeMap<String, BTreeMap<String, Values>> {
    arguments.extend(["--bank", "sha1,sha256,sha384,sha512", "--format", "pcrs"].map(OsString::from));
    premeasure(&arguments).json()
}

fn verdict(
    case: &Case,
    pcr: u32,
    bank: &str,
    undecided: &BTreeMap<String, BTreeMap<String, Values>>,
    decided: &BTreeMap<String, BTreeMap<String, Values>>,
    observed: &Pcrs,
) -> &'static str {
    let pcr_name = pcr.to_string();
    let guest = &observed[bank][&pcr_name];
    let own = (undecided[bank].get(&pcr_name), decided[bank].get(&pcr_name));
    match own {
        (None, None) if case.unknown.contains(&pcr) => "unknown",
        (None, _) | (_, None) => "MISSING",
        _ if case.unknown.contains(&pcr) => "KNOWN",
        (Some(Values::One(value)), Some(Values::One(decided))) if value == guest && decided == guest => {
            "equal"
        }
        (Some(Values::More(values)), Some(Values::One(decided)))
            if values.contains(guest) && decided == guest =>
        {
            "one of them"
        }
        _ => "DIFFERS",
    }
}

/// Where nothing is left open: the predicted log against the guest's, event by event, but for load addresses.
fn compare_logs(case: &Case, faults: &mut Vec<String>) {
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let log = folder.path().join("predicted.bin");
    let mut arguments = case.decided();
    arguments.extend(["--event-log".into(), log.clone().into_os_string()]);
    let variant = predict(arguments);
    assert!(!variant.pcrs.is_empty());
    let (predicted, observed) = (tcg2::parse(&read(&log)), tcg2::parse(&read(case.record("eventlog.bin"))));
    let of_pcr = |events: &[Event], pcr: u32| -> Vec<Event> {
        let without_addresses = |event: &Event| Event {
            data: if event.event_type == IMAGE_LOAD { Vec::new() } else { event.data.clone() },
            ..event.clone()
        };
        events.iter().filter(|event| event.pcr == pcr).map(without_addresses).collect()
    };
    for pcr in PCRS.into_iter().filter(|pcr| !case.unknown.contains(pcr)) {
        let (ours, theirs) = (of_pcr(&predicted, pcr), of_pcr(&observed, pcr));
        if ours != theirs {
            faults.push(format!("{}: PCR {pcr}: predicted {ours:x?}\n  guest {theirs:x?}", case.name));
        }
    }
}

/// The same boot partition as a folder: everything but PCR 5, which needs the disk.
#[test]
fn a_folder_predicts_what_the_disk_does() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    for name in ["e-addons-257", "g2-type1-252"] {
        let observed = CASES.iter().find(|case| case.name == name).expect("the case").observed();
        let arguments =
            ["predict".into(), disks::esp(name).into_os_string(), "--secure-boot".into(), "off".into()];
        let values = values(arguments.to_vec());
        for pcr in [4, 9, 11, 12, 13].map(|pcr: u32| pcr.to_string()) {
            assert!(
                matches!(&values["sha256"][&pcr], Values::One(value) if *value == observed["sha256"][&pcr]),
                "{name}: PCR {pcr}"
            );
        }
        assert!(!values["sha256"].contains_key("5"), "{name}: PCR 5 needs the partition table");
    }
}

/// One changed byte of the partition table moves PCR 5 and nothing else.
#[test]
fn a_flipped_byte_in_the_disk_guid_is_seen() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let case = CASES.iter().find(|case| case.name == "t-tiny-257").expect("the case");
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let copy = folder.path().join("disk.img");
    let mut bytes = read(disks::disk(case.name));
    // DiskGUID, and the checksum that covers it.
    bytes[512 + 56] ^= 1;
    let header: Vec<u8> = bytes[512..512 + 92]
        .iter()
        .enumerate()
        .map(|(at, b)| if (16..20).contains(&at) { 0 } else { *b })
        .collect();
    bytes[512 + 16..512 + 20].copy_from_slice(&crc32(&header).to_le_bytes());
    std::fs::write(&copy, bytes).expect("a copy of the disk");
    let mut arguments = case.decided();
    arguments[1] = copy.into();
    let (values, observed) = (values(arguments), case.observed());
    let moved: Vec<u32> = PCRS
        .into_iter()
        .filter(|pcr| {
            let pcr = pcr.to_string();
            !matches!(&values["sha256"][&pcr], Values::One(value) if *value == observed["sha256"][&pcr])
        })
        .collect();
    assert_eq!(moved, [5]);
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xEDB8_8320 },
        )
    })
}
