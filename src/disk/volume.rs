//! A boot partition, be it a file system in an image or a folder of the host.

use std::io;

use crate::source::Blob;

/// A file or folder of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name as firmware reports it: the long name where there is one.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
}

impl Entry {
    /// It is a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.kind, EntryKind::File(_))
    }
}

/// A volume that could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The medium or the operating system failed.
    #[error("{path}: {error}")]
    Io {
        /// What was to be read.
        path: String,
        /// Why it was not.
        #[source]
        error: io::Error,
    },
    /// The file system is damaged.
    #[error("{path}: {error}")]
    Fat {
        /// What was to be read.
        path: String,
        /// What is wrong.
        #[source]
        error: super::FatError,
    },
    /// The ext4 file system is damaged, or larger than is read.
    #[error("{path}: {error}")]
    Ext {
        /// What was to be read.
        path: String,
        /// What is wrong.
        #[source]
        error: Box<super::ExtError>,
    },
    /// A link leads out of the folder that stands for the volume.
    #[error("{path}: is a link that leaves the folder")]
    LeavesFolder {
        /// The link.
        path: String,
    },
}

/// A volume with files, found by path without regard to case, as firmware does.
///
/// Paths have components separated by `\` or `/`; empty components count for nothing. `.` is the folder itself and `..` the
/// one around it, which for the root is the root (EDK2 `FatLocateOFile`): nothing outside the volume is ever found.
pub trait Volume: Send + Sync + std::fmt::Debug {
    /// What it is, in words: `partition 1`.
    fn label(&self) -> &str;

    /// The entries of a folder in the order in which firmware lists them; `None` when there is no such folder.
    ///
    /// # Errors
    /// [`VolumeError`].
    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, VolumeError>;

    /// The content of a file; `None` when there is no such file.
    ///
    /// # Errors
    /// [`VolumeError`].
    fn open(&self, path: &str) -> Result<Option<Blob>, VolumeError>;

    /// Whether [`Volume::list`] gives the order that firmware would see.
    fn knows_order(&self) -> bool;

    /// What was passed over so far in listing folders, for people.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The components of a path, `.` and `..` among them.
pub(super) fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split(['\\', '/']).filter(|part| !part.is_empty())
}

/// Names that firmware takes for the same: equal but for the case of letters (UEFI, `EFI_UNICODE_COLLATION_PROTOCOL`).
#[must_use]
pub fn is_same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || (!one.is_ascii() && one.to_uppercase() == other.to_uppercase())
}
