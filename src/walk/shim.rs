//! shim: which second stage it starts.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::firmware::{Start, loader};
use super::{Loader, Walk, WalkError, machine_suffix, shown, text};
use crate::disk::Volume;
use crate::source::Blob;
use crate::uefi;

/// What a shim starts.
pub(super) enum SecondStage {
    /// This program.
    Program(Loader),
    /// Another shim, after the boot options were made: the boot after that.
    Restart(Loader),
    /// It can't be told, for this reason.
    Unknown(String),
}

/// `grubx64.efi` and its like in shim's own folder (shim `DEFAULT_LOADER`), or fallback where shim lies in the removable
/// media path and fallback beside it (shim `should_use_fallback`).
pub(super) fn second_stage(start: &Start, walk: &mut Walk) -> Result<SecondStage, WalkError> {
    let shim = &start.loader;
    let volume = start.medium.esp.as_ref();
    let Some(suffix) = machine_suffix(shim.image.machine) else {
        return Ok(SecondStage::Unknown("its architecture is not known".to_owned()));
    };
    if !start.load_options.is_empty() {
        return Ok(SecondStage::Unknown(
            "the boot option has optional data, by which shim may choose another second stage".to_owned(),
        ));
    }
    let (folder, name) = split(shim);
    let removable = folder.eq_ignore_ascii_case("\\EFI\\BOOT\\")
        && name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("BOOT"));
    if removable && volume.open(&format!("{folder}fb{suffix}.efi"))?.is_some() {
        return fallback(start, suffix, walk);
    }
    // `load_shim_options`, 16 and later: a second stage to be tried before this one.
    if volume.open(&format!("{folder}options.csv"))?.is_some() {
        let why = "options.csv lies beside it, which may name another second stage";
        return Ok(SecondStage::Unknown(why.to_owned()));
    }
    let path = format!("{folder}grub{suffix}.efi");
    match volume.open(&path)? {
        Some(file) => Ok(SecondStage::Program(loader(&path, file)?)),
        None => Ok(SecondStage::Unknown(format!("there is no {}", shown(&path)))),
    }
}

/// Files beside shim that it reads under Secure Boot (`load_unbundled_trust`): keys, and revocations.
pub(super) fn beside(start: &Start) -> Result<Vec<String>, WalkError> {
    let (folder, _) = split(&start.loader);
    let entries = start.medium.esp.list(folder.trim_end_matches('\\'))?.unwrap_or_default();
    let is_read = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("shim_certificate") || (name.starts_with("revocations") && name.ends_with(".efi"))
    };
    let names = entries.into_iter().filter(|entry| entry.is_file()).map(|entry| entry.name);
    Ok(names.filter(|name| is_read(name)).collect())
}

/// Its folder with the last separator, and its name.
fn split(loader: &Loader) -> (&str, &str) {
    let name = text::file_name(&loader.path);
    (loader.path.strip_suffix(name).unwrap_or_default(), name)
}

/// fallback makes a boot option of each line of each `\EFI\*\BOOTX64.CSV`, puts it in front of the others, and restarts the
/// machine where there is a TPM (shim `fallback.c`, `add_boot_option`). The boots after that start what the last line names.
fn fallback(start: &Start, suffix: &str, walk: &mut Walk) -> Result<SecondStage, WalkError> {
    const MAX_CSV: u64 = 64 << 10;
    let volume = start.medium.esp.as_ref();
    let name = format!("BOOT{}.CSV", suffix.to_ascii_uppercase());
    let mut last = None;
    for folder in volume.list("\\EFI")?.unwrap_or_default() {
        if folder.is_file() || folder.name.eq_ignore_ascii_case("BOOT") {
            continue;
        }
        let files = [name.as_str(), "BOOT.CSV"].map(|name| format!("\\EFI\\{}\\{name}", folder.name));
        let Some(file) = first_of(volume, &files)? else { continue };
        let Ok(bytes) = file.read(MAX_CSV) else { continue };
        let lines = uefi::text::utf16_to_nul(bytes.strip_prefix(b"\xFF\xFE").unwrap_or(&bytes));
        let lines = lines.split(['\r', '\n']).map(str::to_owned);
        last = lines
            .filter(|line| !line.is_empty() && !line.starts_with(','))
            .last()
            .map(|line| (folder.name, line))
            .or(last);
    }
    if let Some((folder, line)) = last {
        let mut fields = line.split(',');
        let path = text::efi_path(&format!("\\EFI\\{folder}\\{}", fields.next().unwrap_or_default()));
        if fields.nth(1).is_some_and(|arguments| !arguments.is_empty()) {
            let why = format!("the boot option that fallback makes of {folder}/{name} has arguments");
            return Ok(SecondStage::Unknown(why));
        }
        let Some(file) = volume.open(&path)?.filter(|_| !path.eq_ignore_ascii_case(&start.loader.path))
        else {
            let why = format!("fallback makes a boot option of {}, which starts nothing else", shown(&path));
            return Ok(SecondStage::Unknown(why));
        };
        walk.warnings.push(format!(
            "EFI/BOOT/fb{suffix}.efi: at the first boot fallback makes a boot option for {} and restarts; the boots after \
             that are predicted",
            shown(&path)
        ));
        return Ok(SecondStage::Restart(loader(&path, file)?));
    }
    Ok(SecondStage::Unknown(format!(
        "fb{suffix}.efi lies beside it, and there is no {name} that it could go by"
    )))
}

fn first_of(volume: &dyn Volume, paths: &[String]) -> Result<Option<Blob>, WalkError> {
    for path in paths {
        if let Some(file) = volume.open(path)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}
