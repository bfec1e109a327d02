//! A folder of the host that stands for a boot partition: unpacked, mounted, or about to be packed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::volume::{Entry, EntryKind, Volume, VolumeError, components, is_same_name};
use crate::source::Blob;

/// Most entries of one folder: as many as FAT allows.
const MAX_ENTRIES: usize = 1 << 16;

/// A folder as a volume; see the module.
#[derive(Debug, Clone)]
pub struct FolderVolume {
    root: PathBuf,
    label: String,
}

impl FolderVolume {
    /// The folder at `path`.
    ///
    /// # Errors
    /// When it can't be found.
    pub fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { root: path.canonicalize()?, label: format!("folder {}", path.display()) })
    }

    /// The host's path of a path in the volume. Links are followed as long as they stay inside.
    fn resolve(&self, path: &str) -> Result<Option<PathBuf>, VolumeError> {
        let mut place = self.root.clone();
        for part in components(path) {
            let Some(name) = self.find(&place, part)? else { return Ok(None) };
            let next = place.join(name);
            let real = match next.canonicalize() {
                Ok(real) => real,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(&next, error)),
            };
            if !real.starts_with(&self.root) {
                return Err(VolumeError::LeavesFolder { path: next.display().to_string() });
            }
            place = real;
        }
        Ok(Some(place))
    }

    /// The name in `folder` that `part` means: the same one, else one that differs in case only.
    fn find(&self, folder: &Path, part: &str) -> Result<Option<std::ffi::OsString>, VolumeError> {
        if matches!(part, "." | "..") || !folder.is_dir() {
            return Ok(None);
        }
        let entries = fs::read_dir(folder).map_err(|error| failed(folder, error))?;
        let mut found = None;
        for entry in entries.take(MAX_ENTRIES) {
            let name = entry.map_err(|error| failed(folder, error))?.file_name();
            if name == part {
                return Ok(Some(name));
            }
            if name.to_str().is_some_and(|name| is_same_name(name, part)) {
                found = Some(name);
            }
        }
        Ok(found)
    }
}

impl Volume for FolderVolume {
    fn label(&self) -> &str {
        &self.label
    }

    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, VolumeError> {
        let Some(folder) = self.resolve(path)?.filter(|place| place.is_dir()) else { return Ok(None) };
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|error| failed(&folder, error))? {
            let entry = entry.map_err(|error| failed(&folder, error))?;
            if entries.len() >= MAX_ENTRIES {
                let error =
                    io::Error::other(format!("more than {MAX_ENTRIES} entries, which no FAT folder has"));
                return Err(failed(&folder, error));
            }
            // What is no valid Unicode can't be a FAT name, and so never gets onto a boot partition.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some(place) = self.resolve(&format!("{path}/{name}"))? else { continue };
            let metadata = fs::metadata(&place).map_err(|error| failed(&place, error))?;
            if metadata.is_dir() {
                entries.push(Entry { name, kind: EntryKind::Folder });
            } else if metadata.is_file() {
                entries.push(Entry { name, kind: EntryKind::File(metadata.len()) });
            }
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Some(entries))
    }

    fn open(&self, path: &str) -> Result<Option<Blob>, VolumeError> {
        let Some(place) = self.resolve(path)?.filter(|place| place.is_file()) else { return Ok(None) };
        let file = File::open(&place).and_then(Blob::from_file);
        file.map(Some).map_err(|error| failed(&place, error))
    }

    fn knows_order(&self) -> bool {
        false
    }
}

fn failed(path: &Path, error: io::Error) -> VolumeError {
    VolumeError::Io { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_matter_and_links_may_not_leave() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("esp");
        fs::create_dir_all(root.join("EFI/Linux")).expect("made");
        fs::write(root.join("EFI/Linux/a.efi"), "x").expect("written");
        fs::write(folder.path().join("secret"), "y").expect("written");
        std::os::unix::fs::symlink("../secret", root.join("out")).expect("linked");
        std::os::unix::fs::symlink("a.efi", root.join("EFI/Linux/b.efi")).expect("linked");

        let volume = FolderVolume::new(&root).expect("there");
        let content = |path| volume.open(path).map(|blob| blob.map(|blob| blob.read(10).expect("read")));
        assert_eq!(content("\\efi\\LINUX\\A.EFI").expect("inside"), Some(b"x".to_vec()));
        assert_eq!(content("/EFI/Linux/b.efi").expect("inside"), Some(b"x".to_vec()));
        assert_eq!(content("EFI/Linux/../../../secret").expect("no such name"), None);
        assert!(matches!(content("out"), Err(VolumeError::LeavesFolder { .. })));
        let names: Vec<String> =
            volume.list("efi/linux").expect("inside").expect("there").into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["a.efi", "b.efi"]);
        assert!(volume.list("loader").expect("inside").is_none());
    }
}
