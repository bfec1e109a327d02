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

/// Which values of a parameter undo the protection.
enum When {
    /// Without a value, or with one that does not say no.
    Unless0,
    /// With a value that says no.
    No,
    /// With a value that says yes.
    Yes,
    /// As a word without a value.
    Bare,
    /// With any value.
    Any,
    /// With any value but these.
    Not(&'static [&'static str]),
    /// With these values.
    Is(&'static [&'static str]),
}

/// Units that give a shell, with `.target` or `.service` behind them or not.
const SHELL_UNITS: When = When::Is(&["emergency", "rescue", "debug-shell", "runlevel1", "single"]);

const NO_VERITY: &str = "switches dm-verity off";
const ROOT_SHELL: &str = "gives a root shell without a password";
const OWN_DEVICE: &str = "names a device by itself, whatever partition the root hash stands for";

/// Words that undo the protection: the key, with `-` for `_`, which systemd takes for the same; when; how bad it is; and why
/// (kernel-command-line(7), systemd-debug-generator(8), systemd-run-generator(8), systemd-veritysetup-generator(8),
/// dracut.cmdline(7), the kernel's admin-guide/kernel-parameters).
const DANGEROUS: &[(&str, When, Severity, &str)] = &[
    ("systemd.verity", When::No, Severity::Error, NO_VERITY),
    ("rd.systemd.verity", When::No, Severity::Error, NO_VERITY),
    ("systemd.verity-root-data", When::Any, Severity::Warning, OWN_DEVICE),
    ("systemd.verity-root-hash", When::Any, Severity::Warning, OWN_DEVICE),
    ("systemd.verity-usr-data", When::Any, Severity::Warning, OWN_DEVICE),
    ("systemd.verity-usr-hash", When::Any, Severity::Warning, OWN_DEVICE),
    (
        "init",
        When::Not(&["/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd"]),
        Severity::Warning,
        "starts another program than systemd on the host",
    ),
    ("rdinit", When::Any, Severity::Warning, "starts another program than systemd in the initrd"),
    ("rd.shell", When::Unless0, Severity::Warning, "gives a shell when the initrd fails"),
    ("rd.break", When::Unless0, Severity::Error, "gives a shell in the initrd"),
    ("systemd.debug-shell", When::Unless0, Severity::Error, ROOT_SHELL),
    ("rd.systemd.debug-shell", When::Unless0, Severity::Error, ROOT_SHELL),
    ("systemd.unit", SHELL_UNITS, Severity::Warning, "boots into a shell"),
    ("rd.systemd.unit", SHELL_UNITS, Severity::Warning, "boots into a shell in the initrd"),
    ("systemd.wants", SHELL_UNITS, Severity::Error, "starts a shell"),
    ("rd.systemd.wants", SHELL_UNITS, Severity::Error, "starts a shell in the initrd"),
    ("systemd.run", When::Any, Severity::Warning, "runs a command as root"),
    ("emergency", When::Bare, Severity::Warning, "boots into an emergency shell"),
    ("-b", When::Bare, Severity::Warning, "boots into an emergency shell"),
    ("rd.emergency", When::Bare, Severity::Warning, "boots into an emergency shell in the initrd"),
    ("rescue", When::Bare, Severity::Warning, "boots into a rescue shell"),
    ("rd.rescue", When::Bare, Severity::Warning, "boots into a rescue shell in the initrd"),
    ("single", When::Bare, Severity::Warning, "boots into a rescue shell"),
    ("s", When::Bare, Severity::Warning, "boots into a rescue shell"),
    ("S", When::Bare, Severity::Warning, "boots into a rescue shell"),
    ("1", When::Bare, Severity::Warning, "boots into a rescue shell"),
    ("SYSTEMD-SULOGIN-FORCE", When::Yes, Severity::Error, "gives emergency shells without a password"),
    ("enforcing", When::Is(&["0"]), Severity::Warning, "switches SELinux to permissive"),
    ("selinux", When::Is(&["0"]), Severity::Warning, "switches SELinux off"),
    ("apparmor", When::Is(&["0"]), Severity::Warning, "switches AppArmor off"),
    ("lockdown", When::Is(&["none"]), Severity::Warning, "switches the kernel's lockdown off"),
    ("module.sig-enforce", When::No, Severity::Warning, "lets unsigned kernel modules in"),
    ("ima-appraise", When::Is(&["off", "fix", "log"]), Severity::Warning, "switches IMA appraisal off"),
    ("iommu", When::Is(&["off"]), Severity::Warning, "lets devices read all memory"),
    ("intel-iommu", When::Is(&["off"]), Severity::Warning, "lets devices read all memory"),
    ("amd-iommu", When::Is(&["off"]), Severity::Warning, "lets devices read all memory"),
    ("veritytab", When::No, Severity::Error, NO_VERITY),
    ("rd.veritytab", When::No, Severity::Error, NO_VERITY),
    ("module-blacklist", When::Is(&["dm_verity", "dm-verity"]), Severity::Warning, NO_VERITY),
    (
        "overlayroot",
        When::Not(&["", "disabled"]),
        Severity::Warning,
        "lays a writable file system over the root",
    ),
    ("systemd.crash-shell", When::Unless0, Severity::Warning, "gives a shell when systemd crashes"),
    ("rd.systemd.run", When::Any, Severity::Warning, "runs a command as root in the initrd"),
];

impl When {
    fn holds(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return matches!(self, Self::Unless0 | Self::Bare) };
        let name = value.strip_suffix(".target").or_else(|| value.strip_suffix(".service")).unwrap_or(value);
        match self {
            Self::Unless0 => boolean(value) != Some(false),
            Self::No => boolean(value) == Some(false),
            Self::Yes => boolean(value) == Some(true),
            Self::Bare => false,
            Self::Any => true,
            Self::Not(good) => !good.contains(&value),
            Self::Is(bad) => bad.contains(&name),
        }
    }
}

/// systemd `parse_boolean`, which does not look at the case of letters.
fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// What is dangerous about a word, and how much.
fn danger(word: &str) -> Option<(Severity, &'static str)> {
    // What systemd.setenv= sets is looked at like the variable by itself, which the kernel gives to systemd.
    let word = word.strip_prefix("systemd.setenv=").unwrap_or(word);
    let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
    let key = key.replace('_', "-");
    let hit = DANGEROUS.iter().find(|(name, when, ..)| *name == key && when.holds(value));
    if let Some((_, _, severity, why)) = hit {
        return Some((*severity, *why));
    }
    let value = value.unwrap_or_default();
    // Units that find the hash tree, and accounts that let anybody in.
    if matches!(key.as_str(), "systemd.mask" | "rd.systemd.mask") && value.contains("veritysetup") {
        return Some((Severity::Error, NO_VERITY));
    }
    let is_credential = matches!(key.as_str(), "systemd.set-credential" | "systemd.set-credential-binary");
    if is_credential && (value.starts_with("passwd.") || value.starts_with("ssh.authorized_keys")) {
        return Some((Severity::Warning, "sets who may log in"));
    }
    if key.starts_with("systemd.verity-") && value.contains("ignore-corruption") {
        return Some((Severity::Error, "lets damaged data through"));
    }
    if matches!(key.as_str(), "systemd.image-policy" | "rd.systemd.image-policy") {
        return image_policy(value);
    }
    None
}

/// A policy that lets partitions be used without dm-verity (systemd.image-policy(7)).
fn image_policy(policy: &str) -> Option<(Severity, &'static str)> {
    if policy == "*" {
        return Some((Severity::Error, "lets every partition be mounted without protection"));
    }
    let rules = policy.split(':').filter_map(|rule| rule.split_once('='));
    let open = rules
        .filter(|(_, flags)| flags.split('+').any(|flag| matches!(flag.trim(), "unprotected" | "open" | "")));
    let names: Vec<&str> = open.map(|(name, _)| name).collect();
    if names.iter().any(|name| matches!(*name, "root" | "usr" | "")) {
        Some((Severity::Error, "lets the root or /usr be mounted without protection"))
    } else {
        (!names.is_empty()).then_some((Severity::Warning, "lets partitions be mounted without protection"))
    }
}

/// Checks the command lines that a boot may use, and gives the hashes that they promise.
pub(super) fn check(boot: &Boot, chain: &BootChain, findings: &mut Vec<Finding>) -> Vec<WantedHash> {
    match command_lines(boot, chain) {
        Ok(lines) => lines.iter().flat_map(|(place, text)| check_text(place, text, findings)).collect(),
        Err(problem) => {
            findings.push(Finding::new(Severity::Error, "command-line-unreadable", &boot.id, problem));
            Vec::new()
        }
    }
}

fn check_text(place: &str, text: &str, findings: &mut Vec<Finding>) -> Vec<WantedHash> {
    let words = words(text);
    for word in &words {
        if let Some((severity, why)) = danger(word) {
            findings.push(Finding::new(severity, "command-line-word", place, format!("'{word}' {why}")));
        }
    }
    for (hash, device, mapped) in [("roothash=", "root=", "root"), ("usrhash=", "mount.usr=", "usr")] {
        let last = words.iter().rev().find_map(|word| word.strip_prefix(device));
        if words.iter().any(|word| word.starts_with(hash))
            && let Some((severity, why)) = last.and_then(|device| passes_by(device, mapped))
        {
            let text = format!("'{device}{}' beside {hash} {why}", last.unwrap_or_default());
            findings.push(Finding::new(severity, "root-not-verity", place, text));
        }
    }
    let mut wanted = Vec::new();
    for (key, is_usr) in [("roothash=", false), ("usrhash=", true)] {
        for value in words.iter().filter_map(|word| word.strip_prefix(key)) {
            match hex::decode(value) {
                Ok(hash) if !hash.is_empty() => {
                    wanted.push(WantedHash { place: place.to_owned(), is_usr, hash });
                }
                _ => {
                    let text = format!("{key}{value} is no hexadecimal hash");
                    findings.push(Finding::new(Severity::Error, "verity-hash-malformed", place, text));
                }
            }
        }
    }
    if wanted.is_empty()
        && !words.iter().any(|word| word.starts_with("roothash=") || word.starts_with("usrhash="))
    {
        let text = "the command line has neither roothash= nor usrhash=: no dm-verity protects what the kernel mounts";
        findings.push(Finding::new(Severity::Note, "no-verity", place, text));
    }
    wanted
}

/// What is wrong with a device that is mounted where a hash is promised; `None` when it is the one that dm-verity makes.
fn passes_by(device: &str, mapped: &str) -> Option<(Severity, &'static str)> {
    let is_mapped = device.strip_prefix("/dev/mapper/") == Some(mapped)
        || device.starts_with("/dev/dm-")
        || device.starts_with("/dev/disk/by-id/dm-");
    if is_mapped || matches!(device, "dissect" | "dissect-force" | "gpt-auto" | "gpt-auto-force") {
        return None;
    }
    let by_content = ["UUID=", "LABEL=", "/dev/disk/by-uuid/", "/dev/disk/by-label/"];
    Some(if by_content.iter().any(|start| device.starts_with(start)) {
        (Severity::Warning, "fits the partition as well as the device that dm-verity makes of it")
    } else {
        (Severity::Error, "mounts that device, not the one that dm-verity checks")
    })
}

/// The command lines that the boot may use, each with the place to name: the entry's options, or the UKI's, with those of
/// its addons. With Secure Boot a UKI takes its own over the entry's.
fn command_lines(boot: &Boot, chain: &BootChain) -> Result<Vec<(String, String)>, String> {
    let section = |image: &crate::pe::PeImage, profile: u32| -> Result<Option<String>, String> {
        let sections = SectionSet::with_profile(image, SectionLookup::FirstExact, profile)
            .map_err(|error| error.to_string())?;
        let section = sections.get(".cmdline").map_err(|error| error.to_string())?;
        section.map(|section| section.read_text(MAX_TEXT)).transpose().map_err(|error| error.to_string())
    };
    let mut addons = Vec::new();
    for (_, addon) in chain.addons.iter().filter(|(_, addon)| addon.image.machine == chain.uki.image.machine)
    {
        addons.extend(section(&addon.image, 0)?);
    }
    let with_addons =
        |text: Option<String>| text.into_iter().chain(addons.iter().cloned()).collect::<Vec<_>>().join(" ");
    let embedded = section(&chain.uki.image, boot.profile)?;
    let Some(options) = chain.entry.as_ref().and_then(|entry| entry.options.clone()) else {
        return Ok(vec![(boot.id.clone(), with_addons(embedded))]);
    };
    let mut lines = vec![(boot.id.clone(), with_addons(Some(options)))];
    if embedded.is_some() {
        lines.push((format!("{} (.cmdline, used with Secure Boot)", boot.id), with_addons(embedded)));
    }
    Ok(lines)
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
        for harmless in [
            "systemd.verity=1",
            "systemd.verity=On",
            "init=/sbin/init",
            "rd.shell=0",
            "systemd.debug_shell=No",
            "systemd.unit=multi-user.target",
            "systemd.setenv=SYSTEMD_SULOGIN_FORCE=0",
            "systemd.image_policy=root=verity+signed:swap=absent",
            "rd.emergency=reboot",
            "emergency=x",
            "quiet",
            "systemd.mask=systemd-networkd.service",
            "systemd.set_credential=firstboot.locale:C",
        ] {
            assert_eq!(danger(harmless), None, "{harmless}");
        }
        for bad in [
            "systemd.verity=0",
            "systemd.verity=Off",
            "rd.systemd.verity=NO",
            "systemd.verity=False",
            "init=/bin/sh",
            "rd.shell",
            "systemd.debug_shell",
            "systemd.debug-shell=ttyS0",
            "rd.systemd.debug-shell",
            "rd.systemd.debug_shell=1",
            "systemd.unit=emergency.target",
            "rd.systemd.unit=rescue.service",
            "systemd.wants=debug-shell.service",
            "systemd.run=/bin/sh",
            "rescue",
            "emergency",
            "1",
            "s",
            "S",
            "single",
            "rd.emergency",
            "systemd.setenv=SYSTEMD_SULOGIN_FORCE=1",
            "systemd.setenv=SYSTEMD_SULOGIN_FORCE=yes",
            "SYSTEMD_SULOGIN_FORCE=true",
            "systemd.verity_root_data=/dev/sda2",
            "systemd.verity_root_hash=/dev/sda3",
            "systemd.verity_root_options=ignore-corruption",
            "systemd.image_policy=root=verity+unprotected",
            "systemd.image_policy=*",
            "selinux=0",
            "module.sig_enforce=0",
            "module.sig_enforce=n",
            "rd.systemd.mask=systemd-veritysetup@root.service",
            "systemd.set_credential=passwd.hashed-password.root:",
            "systemd.crash_shell=yes",
            "rd.systemd.run=/bin/sh",
            "ima_appraise=fix",
            "veritytab=no",
        ] {
            assert!(danger(bad).is_some(), "{bad}");
        }
        assert_eq!(words("a  \"b c\" d=\"e f\""), ["a", "b c", "d=e f"]);
    }

    #[test]
    fn a_root_hash_wants_the_device_that_dm_verity_makes() {
        let codes = |text: &str| {
            let mut findings = Vec::new();
            check_text("x", text, &mut findings);
            findings.iter().map(|finding| (finding.code, finding.severity)).collect::<Vec<_>>()
        };
        for good in [
            "roothash=00 root=/dev/mapper/root",
            "roothash=00 root=/dev/dm-0",
            "roothash=00 root=dissect",
            "roothash=00 root=gpt-auto",
            "roothash=00 root=/dev/sda2 root=/dev/mapper/root",
            "usrhash=00 root=/dev/sda2 mount.usr=/dev/mapper/usr",
        ] {
            assert_eq!(codes(good), [], "{good}");
        }
        for bad in
            ["roothash=00 root=/dev/sda2", "roothash=00 root=PARTUUID=1", "usrhash=00 mount.usr=/dev/sda2"]
        {
            assert_eq!(codes(bad), [("root-not-verity", Severity::Error)], "{bad}");
        }
        assert_eq!(codes("roothash=00 root=UUID=1"), [("root-not-verity", Severity::Warning)]);
    }
}
