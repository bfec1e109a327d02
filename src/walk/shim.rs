//! shim: which second stage it starts.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::firmware::{Start, loader};
use super::{Loader, Walk, WalkError, machine_suffix, shown, text};
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
    let name = text::file_name(&shim.path);
    let folder = shim.path.strip_suffix(name).unwrap_or_default();
    let removable = folder.eq_ignore_ascii_case("\\EFI\\BOOT\\")
        && name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("BOOT"));
    if removable && volume.open(&format!("{folder}fb{suffix}.efi"))?.is_some() {
        return fallback(start, suffix, walk);
    }
    let path = format!("{folder}grub{suffix}.efi");
    match volume.open(&path)? {
        Some(file) => Ok(SecondStage::Program(loader(&path, file)?)),
        None => Ok(SecondStage::Unknown(format!("there is no {}", shown(&path)))),
    }
}

/// fallback makes a boot option of each `\EFI\*\BOOTX64.CSV` and restarts the machine where there is a TPM (shim
/// `fallback.c`). The boots after that start what the first of these files names.
fn fallback(start: &Start, suffix: &str, walk: &mut Walk) -> Result<SecondStage, WalkError> {
    const MAX_CSV: u64 = 64 << 10;
    let volume = start.medium.esp.as_ref();
    let name = format!("BOOT{}.CSV", suffix.to_ascii_uppercase());
    for folder in volume.list("\\EFI")?.unwrap_or_default() {
        if folder.is_file() || folder.name.eq_ignore_ascii_case("BOOT") {
            continue;
        }
        let Some(file) = volume.open(&format!("\\EFI\\{}\\{name}", folder.name))? else { continue };
        let Ok(bytes) = file.read(MAX_CSV) else { continue };
        let bytes = bytes.strip_prefix(b"\xFF\xFE").unwrap_or(&bytes);
        let line = uefi::text::utf16_to_nul(bytes);
        let program = line.split([',', '\r', '\n']).next().unwrap_or_default().trim();
        let path = text::efi_path(&format!("\\EFI\\{}\\{program}", folder.name));
        if program.is_empty() || path.eq_ignore_ascii_case(&start.loader.path) {
            continue;
        }
        let Some(file) = volume.open(&path)? else { continue };
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
