//! EFI variables that decide, or tell about, a measured boot.

use std::collections::BTreeMap;
use std::path::Path;

use super::CapturedVariable;
use super::files::{names, read, sha256};
use super::identities::Identities;
use super::secrets::redact;
use crate::export::base64;
use crate::secure_boot::efivarfs_variable;
use crate::uefi::guid::{GLOBAL_VARIABLE, Guid, IMAGE_SECURITY_DATABASE, SHIM_LOCK, SYSTEMD_LOADER};

/// Variables that a machine may have; Linux lists some hundred.
const MAX_VARIABLES: usize = 4096;
/// Bytes of one.
const MAX_SIZE: u64 = 1 << 20;
/// Shorter values are flags and numbers.
const MAX_FLAGS: usize = 8;

/// Variables that are taken: vendor, and name or its beginning. UEFI 2.10 section 3.3 and 32.4, shim, systemd's Boot Loader
/// Interface.
const WANTED: &[(Guid, &str, bool)] = &[
    (GLOBAL_VARIABLE, "SecureBoot", true),
    (GLOBAL_VARIABLE, "SetupMode", true),
    (GLOBAL_VARIABLE, "AuditMode", true),
    (GLOBAL_VARIABLE, "DeployedMode", true),
    (GLOBAL_VARIABLE, "PK", true),
    (GLOBAL_VARIABLE, "KEK", true),
    (GLOBAL_VARIABLE, "BootCurrent", true),
    (GLOBAL_VARIABLE, "BootOrder", true),
    (IMAGE_SECURITY_DATABASE, "db", true),
    (IMAGE_SECURITY_DATABASE, "dbx", true),
    (IMAGE_SECURITY_DATABASE, "dbt", true),
    (SHIM_LOCK, "MokList", false),
    (SHIM_LOCK, "SbatLevelRT", true),
    (SYSTEMD_LOADER, "Loader", false),
    (SYSTEMD_LOADER, "Stub", false),
];

/// Secrets of systemd-boot.
const SECRETS: &[&str] = &["LoaderSystemToken", "LoaderRandomSeed"];

/// The variables, and the names of those that are left out.
pub(super) fn read_variables(
    root: &Path,
    identities: &Identities,
    full: bool,
) -> (BTreeMap<String, CapturedVariable>, Vec<String>) {
    let folder = root.join("sys/firmware/efi/efivars");
    let mut taken = BTreeMap::new();
    let mut left_out = Vec::new();
    for file in names(&folder, MAX_VARIABLES) {
        let Some((name, vendor)) = split(&file) else { continue };
        let is_wanted = |(guid, wanted, whole): &(Guid, &str, bool)| {
            *guid == vendor && if *whole { name == *wanted } else { name.starts_with(wanted) }
        };
        if !WANTED.iter().any(is_wanted) {
            continue;
        }
        if !full && SECRETS.contains(&name) {
            left_out.push(name.to_owned());
            continue;
        }
        let variable = read(&folder.join(&file), MAX_SIZE).ok();
        let variable = variable.and_then(|bytes| efivarfs_variable(&file, &bytes).ok().flatten());
        match variable {
            Some(variable) => {
                taken.insert(name.to_owned(), captured(&variable.data, vendor, identities, full));
            }
            None => left_out.push(format!("{name} (can't be read)")),
        }
    }
    (taken, left_out)
}

fn split(file: &str) -> Option<(&str, Guid)> {
    let (name, vendor) = file.split_at_checked(file.len().checked_sub(37)?)?;
    Some((name, vendor.strip_prefix('-')?.parse().ok()?))
}

fn captured(data: &[u8], vendor: Guid, identities: &Identities, full: bool) -> CapturedVariable {
    let mut variable = CapturedVariable { size: data.len() as u64, ..CapturedVariable::default() };
    let text = (vendor == SYSTEMD_LOADER).then(|| text(data)).flatten();
    let redacted = text.as_ref().map(|text| redact(text, identities));
    if full || data.len() <= MAX_FLAGS {
        variable.data = Some(base64(data));
    }
    match redacted {
        Some((_, true)) if full => variable.text = text,
        // The hash of the whole would give the secret to whoever guesses it.
        Some((redacted, true)) => variable.text = Some(redacted),
        Some((plain, false)) => {
            variable.text = Some(plain);
            variable.sha256 = Some(sha256(data));
        }
        None => variable.sha256 = Some(sha256(data)),
    }
    variable
}

/// UTF-16 with a terminator; lists have one after each text.
fn text(data: &[u8]) -> Option<String> {
    let (pairs, rest) = data.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let (last, units) = units.split_last()?;
    let text = String::from_utf16(units).ok()?;
    let plain = |character: char| character == '\0' || !character.is_control();
    (rest.is_empty() && *last == 0 && !text.is_empty() && text.chars().all(plain))
        .then(|| text.replace('\0', "\n"))
}
