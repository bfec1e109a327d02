//! Real logs with one thing changed, replayed here by hand: what firmware, clouds and signing tools do otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::outcome::{Outcome, compare, document, folder, write_values};
use crate::support::boots::boot;
use crate::support::tcg2::Event;
use crate::support::{disks, read, skipped_without, tool};

const TINY: &str = "t-tiny-257";

/// SHA-256 digests that a case's log has for a register, with the data of each event.
fn events(case: &str, pcr: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let of = |event: Event| (hex::decode(&event.digests["sha256"]).expect("hexadecimal"), event.data);
    boot(case).observed_events().into_iter().filter(|event| event.pcr == pcr).map(of).collect()
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
