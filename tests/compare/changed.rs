//! Real logs with one thing changed, replayed here by hand: what firmware, clouds and signing tools do otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::outcome::{Outcome, compare, document, folder, write_values};
use crate::support::boots::boot;
use crate::support::tcg2::{self, Event};
use crate::support::{disks, read, read_json, skipped_without, tool};

const TINY: &str = "t-tiny-257";

/// SHA-256 digests that a case's log has for a register, with the data of each event.
fn events(case: &str, pcr: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let of = |event: Event| (hex::decode(&event.digests["sha256"]).expect("hexadecimal"), event.data);
    let log = read(record(case, "eventlog.bin"));
    tcg2::parse(&log).into_iter().filter(|event| event.pcr == pcr).map(of).collect()
}

fn record(case: &str, file: &str) -> PathBuf {
    crate::support::fixture("boots").join(case).join(file)
}

fn digest(text: &[u8]) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}

/// `TPM2_PCR_Extend` from zeros.
fn replay<'d>(digests: impl IntoIterator<Item = &'d Vec<u8>>) -> String {
    let extend = |value: Vec<u8>, digest: &Vec<u8>| Sha256::digest([value, digest.clone()].concat()).to_vec();
    hex::encode(digests.into_iter().fold(vec![0; 32], extend))
}

/// Compares the prediction of a case with its TPM's values, of which one register has another value.
fn with_value(name: &str, case: &str, expected: &PathBuf, pcr: u32, value: String) -> Outcome {
    let mut sha256: BTreeMap<String, String> = boot(case).observed_pcrs()["sha256"].clone();
    assert_ne!(sha256.insert(pcr.to_string(), value.clone()), Some(value), "{name} changes nothing");
    compare([expected, &write_values(name, &BTreeMap::from([("sha256", sha256)]))])
}

fn of_tiny(name: &str, pcr: u32, value: String) -> Outcome {
    with_value(name, TINY, &document(name, boot(TINY).predict()), pcr, value)
}

#[test]
fn the_replay_of_this_test_is_that_of_the_tpm() {
    for pcr in [4, 11] {
        let digests: Vec<Vec<u8>> = events(TINY, pcr).into_iter().map(|(digest, _)| digest).collect();
        assert_eq!(replay(&digests), boot(TINY).observed_pcrs()["sha256"][&pcr.to_string()]);
    }
}

/// EDK2 measures "Returning ..." and "Calling ..." again when a boot option came back.
#[test]
fn an_earlier_boot_attempt_is_named() {
    let mut digests: Vec<Vec<u8>> = events(TINY, 4).into_iter().map(|(digest, _)| digest).collect();
    let again = [
        digest(b"Returning from EFI Application from Boot Option"),
        digest(b"Calling EFI Application from Boot Option"),
    ];
    digests.splice(2..2, again.clone());
    let outcome = of_tiny("attempt", 4, replay(&digests));
    assert_eq!(outcome.moved_by("boot-attempt-repeated"), [4], "{:?}", outcome.causes);
    assert!(outcome.detail("boot-attempt-repeated").starts_with("1 earlier attempt"));
    digests.splice(2..2, again);
    let outcome = of_tiny("attempts", 4, replay(&digests));
    assert!(
        outcome.detail("boot-attempt-repeated").starts_with("2 earlier attempts"),
        "{:?}",
        outcome.causes
    );
}

#[test]
fn a_missing_separator_and_one_of_an_error_are_named() {
    let mut digests: Vec<Vec<u8>> = events(TINY, 4).into_iter().map(|(digest, _)| digest).collect();
    assert_eq!(digests[1], digest(&[0; 4]), "the separator is the second event of PCR 4");
    let removed = digests.remove(1);
    let outcome = of_tiny("no-separator", 4, replay(&digests));
    assert_eq!(outcome.moved_by("separator-missing"), [4], "{:?}", outcome.causes);
    assert!(outcome.detail("separator-missing").ends_with("is missing"));
    digests.insert(1, digest(&[1, 0, 0, 0]));
    assert_ne!(digests[1], removed);
    let outcome = of_tiny("error-separator", 4, replay(&digests));
    assert!(outcome.detail("separator-missing").ends_with("signals an error"), "{:?}", outcome.causes);
}

/// Two deviations in one register: Secure Boot on, and a second attempt.
#[test]
fn two_deviations_of_one_register_are_found() {
    let mut digests: Vec<Vec<u8>> = events(TINY, 4).into_iter().map(|(digest, _)| digest).collect();
    digests.pop().expect("the kernel is the last");
    digests.splice(
        2..2,
        [
            digest(b"Returning from EFI Application from Boot Option"),
            digest(b"Calling EFI Application from Boot Option"),
        ],
    );
    let outcome = of_tiny("two", 4, replay(&digests));
    assert_eq!(outcome.moved_by("boot-attempt-repeated"), [4], "{:?}", outcome.causes);
    assert_eq!(outcome.moved_by("secure-boot-state"), [4], "{:?}", outcome.causes);
}

/// The sections of PCR 11 come in pairs: the name, then the content.
#[test]
fn a_section_that_was_not_measured_is_named() {
    let sections = events(TINY, 11);
    let is_sbat = |data: &[u8]| data.starts_with(b".\0s\0b\0a\0t\0");
    let without: Vec<Vec<u8>> =
        sections.iter().filter(|(_, data)| !is_sbat(data)).map(|(digest, _)| digest.clone()).collect();
    assert_eq!(without.len() + 2, sections.len());
    let outcome = of_tiny("no-sbat", 11, replay(&without));
    assert_eq!(outcome.moved_by("sbat-of-signing-tool"), [11], "{:?}", outcome.causes);
}

/// ukify 254 to 257 put a NUL behind the text of `.sbat`; stubs hash what the section holds.
#[test]
fn an_sbat_with_another_end_is_named_where_the_image_is_there() {
    let image = read(boot(TINY).uki());
    let at = image.windows(9).position(|bytes| bytes == b"sbat,1,SB").expect(".sbat");
    let end = at + image[at..].iter().position(|byte| *byte == 0).expect("zeros follow");
    let mut digests = Vec::new();
    let mut seen = 0;
    for (value, data) in events(TINY, 11) {
        let is_content = data.starts_with(b".\0s\0b\0a\0t\0") && seen == 1;
        seen += usize::from(data.starts_with(b".\0s\0b\0a\0t\0"));
        digests.push(if is_content { digest(&image[at..end]) } else { value });
    }
    let mut sha256: BTreeMap<String, String> = boot(TINY).observed_pcrs()["sha256"].clone();
    let value = replay(&digests);
    if sha256.insert("11".to_owned(), value.clone()) == Some(value) {
        // This image's .sbat has no zero at its end: then that is the other form.
        return;
    }
    let observed = write_values("sbat-end", &BTreeMap::from([("sha256", sha256)]));
    let outcome = compare([boot(TINY).uki(), observed, "--secure-boot".into(), "off".into()]);
    assert_eq!(outcome.moved_by("sbat-of-signing-tool"), [11], "{:?}", outcome.causes);
}

/// A register that nothing was measured into.
#[test]
fn a_register_that_was_never_extended_is_named() {
    let outcome = of_tiny("zeros", 11, "00".repeat(32));
    assert_eq!(outcome.moved_by("never-extended"), [11], "{:?}", outcome.causes);
}

/// The disk of c, written to a larger one, and its table moved to the end by sgdisk (GPT fdisk).
#[test]
fn a_partition_table_that_grew_with_the_disk_is_named() {
    if skipped_without(&disks::TOOLS) || skipped_without(&["sgdisk"]) {
        return;
    }
    let case = "c-sdboot-257";
    let grown = folder().join("grown.img");
    std::fs::copy(disks::disk(case), &grown).expect("a copy");
    let file = std::fs::OpenOptions::new().write(true).open(&grown).expect("opened");
    file.set_len(20 << 30).expect("a larger disk");
    drop(file);
    tool(Command::new("sgdisk").arg("-e").arg(&grown));
    let measured = events(case, 5);
    let at = measured.iter().position(|(_, data)| data.starts_with(b"EFI PART")).expect("the GPT event");
    let table = gpt_data(&grown);
    assert_eq!(table.len(), measured[at].1.len(), "as many partitions as the firmware measured");
    let digests: Vec<Vec<u8>> = measured
        .iter()
        .enumerate()
        .map(|(index, (value, _))| if index == at { digest(&table) } else { value.clone() })
        .collect();
    let expected = document("c-disk", vec!["predict".into(), disks::disk(case).into()]);
    let before = compare([&expected, &boot(case).record("pcrs.json")]);
    assert!(before.with_verdict("match").contains(&5), "the disk as it was booted");
    let outcome = with_value("grown", case, &expected, 5, replay(&digests));
    assert_eq!(outcome.moved_by("partition-table-grown"), [5], "{:?}", outcome.causes);
    assert!(outcome.detail("partition-table-grown").contains("20 GiB"), "{:?}", outcome.causes);
}

/// `UEFI_GPT_DATA` (PFP, section 10.2.6) of a disk with 512 byte sectors: header, number of entries, entries in use.
fn gpt_data(disk: &PathBuf) -> Vec<u8> {
    use std::io::Read as _;
    let mut start = vec![0; 34 * 512];
    std::fs::File::open(disk).expect("opened").read_exact(&mut start).expect("34 sectors");
    let used: Vec<&[u8]> =
        start[1024..].chunks(128).filter(|entry| entry[..16].iter().any(|byte| *byte != 0)).collect();
    [&start[512..512 + 92], &(used.len() as u64).to_le_bytes(), &used.concat()].concat()
}

/// What nothing padded firmware hashes as it is; signing tools hash it padded to eight bytes.
#[test]
fn the_digest_of_a_padded_file_is_named() {
    let (odd, padded) = (folder().join("odd.efi"), folder().join("padded.efi"));
    let image = read(boot(TINY).uki());
    assert!(image.len().is_multiple_of(8), "the fixture itself needs no padding");
    std::fs::write(&odd, [&image[..], b"abc"].concat()).expect("written");
    std::fs::write(&padded, [&image[..], b"abc\0\0\0\0\0"].concat()).expect("written");
    let predict = |path: &PathBuf| -> Vec<std::ffi::OsString> {
        vec!["predict".into(), path.into(), "--secure-boot".into(), "off".into()]
    };
    let observed = crate::outcome::values("padded", predict(&padded));
    let outcome = compare([odd, observed, "--secure-boot".into(), "off".into()]);
    assert_eq!(outcome.moved_by("padded-digest"), [4], "{:?}", outcome.causes);
    assert_eq!(outcome.codes().len(), 1, "{:?}", outcome.causes);
}

/// Sections come in pairs of name and content; tools and versions order them otherwise.
#[test]
fn sections_in_another_order_are_named() {
    let mut digests: Vec<Vec<u8>> = events(TINY, 11).into_iter().map(|(digest, _)| digest).collect();
    let last = digests.len() - 4;
    digests[last..].rotate_left(2);
    let outcome = of_tiny("order", 11, replay(&digests));
    assert_eq!(outcome.moved_by("section-order"), [11], "{:?}", outcome.causes);
}

/// PFP, section 10.4.5.3: locality 3 starts PCR 0 with a three.
#[test]
fn a_tpm_that_was_started_from_another_locality_is_named() {
    let case = "c-sdboot-257";
    let digests = events(case, 0).into_iter().map(|(digest, _)| digest);
    let mut start = vec![0; 32];
    start[31] = 3;
    let extend = |value: Vec<u8>, digest: Vec<u8>| Sha256::digest([value, digest].concat()).to_vec();
    let value = hex::encode(digests.fold(start, extend));
    let outcome = with_value("locality", case, &boot(case).record("eventlog.bin"), 0, value);
    assert_eq!(outcome.moved_by("startup-locality"), [0], "{:?}", outcome.causes);
    assert!(outcome.detail("startup-locality").ends_with("locality 3"), "{:?}", outcome.causes);
}

/// `UEFI_VARIABLE_DATA` (PFP, section 10.2.7) of dbx, put together by hand.
fn dbx_data(content: &[u8]) -> Vec<u8> {
    let vendor = "cbb219d73a3d9645a3bcdad00e67656f";
    let name: Vec<u8> = "dbx".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let lengths = [3_u64.to_le_bytes(), (content.len() as u64).to_le_bytes()].concat();
    [hex::decode(vendor).expect("hexadecimal"), lengths, name, content.to_vec()].concat()
}

/// Firmware appends what is new in an update as a list of its own (EDK2 `FilterSignatureList`).
#[test]
fn an_update_of_dbx_is_named() {
    let case = "j-shim-grub-bookworm";
    let measured = events(case, 7);
    let (at, old) = measured
        .iter()
        .enumerate()
        .find_map(|(at, (_, data))| {
            let head = &dbx_data(&[])[..38];
            data.starts_with(&head[..16]).then_some(())?;
            (data.get(32..38) == head.get(32..38)).then(|| (at, data[38..].to_vec()))
        })
        .expect("dbx is measured");
    assert_eq!(measured[at].0, digest(&dbx_data(&old)), "the event's own digest");
    assert_eq!(old.len(), 76, "one digest: the list of Debian's template");
    // Two digests by Microsoft, of which one is there already.
    let entry = |digest: u8| [old[28..44].to_vec(), vec![digest; 32]].concat();
    let list = |entries: &[Vec<u8>]| {
        let size = u32::try_from(28 + 48 * entries.len()).expect("small");
        [&old[..16], &size.to_le_bytes(), &old[20..28], &entries.concat()].concat()
    };
    let update = folder().join("dbxupdate.esl");
    std::fs::write(&update, list(&[old[28..].to_vec(), entry(7)])).expect("written");
    let appended = [old.clone(), list(&[entry(7)])].concat();
    let digests: Vec<Vec<u8>> = measured
        .iter()
        .enumerate()
        .map(|(index, (value, _))| if index == at { digest(&dbx_data(&appended)) } else { value.clone() })
        .collect();
    let mut sha256: BTreeMap<String, String> =
        read_json::<BTreeMap<String, BTreeMap<String, String>>>(record(case, "pcrs.json"))["sha256"].clone();
    sha256.insert("7".to_owned(), replay(&digests));
    let observed = write_values("dbx", &BTreeMap::from([("sha256", sha256)]));
    let expected = record(case, "eventlog.bin");
    let without = compare([&expected, &observed]);
    assert_eq!(without.unexplained, [7], "{:?}", without.causes);
    let with = compare([&expected, &observed, &"--dbx-update".into(), &update]);
    assert_eq!(with.moved_by("dbx-updated"), [7], "{:?}", with.causes);
    assert!(with.detail("dbx-updated").starts_with("dbx was updated with"), "{:?}", with.causes);
}

/// A machine whose firmware knows no Secure Boot: the constant of five empty variables (the reference values of such builds).
#[test]
fn firmware_without_secure_boot_is_named() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let case = "f-secureboot-257";
    let expected = document(
        "f-keys",
        vec!["predict".into(), disks::disk(case).into(), "--variables".into(), disks::variables(case).into()],
    );
    let seven = "b5710bf57d25623e4019027da116821fa99f5c81e9e38b87671cc574f9281439";
    assert_eq!(boot("c-sdboot-257").observed_pcrs()["sha256"]["7"], seven, "a machine of that kind");
    let outcome = with_value("no-support", case, &expected, 7, seven.to_owned());
    assert_eq!(outcome.moved_by("secure-boot-keys"), [7], "{:?}", outcome.causes);
    assert!(outcome.unexplained.is_empty(), "{:?}", outcome.causes);
}

/// Of two variants that are equally near the one counts that takes fewer causes.
#[test]
fn the_variant_that_takes_fewer_causes_counts() {
    let case = "c-sdboot-257";
    let expected = document("c-both", {
        let mut arguments = boot(case).predict_without("--secure-boot");
        arguments.extend(["--variables".into(), disks::variables(case).into()]);
        arguments
    });
    let measured = events(case, 7);
    let digests: Vec<Vec<u8>> =
        measured.iter().map(|(value, _)| value.clone()).filter(|value| *value != digest(&[0; 4])).collect();
    assert_eq!(digests.len() + 1, measured.len(), "the separator is left out");
    let outcome = with_value("no-separator-7", case, &expected, 7, replay(&digests));
    assert_eq!(outcome.moved_by("separator-missing"), [7], "{:?}", outcome.causes);
    assert_eq!(outcome.codes().len(), 1, "{:?}", outcome.causes);
}

/// A register without any measurement lost more than single ones.
#[test]
fn a_register_of_zeros_is_one_cause() {
    let outcome = of_tiny("zeros-9", 9, "00".repeat(32));
    assert_eq!(outcome.moved_by("never-extended"), [9], "{:?}", outcome.causes);
    assert_eq!(outcome.codes().len(), 1, "{:?}", outcome.causes);
}

/// A listing that is none says what is wrong with it.
#[test]
fn a_listing_with_a_short_digest_is_named() {
    let document = document("t-listing", boot(TINY).predict());
    for (name, text, expected) in [
        ("short", r#"{"sha256": {"4": "00"}}"#, "sha256"),
        ("empty", r#"{"sha256": {}}"#, "no PCR values"),
        ("index", r#"{"sha256": {"24": "00"}}"#, "24"),
    ] {
        let path = folder().join(format!("{name}.json"));
        std::fs::write(&path, text).expect("written");
        let run = crate::support::premeasure(["compare".as_ref(), document.as_os_str(), path.as_os_str()]);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(expected) && !run.stderr.contains("event log"), "{}", run.stderr);
    }
}

/// A log as firmware writes it: the header of a case's, then these records.
fn write_log(name: &str, case: &str, records: &[Event]) -> PathBuf {
    let original = read(record(case, "eventlog.bin"));
    let size = u32::from_le_bytes(original[28..32].try_into().expect("four bytes"));
    let mut log = original[..32 + usize::try_from(size).expect("small")].to_vec();
    let numbers = [("sha1", 4_u16), ("sha256", 0xB), ("sha384", 0xC), ("sha512", 0xD)];
    for event in records {
        log.extend(event.pcr.to_le_bytes());
        log.extend(event.event_type.to_le_bytes());
        log.extend(u32::try_from(event.digests.len()).expect("few").to_le_bytes());
        for (bank, number) in numbers {
            let Some(digest) = event.digests.get(bank) else { continue };
            log.extend(number.to_le_bytes());
            log.extend(hex::decode(digest).expect("hexadecimal"));
        }
        log.extend(u32::try_from(event.data.len()).expect("small").to_le_bytes());
        log.extend(&event.data);
    }
    let path = folder().join(format!("{name}.bin"));
    std::fs::write(&path, log).expect("written");
    path
}

/// The log of c with its records changed, against its own prediction with its variables: what `compare` says of it.
fn of_changed_log(name: &str, change: impl FnOnce(&mut Vec<Event>)) -> Outcome {
    let case = "c-sdboot-257";
    let mut records = tcg2::parse(&read(record(case, "eventlog.bin")));
    change(&mut records);
    compare([record(case, "eventlog.bin"), write_log(name, case, &records)])
}

/// Positions of a register's events.
fn places(records: &[Event], pcr: u32) -> Vec<usize> {
    records.iter().enumerate().filter(|(_, event)| event.pcr == pcr).map(|(at, _)| at).collect()
}

#[test]
fn sections_that_only_moved_in_a_log_are_named_so() {
    let outcome = of_changed_log("moved", |records| {
        let eleven = places(records, 11);
        // Name and content of the first section, behind those of the second.
        records.swap(eleven[0], eleven[2]);
        records.swap(eleven[1], eleven[3]);
    });
    assert_eq!(outcome.moved_by("section-order"), [11], "{:?}", outcome.causes);
    assert_eq!(outcome.codes().len(), 1, "{:?}", outcome.causes);
}

#[test]
fn a_variable_that_is_measured_again_is_an_additional_measurement() {
    let outcome = of_changed_log("again", |records| {
        let seven = places(records, 7);
        let again = records[seven[0]].clone();
        records.insert(seven[1], again);
    });
    assert_eq!(outcome.moved_by("additional-measurement"), [7], "{:?}", outcome.causes);
    assert_eq!(outcome.codes().len(), 1, "{:?}", outcome.causes);
}

/// A first entry in an empty dbx is an update: no key changed.
#[test]
fn a_first_entry_of_dbx_is_an_update() {
    let outcome = of_changed_log("first-dbx", |records| {
        let at = places(records, 7)[4];
        let list: Vec<u8> = [
            hex::decode("2616c4c14c509240aca941f936934328").expect("hexadecimal"),
            [76_u32.to_le_bytes(), [0; 4], 48_u32.to_le_bytes()].concat(),
            vec![0x11; 48],
        ]
        .concat();
        assert_eq!(records[at].data, dbx_data(&[]), "an empty dbx");
        records[at].data = dbx_data(&list);
        records[at].digests = BTreeMap::from([("sha256".to_owned(), hex::encode(digest(&dbx_data(&list))))]);
        // One bank is enough, but each record has the same ones.
        for event in records {
            event.digests.retain(|bank, _| bank == "sha256");
        }
    });
    assert_eq!(outcome.moved_by("dbx-updated"), [7], "{:?}", outcome.causes);
    assert_eq!(outcome.codes().len(), 1, "{:?}", outcome.causes);
}

/// No digest covers an event's type: another one changes no value, and is said.
#[test]
fn another_type_with_the_expected_digest_is_a_note() {
    let outcome = of_changed_log("retyped", |records| {
        let at = places(records, 4)[2];
        records[at].event_type = 0x8000_0004;
    });
    assert!(outcome.equal);
    assert!(outcome.notes.iter().any(|note| note.contains("another type")), "{:?}", outcome.notes);
}
