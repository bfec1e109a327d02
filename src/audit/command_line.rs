//! Command lines: the hashes that they promise, and words that undo the protection.

use super::{Finding, Severity};
use crate::boot::BootChain;
use crate::uki::{MAX_TEXT, SectionLookup, SectionSet};
use crate::walk::Boot;

/// A root hash that a command line promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedHash {
    /// The entry whose command line it is.
    pub(super) place: String,
    /// It is `/usr`'s (`usrhash=`).
    pub(super) is_usr: bool,
    pub(super) hash: Vec<u8>,
}

/// Words that undo the protection: the word or its beginning, how bad it is, and why.
const DANGEROUS: &[(&str, Severity, &str)] = &[
    ("systemd.verity=", Severity::Error, "switches dm-verity off"),
    ("rd.systemd.verity=", Severity::Error, "switches dm-verity off"),
    ("init=", Severity::Warning, "starts another program than systemd on the host"),
    ("rdinit=", Severity::Warning, "starts another program than systemd in the initrd"),
    ("rd.shell", Severity::Warning, "gives a shell when the initrd fails"),
    ("rd.break", Severity::Error, "gives a shell in the initrd"),
    ("systemd.debug_shell", Severity::Error, "gives a root shell without a password"),
    ("systemd.debug-shell", Severity::Error, "gives a root shell without a password"),
    ("rd.systemd.debug_shell", Severity::Error, "gives a root shell without a password"),
    ("systemd.unit=emergency.target", Severity::Warning, "boots into an emergency shell"),
    ("systemd.unit=rescue.target", Severity::Warning, "boots into a rescue shell"),
    ("emergency", Severity::Warning, "boots into an emergency shell"),
    ("single", Severity::Warning, "boots into a rescue shell"),
    ("SYSTEMD_SULOGIN_FORCE=1", Severity::Error, "gives emergency shells without a password"),
    ("systemd.setenv=SYSTEMD_SULOGIN_FORCE=1", Severity::Error, "gives emergency shells without a password"),
    ("enforcing=0", Severity::Warning, "switches SELinux to permissive"),
    ("selinux=0", Severity::Warning, "switches SELinux off"),
    ("apparmor=0", Severity::Warning, "switches AppArmor off"),
    ("lockdown=none", Severity::Warning, "switches the kernel's lockdown off"),
    ("module.sig_enforce=0", Severity::Warning, "lets unsigned kernel modules in"),
    ("ima_appraise=off", Severity::Warning, "switches IMA appraisal off"),
    ("iommu=off", Severity::Warning, "lets devices read all memory"),
];

/// Words whose value decides: they only matter when it says no, or names what is dangerous.
fn is_harmless(word: &str) -> bool {
    let Some((key, value)) = word.split_once('=') else { return false };
    let no = matches!(value, "0" | "no" | "n" | "false" | "f" | "off");
    match key {
        "systemd.verity" | "rd.systemd.verity" => !no,
        "systemd.debug_shell"
        | "systemd.debug-shell"
        | "rd.systemd.debug_shell"
        | "rd.shell"
        | "rd.break" => no,
        "init" => matches!(value, "/sbin/init" | "/lib/systemd/systemd" | "/usr/lib/systemd/systemd"),
        _ => false,
    }
}

/// Checks the command line of a boot, and gives the hashes that it promises.
pub(super) fn check(boot: &Boot, chain: &BootChain, findings: &mut Vec<Finding>) -> Vec<WantedHash> {
    let text = match command_line(boot, chain) {
        Ok(text) => text,
        Err(problem) => {
            findings.push(Finding::new(Severity::Error, "command-line-unreadable", &boot.id, problem));
            return Vec::new();
        }
    };
    let words = words(&text);
    for word in &words {
        for (start, severity, why) in DANGEROUS {
            let hit = word == start
                || (start.ends_with('=') && word.starts_with(start))
                || word.strip_prefix(start).is_some_and(|rest| rest.starts_with('='));
            if hit && !is_harmless(word) {
                findings.push(Finding::new(
                    *severity,
                    "command-line-word",
                    &boot.id,
                    format!("'{word}' {why}"),
                ));
            }
        }
        if word.starts_with("systemd.verity_") && word.contains("ignore-corruption") {
            let text = format!("'{word}' lets damaged data through");
            findings.push(Finding::new(Severity::Error, "command-line-word", &boot.id, text));
        }
    }
    let mut wanted = Vec::new();
    for (key, is_usr) in [("roothash=", false), ("usrhash=", true)] {
        for value in words.iter().filter_map(|word| word.strip_prefix(key)) {
            match hex::decode(value) {
                Ok(hash) if !hash.is_empty() => {
                    wanted.push(WantedHash { place: boot.id.clone(), is_usr, hash });
                }
                _ => {
                    let text = format!("{key}{value} is no hexadecimal hash");
                    findings.push(Finding::new(Severity::Error, "verity-hash-malformed", &boot.id, text));
                }
            }
        }
    }
    if wanted.is_empty()
        && !words.iter().any(|word| word.starts_with("roothash=") || word.starts_with("usrhash="))
    {
        let text = "the command line has neither roothash= nor usrhash=: no dm-verity protects what the kernel mounts";
        findings.push(Finding::new(Severity::Note, "no-verity", &boot.id, text));
    }
    wanted
}

/// The command line that the boot would use: the entry's options, or the UKI's with those of its addons.
fn command_line(boot: &Boot, chain: &BootChain) -> Result<String, String> {
    let section = |image: &crate::pe::PeImage, profile: u32| -> Result<Option<String>, String> {
        let sections = SectionSet::with_profile(image, SectionLookup::FirstExact, profile)
            .map_err(|error| error.to_string())?;
        let section = sections.get(".cmdline").map_err(|error| error.to_string())?;
        section.map(|section| section.read_text(MAX_TEXT)).transpose().map_err(|error| error.to_string())
    };
    let mut parts = Vec::new();
    match chain.entry.as_ref().and_then(|entry| entry.options.clone()) {
        Some(options) => parts.push(options),
        None => parts.extend(section(&chain.uki.image, boot.profile)?),
    }
    for (_, addon) in &chain.addons {
        parts.extend(section(&addon.image, 0)?);
    }
    Ok(parts.join(" "))
}

/// The words of a command line; quotes keep blanks together, as for the kernel.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            blank if blank.is_whitespace() && !quoted => words.push(String::new()),
            other => {
                if let Some(word) = words.last_mut() {
                    word.push(other);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_dangerous_by_its_value() {
        for harmless in ["systemd.verity=1", "init=/sbin/init", "rd.shell=0", "systemd.debug_shell=no"] {
            assert!(is_harmless(harmless), "{harmless}");
        }
        for bad in
            ["systemd.verity=0", "rd.systemd.verity=no", "init=/bin/sh", "rd.shell", "systemd.debug_shell"]
        {
            assert!(!is_harmless(bad), "{bad}");
        }
        assert_eq!(words("a  \"b c\" d=\"e f\""), ["a", "b c", "d=e f"]);
    }
}
