//! GRUB whose build nobody saw, as a recorded boot of it shows it: the registers are the guest's (`fixtures/boots`).

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use premeasure::baseline::{PlatformPart, RecordedGrub};
use premeasure::boot::{BootChain, Content, GrubBoot, RecordedPlatform, Recording, Scenario, replay};
use premeasure::hashing::DigestPlan;
use premeasure::source::Blob;
use premeasure::tcg::eventlog::EventLog;
use premeasure::tcg::{DigestSet, HashAlgorithm, Hasher};
use premeasure::walk::{Medium, Wishes, walk};
use support::{BANKS, Pcrs, disks, fixture, read, read_json, skipped_without};

const CASE: &str = "j-shim-grub-bookworm";

fn log() -> Vec<u8> {
    read(fixture("boots").join(CASE).join("eventlog.bin"))
}

/// What the disk boots, with a GRUB that is not known.
fn chain(disk: Vec<u8>, log: &[u8]) -> BootChain {
    let medium = Medium::of_image(&Blob::from_bytes(disk), None, None).expect("a disk");
    let recorded_grub = RecordedGrub::from_log(&EventLog::parse(log).expect("a log"), Some(true));
    let walked = walk(&medium, &Wishes { recorded_grub, ..Wishes::default() }).expect("a boot");
    let mut chain = walked.boots.into_iter().next().expect("one").chain.expect("it boots");
    let known = chain.grub.take().expect("GRUB");
    let unseen = GrubBoot::not_followed(None, "this build was not observed".to_owned());
    chain.grub = Some(GrubBoot { recorded: known.recorded, ..unseen });
    *chain
}

/// The boot with Secure Boot on, and the digests that were hashed.
fn boot(chain: &BootChain, log: &[u8], secure_boot: bool) -> (Recording, Vec<Option<DigestSet>>) {
    let part = PlatformPart::from_log(&EventLog::parse(log).expect("a log"), "log", log).expect("a baseline");
    let recorded = RecordedPlatform { part, inputs: Vec::new(), number: 0, count: 1 };
    let scenario = Scenario { secure_boot, baseline: Some(Arc::new(recorded)), ..Scenario::default() };
    let mut plan = DigestPlan::new();
    let recording = replay(chain, &scenario, &mut plan).expect("it boots");
    let banks: Vec<HashAlgorithm> = EventLog::parse(log).expect("a log").banks().collect();
    let hashed = plan.compute(&banks, &|_| ()).expect("hashed");
    let digests = recording.measurements.iter().map(|measurement| match measurement.content {
        Content::Stream(stream) => hashed.get(stream).cloned(),
        Content::Observed(index) => recording.observed.get(index).cloned(),
        Content::Unknown(_) => None,
    });
    let digests = digests.collect();
    (recording, digests)
}

/// What a register holds; `None` where something in it is not known.
fn value(recording: &Recording, digests: &[Option<DigestSet>], pcr: u8, bank: &str) -> Option<String> {
    let bank = HashAlgorithm::ALL.into_iter().find(|known| known.name() == bank)?;
    let mut value = vec![0; bank.size()];
    for (measurement, digests) in recording.measurements.iter().zip(digests) {
        if measurement.pcr.get() == pcr {
            let mut hasher = Hasher::new(bank);
            hasher.update(&value);
            hasher.update(digests.as_ref()?.get(bank)?.as_bytes());
            value = hasher.finish().as_bytes().to_vec();
        }
    }
    Some(hex::encode(value))
}

/// Replaces one byte of a file of the ESP, where it lies in the image.
fn change(disk: &mut [u8], file: &str) {
    let content = read(disks::esp(CASE).join(file));
    let at = position(disk, &content);
    disk[at] ^= 0x20;
}

/// Where a file begins in the image.
fn position(disk: &[u8], content: &[u8]) -> usize {
    let start = &content[..content.len().min(512)];
    let sector = disk.chunks(512).position(|sector| sector.starts_with(start));
    sector.expect("the file is in the image") * 512
}

#[test]
fn its_own_log_gives_its_registers() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let log = log();
    let chain = chain(read(disks::disk(CASE)), &log);
    let (recording, digests) = boot(&chain, &log, true);
    let observed: Pcrs = read_json(fixture("boots").join(CASE).join("pcrs.json"));
    for bank in BANKS {
        for pcr in [4, 8, 9] {
            let expected = observed[bank][&pcr.to_string()].clone();
            assert_eq!(value(&recording, &digests, pcr, bank), Some(expected), "PCR {pcr} {bank}");
        }
    }
    let assumed = recording.assumptions.iter().find(|assumption| assumption.id == "grub-as-recorded");
    assert!(assumed.is_some_and(|found| found.affects.iter().any(|pcr| pcr.get() == 8)));
}

/// Another initrd: its event is the only one that differs, in PCR 9; PCR 4 and 8 stay.
#[test]
fn another_initrd_is_hashed_anew() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let log = log();
    let mut disk = read(disks::disk(CASE));
    change(&mut disk, "rig/initrd.cpio");
    let (before, old) = boot(&chain(read(disks::disk(CASE)), &log), &log, true);
    let (after, new) = boot(&chain(disk, &log), &log, true);
    let differ: BTreeMap<&str, u8> = before
        .measurements
        .iter()
        .zip(old.iter().zip(&new))
        .filter(|(_, (old, new))| old != new)
        .map(|(measurement, _)| (measurement.description.as_str(), measurement.pcr.get()))
        .collect();
    assert_eq!(differ, BTreeMap::from([("file /rig/initrd.cpio", 9)]));
    assert_eq!(value(&before, &old, 8, "sha256"), value(&after, &new, 8, "sha256"));
}

/// Where the recorded boot may not be this one, nothing is said, and why.
#[test]
fn what_may_go_another_way_is_unknown() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let log = log();
    for (file, secure_boot, reason) in [
        ("EFI/debian/grub.cfg", true, "(hd0,gpt1)/EFI/debian/grub.cfg is another one"),
        ("EFI/BOOT/grubx64.efi", true, "another GRUB, another shim"),
        ("", false, "Secure Boot was in the other state"),
    ] {
        let mut disk = read(disks::disk(CASE));
        match file {
            "" => {}
            // Its time stamp; the signature is not asked for here.
            "EFI/BOOT/grubx64.efi" => {
                let content = read(disks::esp(CASE).join(file));
                let at = position(&disk, &content);
                let header = u32::from_le_bytes(content[0x3C..0x40].try_into().expect("4")) as usize;
                disk[at + header + 8] ^= 1;
            }
            file => change(&mut disk, file),
        }
        let (recording, digests) = boot(&chain(disk, &log), &log, secure_boot);
        for pcr in [4, 8, 9] {
            assert_eq!(value(&recording, &digests, pcr, "sha256"), None, "{file} PCR {pcr}");
        }
        let gap = recording.gaps.iter().find(|gap| gap.pcr.get() == 8).expect("a gap");
        assert!(gap.reason.contains(reason), "{}", gap.reason);
    }
}
