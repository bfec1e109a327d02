//! Each case's prediction against each other case's log and TPM: every pair's explanation names what was made otherwise.
//!
//! The facts are those of the cases' descriptions (`fixtures/boots/*/case.json` and the table in `fixtures/README.md`): which
//! kernel, initrd, command line, boot loader and so on each of them was made with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::outcome::{compare, document};
use crate::support::boots::boot;
use crate::support::{disks, skipped_without};

/// What a case was made with.
struct Facts {
    case: &'static str,
    /// The UKI as a file.
    image: &'static str,
    kernel: &'static str,
    initrd: &'static str,
    /// `.cmdline` of the chosen profile.
    command_line: &'static str,
    loader: Option<&'static str>,
    secure_boot: bool,
    profile: u32,
    addons: bool,
    smbios: bool,
}

const C: Facts = Facts {
    case: "c-sdboot-257",
    image: "c",
    kernel: "6.12.117",
    initrd: "257",
    command_line: "console=ttyS0 quiet panic=-1 rig=257",
    loader: Some("257.13"),
    secure_boot: false,
    profile: 0,
    addons: false,
    smbios: false,
};

const CASES: &[Facts] = &[
    Facts {
        case: "a-uki-direct-252",
        image: "a",
        kernel: "6.1.192",
        initrd: "252",
        command_line: "console=ttyS0 quiet panic=-1 rig=252",
        loader: None,
        ..C
    },
    C,
    Facts {
        case: "d2-uki-direct-262",
        image: "d2",
        kernel: "7.2.13",
        initrd: "262",
        command_line: "console=ttyS0 quiet panic=-1 rig=262",
        loader: None,
        ..C
    },
    Facts {
        case: "d3-sdboot-254",
        image: "d3",
        kernel: "6.1.192",
        initrd: "252",
        command_line: "console=ttyS0 quiet panic=-1 rig=254",
        loader: Some("254.26"),
        ..C
    },
    Facts { case: "e-addons-257", addons: true, ..C },
    // The inner kernel is signed: another file.
    Facts { case: "f-secureboot-257", image: "f", kernel: "6.12.117 signed", secure_boot: true, ..C },
    Facts { case: "f4-setup-mode-257", ..C },
    Facts { case: "h0-profile0-257", image: "h0", ..C },
    Facts {
        case: "h2-profile2-262",
        image: "h2",
        kernel: "7.2.13",
        initrd: "262",
        command_line: "console=ttyS0 quiet panic=-1 rig_profile=debug",
        loader: Some("262.1"),
        profile: 2,
        ..C
    },
    Facts { case: "i-pcrsig-ucode-257", image: "i", ..C },
    Facts { case: "m-smbios-257", smbios: true, ..C },
    Facts {
        case: "t-tiny-257",
        image: "t",
        kernel: "tiny",
        initrd: "tiny",
        command_line: "console=ttyS0 quiet rig=257 tiny",
        loader: None,
        ..C
    },
    Facts {
        case: "t3-tiny-262",
        image: "t3",
        kernel: "tiny",
        initrd: "tiny",
        command_line: "console=ttyS0 quiet rig=262 tiny",
        loader: None,
        ..C
    },
];

/// Codes that the facts decide. Others (sections, the stub) depend on more than the facts say.
const DECIDED: [&str; 11] = [
    "uki-changed",
    "kernel-changed",
    "initrd-changed",
    "command-line-changed",
    "boot-loader-changed",
    "other-profile",
    "addon",
    "credential",
    "extension",
    "smbios-options",
    "secure-boot-state",
];

impl Facts {
    /// Stubs from 262 on start their kernel without the firmware, as others do under Secure Boot.
    fn firmware_measures_kernel(&self) -> bool {
        !self.secure_boot && !matches!(self.image, "d2" | "h2" | "t3")
    }

    /// Codes that a boot of `other` has to be explained with when this one is expected.
    fn codes(&self, other: &Self) -> BTreeSet<&'static str> {
        // A state of Secure Boot shows in PCR 4 where one boot measures its kernel because of it; PCR 7 is not predicted here.
        let state_shows = self.secure_boot != other.secure_boot
            && self.firmware_measures_kernel() != other.firmware_measures_kernel();
        let differs = [
            ("uki-changed", self.image != other.image),
            ("kernel-changed", self.kernel != other.kernel),
            ("initrd-changed", self.initrd != other.initrd),
            ("command-line-changed", self.command_line != other.command_line),
            ("boot-loader-changed", self.loader != other.loader),
            ("other-profile", self.profile != other.profile),
            ("addon", self.addons != other.addons),
            // The case with addons has credentials and extensions too.
            ("credential", self.addons != other.addons),
            ("extension", self.addons != other.addons),
            ("smbios-options", self.smbios != other.smbios),
            ("secure-boot-state", state_shows),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(code, _)| code).collect()
    }
}

#[test]
fn every_pair_is_explained_by_what_was_made_otherwise() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let documents: BTreeMap<&str, PathBuf> =
        CASES.iter().map(|facts| (facts.case, document(facts.case, boot(facts.case).predict()))).collect();
    let pairs: Vec<(&Facts, &Facts)> =
        CASES.iter().flat_map(|one| CASES.iter().map(move |other| (one, other))).collect();
    assert!(pairs.len() > 160, "every case with every other");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let documents = &documents;
    let faults: Vec<String> = std::thread::scope(|scope| {
        let chunks = pairs.chunks(pairs.len().div_ceil(threads));
        let workers: Vec<_> = chunks
            .map(|chunk| {
                scope.spawn(move || {
                    let faults =
                        chunk.iter().filter_map(|(one, other)| fault(&documents[one.case], one, other));
                    faults.collect::<Vec<String>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert!(faults.is_empty(), "{} of {} pairs:\n{}", faults.len(), pairs.len(), faults.join("\n"));
}

/// What is wrong with the explanation of one pair.
fn fault(document: &PathBuf, one: &Facts, other: &Facts) -> Option<String> {
    let observed = boot(other.case);
    let outcome = compare([document, &observed.record("eventlog.bin"), &observed.record("pcrs.json")]);
    let found: BTreeSet<&str> = outcome.codes().into_iter().filter(|code| DECIDED.contains(code)).collect();
    let wanted = one.codes(other);
    let same_boot = wanted.is_empty();
    let exact = outcome.causes.iter().all(|cause| cause.explains_exactly);
    let fine = found == wanted && outcome.equal == same_boot && outcome.unexplained.is_empty() && exact;
    (!fine).then(|| {
        format!(
            "{} -> {}: expected {wanted:?}, found {found:?}, not explained {:?}",
            one.case, other.case, outcome.unexplained
        )
    })
}

/// Where two boots part is the first image that is another one.
#[test]
fn the_first_divergence_is_the_first_in_the_order_of_the_boot() {
    let document = document("t-first", boot("t-tiny-257").predict());
    let other = boot("t3-tiny-262");
    let outcome = compare([document, other.record("eventlog.bin")]);
    let first = outcome.first_divergence.expect("they differ");
    assert_eq!((first.pcr, first.status.as_str()), (4, "changed"));
}

/// The kernel's command line is a digest in the log; of the machine's SMBIOS the stub logs the text that it added to it.
#[test]
fn a_command_line_is_shown_word_by_word() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let document = document("c-words", boot("c-sdboot-257").predict());
    let outcome = compare([document, boot("m-smbios-257").record("eventlog.bin")]);
    let rows = outcome.events.iter().filter(|row| row.pcr == 9 && row.status == "changed");
    let change = rows.flat_map(|row| &row.changes).find(|change| change.field == "LoadOptions");
    let change = change.expect("the command line");
    assert_eq!(change.expected.as_deref(), Some("console=ttyS0 quiet panic=-1 rig=257"));
    // What the guest's own /proc/cmdline said.
    assert_eq!(change.observed.as_deref(), Some("console=ttyS0 quiet panic=-1 rig=257 smbios_stub=1"));
    let added: Vec<&str> =
        change.words.iter().filter(|word| word.change == "added").map(|word| word.text.as_str()).collect();
    assert_eq!(added, ["smbios_stub=1"]);
}

/// Each disk with the variables that its machine had, and its own boot: nothing differs, the partition table and PCR 7 included.
#[test]
fn every_disk_matches_its_own_boot() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let others = ["g2-type1-252", "j-shim-grub-bookworm"];
    for case in CASES.iter().map(|facts| facts.case).chain(others) {
        let record = |path: &str| crate::support::fixture("boots").join(case).join(path);
        let mut arguments = vec![
            disks::disk(case),
            record("eventlog.bin"),
            record("pcrs.json"),
            "--variables".into(),
            disks::variables(case),
        ];
        if case == "m-smbios-257" {
            arguments.extend(["--smbios".into(), record("guest/dmi/DMI")]);
        }
        let outcome = compare(&arguments);
        assert!(outcome.equal, "{case}: {:?}", outcome.causes);
        let matching = outcome.with_verdict("match");
        assert!(matching.contains(&5) && matching.contains(&7), "{case}: {matching:?}");
    }
}

/// The firmware of f with its keys taken out is that of f4: PCR 7 says so, whatever else differs.
#[test]
fn missing_keys_are_named() {
    if skipped_without(&disks::TOOLS) {
        return;
    }
    let (disk, variables) = (disks::disk("f-secureboot-257"), disks::variables("f-secureboot-257"));
    let observed = boot("f4-setup-mode-257").record("pcrs.json");
    let outcome = compare([&disk, &observed, &"--variables".into(), &variables]);
    assert_eq!(outcome.moved_by("secure-boot-keys"), [7], "{:?}", outcome.causes);
}
