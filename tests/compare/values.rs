//! Values alone, without a log: the deviation is found by trying.
//!
//! Each row predicts a case with one thing otherwise than it was (or as another case with the same files was made) and compares
//! that with what the case's TPM held.

use std::ffi::OsString;

use crate::outcome::{Outcome, compare, values};
use crate::support::boots::boot;
use crate::support::{disks, skipped_without};

/// A code, and the registers that it moves.
type Moved = (&'static str, &'static [u32]);

/// One row of the table.
struct Row {
    /// The case that is predicted.
    expected: &'static str,
    /// Options that are left out of its command.
    without: &'static [&'static str],
    /// Options that are added to it; `@CASE/PATH` is a file of a case's ESP.
    with: &'static [&'static str],
    /// The case whose values are there.
    observed: &'static str,
    causes: &'static [Moved],
}

const fn row(
    expected: &'static str,
    without: &'static [&'static str],
    with: &'static [&'static str],
    observed: &'static str,
    causes: &'static [Moved],
) -> Row {
    Row { expected, without, with, observed, causes }
}

const A: &str = "a-uki-direct-252";
const C: &str = "c-sdboot-257";
const D2: &str = "d2-uki-direct-262";
const D3: &str = "d3-sdboot-254";
const E: &str = "e-addons-257";
const F: &str = "f-secureboot-257";
const F4: &str = "f4-setup-mode-257";
const H0: &str = "h0-profile0-257";
const H2: &str = "h2-profile2-262";
const I: &str = "i-pcrsig-ucode-257";
const M: &str = "m-smbios-257";
const T: &str = "t-tiny-257";
const LOADER_257: &str = "@c-sdboot-257/EFI/BOOT/BOOTX64.EFI";
const LOADER_262: &str = "@h2-profile2-262/EFI/BOOT/BOOTX64.EFI";

const ADDON: Moved = ("addon", &[4, 9, 12]);
const CREDENTIAL: Moved = ("credential", &[9, 12]);
const EXTENSION: Moved = ("extension", &[9, 12, 13]);

/// c, e, f4 and m have the same boot loader and UKI; e has addons, credentials and extensions besides, m strings in SMBIOS.
const ROWS: &[Row] = &[
    row(E, &[], &[], C, &[ADDON, CREDENTIAL, EXTENSION]),
    row(E, &[], &[], F4, &[ADDON, CREDENTIAL, EXTENSION]),
    row(E, &["--addon"], &[], C, &[CREDENTIAL, EXTENSION]),
    row(E, &["--credential"], &[], C, &[ADDON, EXTENSION]),
    row(E, &["--sysext", "--confext"], &[], C, &[ADDON, CREDENTIAL]),
    row(E, &["--sysext"], &[], F4, &[ADDON, CREDENTIAL, ("extension", &[9, 12])]),
    row(E, &["--addon", "--credential"], &[], F4, &[EXTENSION]),
    row(E, &["--credential", "--sysext", "--confext"], &[], C, &[ADDON]),
    row(E, &["--addon", "--sysext", "--confext"], &[], C, &[CREDENTIAL]),
    row(E, &["--secure-boot"], &["--secure-boot", "on"], E, &[("secure-boot-state", &[4])]),
    row(M, &[], &[], C, &[("smbios-options", &[9, 12])]),
    row(M, &[], &[], F4, &[("smbios-options", &[9, 12])]),
    row(H0, &[], &["--profile", "1"], H0, &[("other-profile", &[9, 11, 12])]),
    row(H0, &[], &["--profile", "2"], H0, &[("other-profile", &[9, 11, 12])]),
    row(H2, &["--profile"], &[], H2, &[("other-profile", &[9, 11, 12])]),
    row(H2, &["--profile"], &["--profile", "1"], H2, &[("other-profile", &[9, 11, 12])]),
    row(F, &["--secure-boot"], &["--secure-boot", "off"], F, &[("secure-boot-state", &[4])]),
    row(C, &["--secure-boot"], &["--secure-boot", "on"], C, &[("secure-boot-state", &[4])]),
    row(C, &["--secure-boot"], &["--secure-boot", "on"], F4, &[("secure-boot-state", &[4])]),
    row(I, &["--secure-boot"], &["--secure-boot", "on"], I, &[("secure-boot-state", &[4])]),
    // Under Secure Boot the stub refuses the options that the boot loader of 254 passes, and does not measure them.
    row(D3, &["--secure-boot"], &["--secure-boot", "on"], D3, &[("secure-boot-state", &[4, 12])]),
    row(T, &["--secure-boot"], &["--secure-boot", "on"], T, &[("secure-boot-state", &[4])]),
    row(A, &[], &["--loader", LOADER_257], A, &[("boot-loader-changed", &[4])]),
    row(T, &[], &["--loader", LOADER_257], T, &[("boot-loader-changed", &[4])]),
    row(D2, &[], &["--loader", LOADER_262], D2, &[("boot-loader-changed", &[4])]),
    row(C, &[], &["--cmdline", "quiet single"], C, &[("options-edited", &[9, 12])]),
    row(T, &[], &["--cmdline", "debug"], T, &[("options-edited", &[9, 12])]),
    row(C, &[], &["--kernel-version", "5.10"], C, &[("kernel-changed", &[9])]),
    // 252 measures neither .uname nor .sbat, and puts less into the initrd.
    row(C, &[], &["--systemd-version", "252.1"], C, &[("stub-changed", &[9, 11])]),
    row(
        H0,
        &["--secure-boot"],
        &["--secure-boot", "on", "--profile", "1"],
        H0,
        &[("secure-boot-state", &[4]), ("other-profile", &[9, 11, 12])],
    ),
];

impl Row {
    fn arguments(&self) -> Vec<OsString> {
        let boot = boot(self.expected);
        let mut arguments: Vec<OsString> = Vec::new();
        let mut all = boot.predict().into_iter();
        while let Some(argument) = all.next() {
            if self.without.iter().any(|option| argument == *option) {
                all.next();
            } else {
                arguments.push(argument);
            }
        }
        for argument in self.with {
            let path = argument.strip_prefix('@').and_then(|path| path.split_once('/'));
            arguments.push(
                path.map_or_else(|| argument.into(), |(case, path)| disks::esp(case).join(path).into()),
            );
        }
        // The image is the first argument behind the command.
        arguments.remove(0);
        arguments.insert(1, boot_values(self.observed));
        arguments
    }
}

fn boot_values(case: &str) -> OsString {
    boot(case).record("pcrs.json").into()
}

#[test]
fn values_alone_name_the_deviation() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let mut faults = Vec::new();
    for row in ROWS {
        let outcome = compare(row.arguments());
        let wanted: Vec<(&str, Vec<u32>)> =
            row.causes.iter().map(|(code, pcrs)| (*code, pcrs.to_vec())).collect();
        let found: Vec<(&str, Vec<u32>)> =
            row.causes.iter().map(|(code, _)| (*code, outcome.moved_by(code))).collect();
        let others: Vec<&str> = outcome
            .codes()
            .into_iter()
            .filter(|code| !row.causes.iter().any(|(wanted, _)| wanted == code))
            .collect();
        if wanted != found || !others.is_empty() || !outcome.unexplained.is_empty() {
            faults.push(format!(
                "{} {:?} without {:?} -> {}: expected {wanted:?}, found {:?}, not explained {:?}",
                row.expected, row.with, row.without, row.observed, outcome.causes, outcome.unexplained
            ));
        }
    }
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), ROWS.len(), faults.join("\n"));
}

/// The machine's TPM holds what a boot with edited options leads to; the expected document knows nothing of them.
#[test]
fn a_word_added_at_the_boot_menu_is_named() {
    let tiny = boot("t-tiny-257");
    let mut edited = tiny.predict();
    edited.extend(["--cmdline".into(), "console=ttyS0 quiet rig=257 tiny init=/bin/sh".into()]);
    let observed = values("edited", edited);
    let document = crate::outcome::document("unedited", tiny.predict());
    let outcome = compare([document, observed]);
    assert_eq!(outcome.moved_by("options-edited"), [9, 12], "{:?}", outcome.causes);
    assert!(outcome.detail("options-edited").contains("init=/bin/sh"), "{:?}", outcome.causes);
}

/// Values of another image are of nothing that could be tried.
#[test]
fn what_nothing_explains_is_said_plainly() {
    let document = crate::outcome::document("t-unexplained", boot("t-tiny-257").predict());
    let outcome = compare([document, boot("t3-tiny-262").record("pcrs.json")]);
    assert_eq!(outcome.unexplained, [4, 9, 11], "{:?}", outcome.causes);
    assert_eq!(outcome.with_verdict("differs"), [4, 9, 11]);
    assert!(outcome.causes.is_empty(), "{:?}", outcome.causes);
}

#[test]
fn a_later_stage_is_no_difference_unless_one_stage_is_asked_for() {
    let tiny = boot("t-tiny-257");
    let mut arguments = tiny.predict();
    arguments.extend(["--stage".into(), "ready".into()]);
    let observed = values("ready", arguments);
    let document = crate::outcome::document("t-stages", tiny.predict());
    let outcome = compare([&document, &observed]);
    assert!(outcome.equal);
    let eleven = outcome.pcrs.iter().find(|pcr| pcr.index == 11).expect("PCR 11");
    assert_eq!((eleven.verdict.as_str(), eleven.later_stage.as_deref()), ("extended-later", Some("ready")));
    let fixed = compare([document.as_os_str(), observed.as_os_str(), "--stage".as_ref(), "sysinit".as_ref()]);
    assert!(!fixed.equal);
    assert_eq!(fixed.moved_by("other-phase"), [11], "{:?}", fixed.causes);
    assert!(fixed.detail("other-phase").contains("ready"), "{:?}", fixed.causes);
}

/// A boot that runs systemd: the firmware's log, systemd's own, and the TPM's values in user space.
#[test]
fn phases_of_a_real_boot_come_later_than_the_log() {
    let record = |path: &str| crate::support::fixture("boots/k-mkosi-trixie").join(path);
    let (log, pcrs) = (record("eventlog.bin"), record("pcrs.json"));
    let outcome: Outcome = compare([&log, &pcrs]);
    let eleven = outcome.pcrs.iter().find(|pcr| pcr.index == 11).expect("PCR 11");
    assert_eq!(eleven.later_words, ["enter-initrd", "leave-initrd", "sysinit", "ready"]);
    assert!(outcome.equal, "{:?}", outcome.with_verdict("differs"));
    let with_systemd = compare([&log, &log, &record("guest/tpm2-measure.log"), &pcrs]);
    assert!(with_systemd.equal);
}

/// Where there is an image, a wrong document is not needed: it is predicted with the options of predict.
#[test]
fn an_image_is_predicted_with_the_options_of_predict() {
    let tiny = boot("t-tiny-257");
    let mut arguments = tiny.predict();
    arguments.remove(0);
    arguments.insert(1, boot_values("t-tiny-257"));
    let outcome: Outcome = compare(arguments);
    assert!(outcome.equal);
    assert_eq!(outcome.with_verdict("match"), [4, 8, 9, 11, 12, 13, 14, 15]);
}

fn user_space(path: &str) -> std::path::PathBuf {
    crate::support::fixture("userspace/mkosi-sid-262").join(path)
}

/// A boot of systemd 262: its separators come behind the firmware's log, and its phases.
#[test]
fn separators_of_a_real_boot_come_later_than_the_log() {
    let (log, pcrs) = (user_space("eventlog.bin"), user_space("pcrs.json"));
    let outcome: Outcome = compare([&log, &pcrs]);
    assert!(outcome.equal, "{:?}", outcome.with_verdict("differs"));
    let words =
        |index: u32| outcome.pcrs.iter().find(|pcr| pcr.index == index).map(|pcr| &pcr.later_words[..]);
    for index in (0..8).chain(12..15) {
        assert_eq!(words(index), Some(&["os-separator".to_owned()][..]), "PCR {index}");
    }
    assert_eq!(words(9), Some(&["os-separator".to_owned(), "nvpcr-separator".to_owned()][..]));
    let with_systemd = compare([&log, &log, &user_space("tpm2-measure.log"), &pcrs]);
    assert!(with_systemd.equal);
}

/// The same values where none of that is expected: nothing later counts with a stage.
#[test]
fn the_barrier_of_a_real_boot_is_named() {
    let (log, pcrs) = (user_space("eventlog.bin"), user_space("pcrs.json"));
    let outcome: Outcome = compare([log.as_os_str(), pcrs.as_os_str(), "--stage".as_ref(), "ready".as_ref()]);
    assert!(!outcome.equal);
    assert_eq!(outcome.moved_by("userspace-barrier"), [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14]);
    assert_eq!(outcome.moved_by("other-phase"), [11], "{:?}", outcome.causes);
    assert!(outcome.unexplained.is_empty(), "{:?}", outcome.unexplained);
}

/// Another entry of the boot menu: the image on the disk says what it would have led to.
#[test]
fn another_entry_of_the_menu_is_named() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let disk = disks::disk(H2);
    let other = ["--entry", "rig-262.efi"].map(OsString::from);
    let mut arguments: Vec<OsString> = vec!["predict".into(), disk.clone().into()];
    arguments.extend(["--secure-boot".into(), "off".into(), "--boot-secret".into(), "none".into()]);
    arguments.extend(["--exit-boot-services".into(), "success".into()]);
    let observed = values("entry", [arguments.clone(), other.to_vec()].concat());
    let rest = arguments.split_off(2);
    let outcome = compare([vec![disk.into(), observed.into()], rest].concat());
    assert!(!outcome.equal);
    assert_eq!(outcome.unexplained, [0; 0], "{:?}", outcome.causes);
    let codes = outcome.codes();
    assert!(
        codes.iter().all(|code| matches!(*code, "other-entry" | "other-profile")),
        "{:?}",
        outcome.causes
    );
}

/// An image without addons, credentials and extensions, of other sections: what PCR 12 and 13 hold takes all three away.
#[test]
fn a_cause_names_everything_that_it_takes() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let observed = boot(H0).record("pcrs.json");
    let baseline = boot(E).record("eventlog.bin");
    let disk = disks::disk(E);
    let outcome =
        compare([disk.as_os_str(), observed.as_os_str(), "--baseline".as_ref(), baseline.as_os_str()]);
    assert_eq!(outcome.moved_by("addon"), [12], "{:?}", outcome.causes);
    assert_eq!(outcome.moved_by("credential"), [12], "{:?}", outcome.causes);
    assert_eq!(outcome.moved_by("extension"), [12, 13], "{:?}", outcome.causes);
    assert_eq!(outcome.unexplained, [4, 9, 11], "{:?}", outcome.causes);
    // All three would move PCR 9, too, of which nothing explains the value.
    assert!(outcome.causes.iter().all(|cause| !cause.explains_exactly), "{:?}", outcome.causes);
}

/// c's disk against a machine with another boot loader and a Type #1 entry: its PCR 5 is what it would be without a boot loader,
/// which is a coincidence.
#[test]
fn a_coincidence_is_no_explanation() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let record = |path: &str| crate::support::fixture("boots/g2-type1-252").join(path);
    let arguments = [disks::disk(C), record("pcrs.json"), "--variables".into(), disks::variables(C)];
    let outcome = compare(&arguments);
    let loader = outcome.causes.iter().filter(|cause| cause.code == "boot-loader-changed");
    assert!(loader.clone().all(|cause| !cause.explains_exactly), "{:?}", outcome.causes);
    assert!(loader.count() <= 1 && outcome.unexplained.contains(&4), "{:?}", outcome.causes);
}

/// systemd-boot 254 passes the embedded command line on and so has it measured; 257 does not.
#[test]
fn options_that_a_boot_loader_passes_are_put_down_to_it() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let document = crate::outcome::document("d3-loader", boot(D3).predict());
    let outcome = compare([document, boot_values(C).into()]);
    assert!(!outcome.codes().contains("options-edited"), "{:?}", outcome.causes);
    assert!(outcome.moved_by("boot-loader-changed").contains(&12), "{:?}", outcome.causes);
}

/// Two words at once, one instead of another, and one in front.
#[test]
fn edits_of_two_words_are_named() {
    let tiny = boot("t-tiny-257");
    let document = crate::outcome::document("t-words", tiny.predict());
    let texts = [
        ("two", "console=ttyS0 quiet rig=257 tiny rd.break debug"),
        ("replaced", "console=ttyS0 rig=257 tiny single"),
        ("front", "single console=ttyS0 quiet rig=257 tiny"),
    ];
    for (name, text) in texts {
        let mut edited = tiny.predict();
        edited.extend(["--cmdline".into(), text.into()]);
        let outcome = compare([&document, &values(name, edited)]);
        assert_eq!(outcome.moved_by("options-edited"), [9, 12], "{name}: {:?}", outcome.causes);
        assert!(outcome.causes.iter().all(|cause| cause.explains_exactly), "{:?}", outcome.causes);
    }
}

/// Values without anything that could be judged are not equal.
#[test]
fn nothing_in_common_is_an_error() {
    let document = crate::outcome::document("t-nothing", boot("t-tiny-257").predict());
    let observed = boot(C).record("eventlog.bin");
    for pcrs in ["0,1,2,3,10", "0"] {
        let run = crate::support::premeasure([
            "compare".as_ref(),
            document.as_os_str(),
            observed.as_os_str(),
            "--pcr".as_ref(),
            pcrs.as_ref(),
        ]);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains("nothing to compare"), "{}", run.stderr);
    }
}
