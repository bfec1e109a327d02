//! Files that take part in a boot by lying in the right folder.

use super::entries::split_counter;
use super::text::{ends_with, file_name};
use super::{Loader, WalkError, machine_suffix, shown};
use crate::boot::{CompanionFile, Input, InputId, InputRole, NamedImage, Scope};
use crate::disk::Volume;
use crate::pe::PeImage;
use crate::source::Blob;
use crate::uki::SystemdVersion;

/// The files of a boot under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs(pub(super) Vec<Input>);

impl Inputs {
    /// Adds a file. Documents name it by its path, the stub by its name.
    pub(super) fn add(&mut self, role: InputRole, path: &str, file: &Blob) -> InputId {
        let id = InputId(self.0.len());
        self.0.push(Input { role, name: shown(path), file: file.clone() });
        id
    }

    /// Adds a file unless it was added under this name before.
    pub(super) fn add_once(&mut self, role: InputRole, path: &str, file: &Blob) -> InputId {
        let name = shown(path);
        match self.0.iter().position(|input| input.name == name) {
            Some(index) => InputId(index),
            None => self.add(role, path, file),
        }
    }

    pub(super) fn image(&mut self, role: InputRole, path: &str, file: &Blob) -> Result<NamedImage, String> {
        let image = PeImage::parse(file).map_err(|error| format!("{}: {error}", shown(path)))?;
        Ok(NamedImage { input: self.add(role, path, file), name: file_name(path).to_owned(), image })
    }

    /// An image that may have been added under this name before, in this role.
    pub(super) fn image_once(
        &mut self,
        role: InputRole,
        path: &str,
        file: &Blob,
    ) -> Result<NamedImage, String> {
        let name = shown(path);
        let known = self.0.iter().position(|input| input.name == name && input.role == role);
        let Some(index) = known else { return self.image(role, path, file) };
        let image = PeImage::parse(file).map_err(|error| format!("{name}: {error}"))?;
        Ok(NamedImage { input: InputId(index), name: file_name(path).to_owned(), image })
    }

    /// An image whose file is among the inputs.
    pub(super) fn as_image(&self, input: InputId, path: &str, image: PeImage) -> NamedImage {
        NamedImage { input, name: file_name(path).to_owned(), image }
    }

    fn companion(&mut self, role: InputRole, scope: Scope, path: &str, file: &Blob) -> CompanionFile {
        let input = self.add(role, path, file);
        CompanionFile { input, scope, name: file_name(path).to_owned(), file: file.clone() }
    }
}

/// What lies beside a UKI.
#[derive(Debug, Default)]
pub(super) struct Companions {
    pub(super) addons: Vec<(Scope, NamedImage)>,
    pub(super) credentials: Vec<CompanionFile>,
    pub(super) extensions: Vec<CompanionFile>,
}

/// Collects what a stub finds that was started from `path` of `volume`, renamed by systemd-boot to count this try or not. Which of the files it takes, the stub's model
/// decides by name and version.
pub(super) fn beside(
    volume: &dyn Volume,
    path: &str,
    stub: Option<&SystemdVersion>,
    renamed: bool,
    inputs: &mut Inputs,
) -> Result<Companions, String> {
    let mut found = Companions::default();
    let own = own_folder(volume, path, stub, renamed)?;
    let folders = [
        (Scope::Global, "\\loader\\addons"),
        (Scope::Global, "\\loader\\credentials"),
        (Scope::Global, "\\loader\\extensions"),
        (Scope::Local, own.as_str()),
    ];
    for (scope, folder) in folders {
        let wants = |what: &str| scope == Scope::Local || ends_with(folder, what);
        for (path, file) in files(volume, folder).map_err(|error| error.to_string())? {
            if wants("addons") && ends_with(&path, ".addon.efi") {
                if let Some(addon) = addon(&path, &file, inputs)? {
                    found.addons.push((scope, addon));
                }
            } else if wants("credentials") && ends_with(&path, ".cred") {
                found.credentials.push(inputs.companion(InputRole::Credential, scope, &path, &file));
            } else if wants("extensions") && ends_with(&path, ".raw") {
                found.extensions.push(inputs.companion(InputRole::Extension, scope, &path, &file));
            }
        }
    }
    Ok(found)
}

/// An addon that the firmware loads; `None` for a file that is no program at all, which the stub passes over (booted: 257.13).
fn addon(path: &str, file: &Blob, inputs: &mut Inputs) -> Result<Option<NamedImage>, String> {
    if !file.read_prefix(2).map_err(|error| format!("{}: {error}", shown(path)))?.starts_with(b"MZ") {
        return Ok(None);
    }
    inputs.image(InputRole::Addon, path, file).map(Some)
}

/// First version known to leave the boot counter out of the folder's name, and the last one known to keep it. Booted: 252.38,
/// 252.39, 254.26, 257.13. Upstream changed it for 255 (pull request 29636) and took that into 254 at a point release
/// between.
const WITHOUT_COUNTER_FROM: (u16, u16) = (254, 26);
const WITH_COUNTER_TO: u16 = 252;

/// The folder of files for this UKI alone: its path with `.extra.d` behind it. Older stubs see the name that systemd-boot gave
/// the file when it counted this try; newer ones leave a counter out.
fn own_folder(
    volume: &dyn Volume,
    path: &str,
    stub: Option<&SystemdVersion>,
    renamed: bool,
) -> Result<String, String> {
    let Some((without, with)) = counted_folders(path, renamed) else { return Ok(format!("{path}.extra.d")) };
    match stub {
        None => Ok(without),
        Some(version) if version.key() >= WITHOUT_COUNTER_FROM => Ok(without),
        Some(version) if version.major <= WITH_COUNTER_TO => Ok(with),
        Some(version) => {
            let used =
                |folder: &str| volume.list(folder).map(|found| found.is_some_and(|found| !found.is_empty()));
            if used(&without).and_then(|one| Ok(one || used(&with)?)).map_err(|error| error.to_string())? {
                return Err(format!(
                    "{}: whether systemd-stub {version} takes the files of {} or of {} is not known; predict the UKI itself \
                     with the files that it takes (--addon, --credential, --sysext, --confext)",
                    shown(path),
                    shown(&without),
                    shown(&with)
                ));
            }
            Ok(without)
        }
    }
}

/// For a UKI with a boot counter: the folder's name without it, and with the counter of this try. What is worn out, or not
/// started for its own name, is not renamed.
fn counted_folders(path: &str, renamed: bool) -> Option<(String, String)> {
    let name = file_name(path);
    let (stem, left, done) = split_counter(name, ".efi")?;
    let folder = path.strip_suffix(name).unwrap_or_default();
    let without = format!("{folder}{stem}.efi.extra.d");
    let with = match (renamed, left.checked_sub(1)) {
        (true, Some(left)) => format!("{folder}{stem}+{left}-{}.efi.extra.d", done.saturating_add(1)),
        _ => format!("{path}.extra.d"),
    };
    Some((without, with))
}

fn files(volume: &dyn Volume, folder: &str) -> Result<Vec<(String, Blob)>, crate::disk::VolumeError> {
    let mut files = Vec::new();
    for entry in volume.list(folder)?.unwrap_or_default() {
        let path = format!("{folder}\\{}", entry.name);
        if entry.is_file() {
            files.extend(volume.open(&path)?.map(|file| (path, file)));
        }
    }
    Ok(files)
}

/// Drivers of `\EFI\systemd\drivers` that systemd-boot loads before anything else, in the folder's order (systemd
/// `load_drivers`).
pub(super) fn drivers(
    medium: &super::Medium,
    loader: &Loader,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, Blob)>, WalkError> {
    let volume = medium.esp.as_ref();
    let Some(suffix) = machine_suffix(loader.image.machine) else { return Ok(Vec::new()) };
    let mut found = files(volume, "\\EFI\\systemd\\drivers")?;
    found.retain(|(path, _)| ends_with(path, &format!("{suffix}.efi")) && !file_name(path).starts_with('.'));
    if found.len() > 1 && !volume.knows_order() {
        warnings.push(
            "EFI/systemd/drivers: drivers are loaded in the order of the FAT folder, which a folder of the host does \
             not tell; the order by name is taken"
                .to_owned(),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_beside_a_counted_image_depends_on_the_version() {
        let root = tempfile::tempdir().unwrap();
        let volume = crate::disk::FolderVolume::new(root.path()).unwrap();
        let folder =
            |path: &str, version: &str| own_folder(&volume, path, version.parse().ok().as_ref(), true);
        for (path, version, expected) in [
            // Each booted.
            ("\\EFI\\Linux\\a+3-1.efi", "257.13", "\\EFI\\Linux\\a.efi.extra.d"),
            ("\\EFI\\Linux\\a+3.efi", "254.26", "\\EFI\\Linux\\a.efi.extra.d"),
            ("\\EFI\\Linux\\a+3.efi", "252.39", "\\EFI\\Linux\\a+2-1.efi.extra.d"),
            ("\\EFI\\Linux\\6.1+deb12.efi", "257", "\\EFI\\Linux\\6.1+deb12.efi.extra.d"),
        ] {
            assert_eq!(folder(path, version).as_deref(), Ok(expected), "{path} {version}");
        }
        // Read in boot_entry_parse_tries: what has no tries left keeps its name.
        let worn_out = "\\EFI\\Linux\\a+0-3.efi";
        assert_eq!(folder(worn_out, "252.39").unwrap(), format!("{worn_out}.extra.d"));
    }

    #[test]
    fn between_the_known_versions_a_folder_beside_a_counted_image_is_not_guessed() {
        let root = tempfile::tempdir().unwrap();
        let volume = crate::disk::FolderVolume::new(root.path()).unwrap();
        let version = "254.5".parse().unwrap();
        let path = "\\EFI\\Linux\\a+3.efi";
        assert!(own_folder(&volume, path, Some(&version), true).is_ok(), "nothing lies in either");
        let folder = root.path().join("EFI/Linux/a.efi.extra.d");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("x.cred"), "x").unwrap();
        let refused = own_folder(&volume, path, Some(&version), true).unwrap_err();
        assert!(refused.contains("a+2-1.efi.extra.d"), "{refused}");
    }
}
