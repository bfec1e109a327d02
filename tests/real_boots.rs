//! Predictions against real boots: the values that a TPM reported and the log that firmware and kernel kept.
//!
//! Every expected value comes from the guest (`fixtures/boots`), none from this project.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;

use support::boots::{BOOTS, Boot, boot};
use support::document::{EXIT_BOOT_SERVICES, Variant, predict, with_banks};
use support::tcg2::{self, Event, IMAGE_LOAD};
use support::{BANKS, Pcrs, disks, fixture, premeasure, read, say, scratch, skipped_without};

/// What the image determines.
const PCRS: [u32; 5] = [4, 9, 11, 12, 13];
/// Every boot, every bank, every PCR; prints the table and writes it to `target/real-boots.txt`.
#[test]
fn every_boot_equals_its_prediction() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let reports = in_parallel(BOOTS, compare);
    let table = table(&reports);
    say(&table);
    let file = scratch().join("../real-boots.txt");
    std::fs::write(&file, &table).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let faults: Vec<String> = reports.into_iter().flat_map(|report| report.faults).collect();
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
}

/// The two boots whose UKIs lie in the repository as they are: needs no tool at all.
#[test]
fn the_tiny_boots_equal_their_prediction() {
    for case in ["t-tiny-257", "t3-tiny-262"] {
        let report = compare(boot(case));
        assert!(report.faults.is_empty(), "{}", report.faults.join("\n"));
    }
}

/// A stub from 261 on puts a secret of the machine into the initrd: without it PCR 9 is unknown, and says what would settle it.
#[test]
fn pcr_9_is_unknown_without_the_boot_secret() {
    let tiny = boot("t3-tiny-262");
    let printed = predicted_pcrs(tiny.predict());
    for bank in BANKS {
        assert!(!printed[bank].contains_key("9"), "{bank}: {:?}", printed[bank]);
    }
    let variant = predict(tiny.predict());
    let pcr9 = variant.pcr(9);
    assert_eq!(pcr9.status, "unknown");
    assert!(pcr9.values.iter().all(|value| value.digests.is_empty()), "an unknown PCR has no value");
    let remedies: Vec<&str> = pcr9.gaps.iter().map(|gap| gap.remedy.as_str()).collect();
    assert!(remedies.iter().any(|remedy| remedy.contains("--boot-secret")), "{remedies:?}");
}

/// One changed byte of the command line is seen in PCR 4 (the image), 9 (the kernel's command line) and 11 (the section).
#[test]
fn a_flipped_byte_in_cmdline_is_seen() {
    let tiny = boot("t-tiny-257");
    let mut image = read(tiny.uki());
    let cmdline = b"console=ttyS0 quiet rig=257 tiny";
    let at: Vec<usize> =
        image.windows(cmdline.len()).enumerate().filter(|(_, bytes)| bytes == cmdline).map(|x| x.0).collect();
    assert_eq!(at.len(), 1, "the command line occurs once");
    image[at[0]] ^= 0x01;
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let copy = folder.path().join("uki.efi");
    std::fs::write(&copy, image).expect("a copy of the UKI");
    let mut arguments = tiny.predict();
    arguments[1] = copy.into();
    assert_eq!(moved(tiny, arguments), [4, 9, 11]);
}

/// Each part of a boot moves exactly the PCRs that it is measured into, and no other.
#[test]
fn a_missing_or_wrong_input_moves_exactly_its_pcrs() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let wrong = |case: &str, option: &str, value: &str| {
        let mut arguments = boot(case).predict_without(option);
        arguments.extend([option.into(), value.into()]);
        moved(boot(case), arguments)
    };
    let without = |case: &str, option: &str| moved(boot(case), boot(case).predict_without(option));
    assert_eq!(without("c-sdboot-257", "--loader"), [4], "the boot loader is an image");
    assert_eq!(without("e-addons-257", "--addon"), [4, 9, 12], "addons are images and command line");
    assert_eq!(
        without("e-addons-257", "--credential"),
        [9, 12],
        "credentials are measured and in the initrd"
    );
    assert_eq!(
        without("e-addons-257", "--sysext"),
        [9, 13],
        "system extensions are measured and in the initrd"
    );
    assert_eq!(without("e-addons-257", "--confext"), [9, 12], "so are configuration extensions");
    assert_eq!(without("m-smbios-257", "--smbios"), [9, 12], "a command line from SMBIOS type 11");
    assert_eq!(wrong("d2-uki-direct-262", "--boot-secret", &format!("hex:{}", "00".repeat(32))), [9]);
    assert_eq!(wrong("h2-profile2-262", "--profile", "1"), [9, 11, 12]);
    assert_eq!(
        wrong("f-secureboot-257", "--secure-boot", "off"),
        [4],
        "the stub has the inner kernel measured"
    );
}

/// The PCRs of [`PCRS`] in which a prediction differs from what the guest had; all banks have to agree on that.
fn moved(boot: &Boot, arguments: Vec<OsString>) -> Vec<u32> {
    let (predicted, observed) = (predicted_pcrs(arguments), boot.observed_pcrs());
    let differs =
        |bank: &str, pcr: &u32| predicted[bank].get(&pcr.to_string()) != observed[bank].get(&pcr.to_string());
    let by_bank = BANKS.map(|bank| PCRS.into_iter().filter(|pcr| differs(bank, pcr)).collect::<Vec<u32>>());
    assert!(by_bank.iter().all(|pcrs| *pcrs == by_bank[0]), "{}: {by_bank:?}", boot.case);
    by_bank[0].clone()
}

/// A boot beside its prediction.
struct Report {
    case: &'static str,
    /// By bank, a word for each of [`PCRS`].
    verdicts: BTreeMap<&'static str, [&'static str; PCRS.len()]>,
    faults: Vec<String>,
}

fn compare(boot: &Boot) -> Report {
    let mut faults = Vec::new();
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let log = folder.path().join("predicted.bin");
    let mut arguments = boot.predict();
    arguments.extend(["--event-log".into(), log.clone().into_os_string()]);
    let variant = predict(arguments);
    compare_measurements(boot, &variant, &mut faults);
    compare_logs(boot, &tcg2::parse(&read(&log)), &mut faults);
    compare_stage_values(boot, &variant, &mut faults);
    let (predicted, observed) = (predicted_pcrs(boot.predict()), boot.observed_pcrs());
    let verdict = |bank: &str, pcr: u32| match predicted[bank].get(&pcr.to_string()) {
        Some(value) if *value == observed[bank][&pcr.to_string()] => "equal",
        Some(_) => "DIFFERS",
        None if is_unknowable(boot, pcr) => "unknown",
        None => "MISSING",
    };
    let verdicts = BTreeMap::from(BANKS.map(|bank| (bank, PCRS.map(|pcr| verdict(bank, pcr)))));
    for (bank, row) in &verdicts {
        for (pcr, word) in PCRS.iter().zip(row).filter(|(_, word)| word.chars().all(char::is_uppercase)) {
            faults.push(format!("{}: PCR {pcr} {bank}: {word}", boot.case));
        }
    }
    Report { case: boot.case, verdicts, faults }
}

/// The one value that the fixtures don't settle: the guest of `t3` did not report its boot secret.
fn is_unknowable(boot: &Boot, pcr: u32) -> bool {
    boot.case == "t3-tiny-262" && pcr == 9
}

/// The document's measurements, PCR by PCR, against the guest's log: same number, order, type and digests in all banks.
fn compare_measurements(boot: &Boot, variant: &Variant, faults: &mut Vec<String>) {
    let observed = boot.observed_events();
    for pcr in PCRS {
        let predicted = variant.measurements_before_the_initrd(pcr);
        let events: Vec<&Event> = observed.iter().filter(|event| event.pcr == pcr).collect();
        if predicted.len() != events.len() {
            let (ours, theirs) = (predicted.len(), events.len());
            faults.push(format!(
                "{}: PCR {pcr}: {ours} measurements predicted, {theirs} in the log",
                boot.case
            ));
            continue;
        }
        for (number, (ours, theirs)) in predicted.iter().zip(&events).enumerate() {
            let secret = is_unknowable(boot, pcr) && theirs.data.ends_with(b"Linux initrd\0");
            let unknown = secret && ours.digests.is_empty() && ours.event_type == theirs.type_name();
            let equal = ours.event_type == theirs.type_name() && ours.digests == theirs.digests;
            if !unknown && !equal {
                let (kind, digest) = (&ours.event_type, ours.digests.get("sha256"));
                let real = (theirs.type_name(), theirs.digests.get("sha256"));
                faults.push(format!(
                    "{}: PCR {pcr} event {number}: {kind} {digest:?}, not {real:?}",
                    boot.case
                ));
            }
        }
    }
}

/// The predicted log against the guest's: also the event data, where the image determines it.
fn compare_logs(boot: &Boot, predicted: &[Event], faults: &mut Vec<String>) {
    let of_pcr = |events: &[Event], pcr: u32| -> Vec<Event> {
        let without_addresses = |event: &Event| Event {
            data: if event.event_type == IMAGE_LOAD { Vec::new() } else { event.data.clone() },
            ..event.clone()
        };
        events.iter().filter(|event| event.pcr == pcr).map(without_addresses).collect()
    };
    let observed = boot.observed_events();
    for pcr in PCRS.into_iter().filter(|&pcr| !is_unknowable(boot, pcr)) {
        let (ours, theirs) = (of_pcr(predicted, pcr), of_pcr(&observed, pcr));
        if ours != theirs {
            faults.push(format!(
                "{}: PCR {pcr}: predicted log {ours:x?}\n  guest's log {theirs:x?}",
                boot.case
            ));
        }
    }
}

/// The document's values before the initrd starts are those that the guest read.
fn compare_stage_values(boot: &Boot, variant: &Variant, faults: &mut Vec<String>) {
    let observed = boot.observed_pcrs();
    for pcr in PCRS.into_iter().filter(|&pcr| !is_unknowable(boot, pcr)) {
        for bank in BANKS {
            let (ours, theirs) =
                (variant.value(pcr, EXIT_BOOT_SERVICES, bank), &observed[bank][&pcr.to_string()]);
            if ours != Some(theirs.as_str()) {
                faults
                    .push(format!("{}: PCR {pcr} {bank} in the document: {ours:?}, not {theirs}", boot.case));
            }
        }
    }
}

fn predicted_pcrs(arguments: Vec<OsString>) -> Pcrs {
    let mut arguments = with_banks(arguments);
    arguments.extend(["--format".into(), "pcrs".into()]);
    premeasure(&arguments).json()
}

/// `work` for every boot, as many at a time as there are processors.
fn in_parallel(boots: &'static [Boot], work: fn(&Boot) -> Report) -> Vec<Report> {
    disks::esp("c-sdboot-257"); // unpack before the threads start
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = boots.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let workers: Vec<_> = boots
            .chunks(share)
            .map(|boots| scope.spawn(move || boots.iter().map(work).collect::<Vec<Report>>()))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
            .collect()
    })
}

fn table(reports: &[Report]) -> String {
    let mut text = format!("{:<22}{:<8}", "case", "bank");
    let _ = writeln!(text, "{}", PCRS.map(|pcr| format!("{:<9}", format!("PCR {pcr}"))).concat().trim_end());
    for report in reports {
        for (bank, row) in &report.verdicts {
            let words = row.map(|word| format!("{word:<9}")).concat();
            let _ = writeln!(text, "{:<22}{bank:<8}{}", report.case, words.trim_end());
        }
    }
    text
}

/// The whole UKIs in the repository are the files that were booted.
#[test]
fn the_whole_ukis_are_those_that_were_booted() {
    use sha2::Digest as _;
    for case in ["t-tiny-257", "t3-tiny-262"] {
        let record: serde_json::Value = support::read_json(boot(case).record("case.json"));
        let digest = hex::encode(sha2::Sha256::digest(read(fixture(case).join("uki.efi"))));
        assert_eq!(record["esp"][0]["sha256"], digest, "{case}");
    }
}
