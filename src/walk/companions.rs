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

    pub(super) fn image(&mut self, role: InputRole, path: &str, file: &Blob) -> Result<NamedImage, String> {
        let image = PeImage::parse(file).map_err(|error| format!("{}: {error}", shown(path)))?;
        Ok(NamedImage { input: self.add(role, path, file), name: file_name(path).to_owned(), image })
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

/// Collects what a stub finds that was started from `path` of `volume`. Which of the files it takes, the stub's model
/// decides by name and version.
pub(super) fn beside(
    volume: &dyn Volume,
    path: &str,
    stub: Option<&SystemdVersion>,
    inputs: &mut Inputs,
) -> Result<Companions, String> {
    let mut found = Companions::default();
    let own = format!("{}.extra.d", companion_stem(path, stub));
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
                found.addons.push((scope, inputs.image(InputRole::Addon, &path, &file)?));
            } else if wants("credentials") && ends_with(&path, ".cred") {
                found.credentials.push(inputs.companion(InputRole::Credential, scope, &path, &file));
            } else if wants("extensions") && ends_with(&path, ".raw") {
                found.extensions.push(inputs.companion(InputRole::Extension, scope, &path, &file));
            }
        }
    }
    Ok(found)
}

/// The path to which the stub appends `.extra.d`. From 255 on it leaves out a boot counter; before, it sees the name
/// that systemd-boot gave the file when it counted this try.
fn companion_stem(path: &str, stub: Option<&SystemdVersion>) -> String {
    let name = file_name(path);
    let Some((stem, left, done)) = split_counter(name, ".efi") else { return path.to_owned() };
    let folder = path.strip_suffix(name).unwrap_or_default();
    if stub.is_none_or(|version| version.major >= 255) {
        format!("{folder}{stem}.efi")
    } else {
        format!("{folder}{stem}+{}-{}.efi", left.saturating_sub(1), done.saturating_add(1))
    }
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
        let stem = |path, version: &str| companion_stem(path, version.parse().ok().as_ref());
        assert_eq!(stem("\\EFI\\Linux\\a+3-1.efi", "257"), "\\EFI\\Linux\\a.efi");
        assert_eq!(stem("\\EFI\\Linux\\a+3-1.efi", "254.5"), "\\EFI\\Linux\\a+2-2.efi");
        assert_eq!(stem("\\EFI\\Linux\\6.1+deb12.efi", "257"), "\\EFI\\Linux\\6.1+deb12.efi");
    }
}
