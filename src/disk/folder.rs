//! A folder of the host that stands for a boot partition: unpacked, mounted, or about to be packed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::volume::{Entry, EntryKind, Volume, VolumeError, components, is_same_name};
use crate::source::Blob;

/// Most entries of one folder: as many as FAT allows.
const MAX_ENTRIES: usize = 1 << 16;

/// A folder as a volume; see the module.
#[derive(Debug, Clone)]
pub struct FolderVolume {
    root: PathBuf,
    label: String,
    /// Links that leave the folder, passed over in listings.
    skipped: Arc<Mutex<BTreeSet<String>>>,
}

impl FolderVolume {
    /// The folder at `path`.
    ///
    /// # Errors
    /// When it can't be found.
    pub fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            root: path.canonicalize()?,
            label: format!("folder {}", path.display()),
            skipped: Arc::default(),
        })
    }

    /// The host's path of a path in the volume. Links are followed as long as they stay inside; `..` goes back on the path as it
    /// is written, never to the host's parent folder.
    fn resolve(&self, path: &str) -> Result<Option<PathBuf>, VolumeError> {
        let mut place = self.root.clone();
        let mut before = Vec::new();
        for part in components(path) {
            if matches!(part, "." | "..") {
                if !place.is_dir() {
                    return Ok(None);
                }
                if part == ".." {
                    place = before.pop().unwrap_or_else(|| self.root.clone());
                }
                continue;
            }
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
            before.push(std::mem::replace(&mut place, real));
        }
        Ok(Some(place))
    }

    /// The name in `folder` that `part` means: the same one, else one that differs in case only.
    fn find(&self, folder: &Path, part: &str) -> Result<Option<std::ffi::OsString>, VolumeError> {
        if !folder.is_dir() {
            return Ok(None);
        }
        // The name as it is spelled, without a look at all others.
        if fs::symlink_metadata(folder.join(part)).is_ok() {
            return Ok(Some(part.into()));
        }
        let entries = fs::read_dir(folder).map_err(|error| failed(folder, error))?;
        let mut found = None;
        for entry in entries.take(MAX_ENTRIES) {
            let name = entry.map_err(|error| failed(folder, error))?.file_name();
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
            // A link that leaves the folder, or leads nowhere, is an error only for those who ask for it by name.
            let place = folder.join(&name);
            let is_link = entry.file_type().map_err(|error| failed(&place, error))?.is_symlink();
            let real = if is_link { place.canonicalize() } else { Ok(place.clone()) };
            let Ok(place) = real else { continue };
            if !place.starts_with(&self.root) {
                let link = folder.join(&name).display().to_string();
                self.skipped.lock().unwrap_or_else(PoisonError::into_inner).insert(link);
                continue;
            }
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

    fn warnings(&self) -> Vec<String> {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped
            .iter()
            .map(|path| format!("{path}: is a link that leaves the folder, and is passed over"))
            .collect()
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
        std::os::unix::fs::symlink("EFI/Linux", root.join("dots")).expect("linked");
        std::os::unix::fs::symlink("a.efi", root.join("EFI/Linux/b.efi")).expect("linked");

        let volume = FolderVolume::new(&root).expect("there");
        let content = |path| volume.open(path).map(|blob| blob.map(|blob| blob.read(10).expect("read")));
        assert_eq!(content("\\efi\\LINUX\\A.EFI").expect("inside"), Some(b"x".to_vec()));
        assert_eq!(content("/EFI/Linux/b.efi").expect("inside"), Some(b"x".to_vec()));
        assert_eq!(content("EFI/Linux/../../../secret").expect("no such name"), None);
        assert_eq!(content("EFI/./nothing/../Linux/a.efi").expect("no such folder"), None);
        assert_eq!(content("EFI/Linux/a.efi/../a.efi").expect("a file is no folder"), None);
        for dots in
            ["..\\EFI\\.\\Linux\\..\\Linux\\a.efi", "../../EFI/Linux/./a.efi", "dots/../EFI/Linux/a.efi"]
        {
            assert_eq!(content(dots).expect("inside"), Some(b"x".to_vec()), "{dots}");
        }
        assert!(
            volume.list("../..").expect("the root").expect("there").iter().any(|entry| entry.name == "EFI")
        );
        assert!(matches!(content("out"), Err(VolumeError::LeavesFolder { .. })));
        let names: Vec<String> =
            volume.list("efi/linux").expect("inside").expect("there").into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["a.efi", "b.efi"]);
        let top = volume.list("").expect("the link that leaves is passed over").expect("there");
        assert!(top.iter().all(|entry| entry.name != "out"), "{top:?}");
        assert!(volume.warnings().concat().contains("out: is a link"), "{:?}", volume.warnings());
        assert!(volume.list("loader").expect("inside").is_none());
    }
}
