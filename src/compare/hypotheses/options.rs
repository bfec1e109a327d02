//! Somebody edited the command line: words that people add at three in the morning, and words that they take out.

use super::Facts;
use super::deviation::{Deviation, Edit};
use crate::boot::utf16_nul;
use crate::compare::causes::Code;
use crate::compare::changes::command_line_text;
use crate::compare::topic::Topic;
use crate::tcg::{Digest, PcrIndex};

/// Words of the kernel's and systemd's documentation for rescue, debugging and consoles.
pub(super) const WORDS: &[&str] = &[
    "single",
    "s",
    "1",
    "3",
    "5",
    "rescue",
    "emergency",
    "systemd.unit=rescue.target",
    "systemd.unit=emergency.target",
    "systemd.unit=multi-user.target",
    "systemd.unit=graphical.target",
    "systemd.debug_shell",
    "systemd.debug-shell",
    "systemd.debug-shell=1",
    "systemd.debug_shell=1",
    "systemd.log_level=debug",
    "systemd.setenv=SYSTEMD_SULOGIN_FORCE=1",
    "SYSTEMD_SULOGIN_FORCE=1",
    "init=/bin/sh",
    "init=/bin/bash",
    "init=/sysroot/bin/sh",
    "rd.break",
    "rd.break=initqueue",
    "rd.break=pre-mount",
    "rd.debug",
    "rd.shell",
    "rd.systemd.debug_shell",
    "rd.systemd.debug_shell=1",
    "rd.systemd.unit=emergency.target",
    "rd.systemd.unit=rescue.target",
    "debug",
    "verbose",
    "quiet",
    "splash",
    "loglevel=7",
    "loglevel=3",
    "ignore_loglevel",
    "nomodeset",
    "console=tty0",
    "console=ttyS0",
    "console=ttyS0,115200",
    "console=ttyAMA0",
    "console=hvc0",
    "earlyprintk=serial",
    "enforcing=0",
    "selinux=0",
    "apparmor=0",
    "lockdown=none",
    "module.sig_enforce=0",
    "mitigations=off",
    "nokaslr",
    "ro",
    "rw",
    "noresume",
    "panic=0",
    "iommu=off",
    "ima_appraise=off",
];

/// Most words of a command line that are left out one by one.
const MAX_LEFT_OUT: usize = 48;

pub(super) fn deviations(facts: &Facts<'_>) -> Vec<Deviation> {
    let Some((index, text)) = facts
        .of(9)
        .filter(|(_, event)| event.topic == Topic::KernelOptions)
        .find_map(|(index, event)| Some((index, command_line_text(event)?)))
    else {
        return Vec::new();
    };
    let single = edits(text).into_iter();
    let mut all: Vec<Deviation> =
        single.flat_map(|(detail, edited)| edited_boot(facts, index, text, &detail, &edited)).collect();
    let double = double_edits(text).into_iter();
    let double = double.flat_map(|(detail, edited)| edited_boot(facts, index, text, &detail, &edited));
    all.extend(double.map(|deviation| deviation.ranked(1).tried_alone()));
    all
}

/// Edited texts, each with what was done.
pub(super) fn edits(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for word in WORDS {
        all.push((format!("\"{word}\" was added to the command line"), format!("{text} {word}")));
        all.push((format!("\"{word}\" was put before the command line"), format!("{word} {text}")));
        all.push((format!("the command line was replaced with \"{word}\""), (*word).to_owned()));
    }
    let words: Vec<&str> = text.split(' ').collect();
    for (index, word) in words.iter().enumerate().take(MAX_LEFT_OUT) {
        let rest: Vec<&str> =
            words.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, word)| *word).collect();
        all.push((format!("\"{word}\" was taken out of the command line"), rest.join(" ")));
    }
    all
}

/// Two words added, and one added where another was taken out.
fn double_edits(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for word in WORDS {
        for other in WORDS.iter().filter(|other| *other != word) {
            let detail = format!("\"{word} {other}\" was added to the command line");
            all.push((detail, format!("{text} {word} {other}")));
        }
    }
    let words: Vec<&str> = text.split(' ').collect();
    for (index, old) in words.iter().enumerate().take(MAX_LEFT_OUT) {
        let rest: Vec<&str> =
            words.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, word)| *word).collect();
        let rest = rest.join(" ");
        for word in WORDS {
            let detail = format!("\"{old}\" was taken out of the command line, and \"{word}\" added");
            all.push((detail, format!("{rest} {word}")));
        }
    }
    all
}

/// The kernel gets the text (PCR 9). The boot loader and the stub measure it as LoadOptions (PCR 12): the stub alone, both, or
/// in the place of the embedded text that the loader passed before.
fn edited_boot(facts: &Facts<'_>, kernel: usize, old: &str, detail: &str, text: &str) -> Vec<Deviation> {
    let units = |text: &str| -> Vec<u16> { text.encode_utf16().collect() };
    let digest = facts.hash(&utf16_nul(&units(text)));
    let (nine, twelve) = (PcrIndex::new(9), PcrIndex::new(12));
    let base = || {
        let deviation = Deviation::new(Code::Options, detail).one_of_many();
        deviation.with(nine, Edit::Replace(kernel, digest))
    };
    let same = facts.hash(&utf16_nul(&units(old)));
    let passed: Vec<usize> = facts
        .of(12)
        .filter(|(_, event)| event.topic == Topic::Options && event.digests.get(facts.bank) == Some(same))
        .map(|(index, _)| index)
        .collect();
    if !passed.is_empty() {
        let replaced =
            |deviation: Deviation, index: &usize| deviation.with(twelve, Edit::Replace(*index, digest));
        return vec![passed.iter().fold(base(), replaced)];
    }
    let first = facts.of(12).next().map(|(index, _)| index);
    let at_start = |digests: Vec<Digest>| match first {
        Some(first) => Edit::Before(first, digests),
        None => Edit::Append(digests),
    };
    vec![base().with(twelve, at_start(vec![digest])), base().with(twelve, at_start(vec![digest, digest]))]
}
