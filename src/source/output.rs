//! Writing results: whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A result that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct OutputError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// Why it was not.
    #[source]
    pub error: io::Error,
}

/// Writes `bytes` to `path`: into a temporary file of the same folder, which then replaces `path`.
/// A device or pipe (`/dev/stdout`, `/dev/null`) is written to directly, since it can't be replaced.
///
/// # Errors
/// The operating system's, with the path. `path` is then as it was before.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    replace(path, bytes, 0o644).map_err(|error| OutputError { path: path.to_owned(), error })
}

/// The same; nobody but the owner of the file may read it.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    replace(path, bytes, 0o600).map_err(|error| OutputError { path: path.to_owned(), error })
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return std::fs::OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".premeasure-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(mode));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.json");
        std::fs::write(&path, "old").expect("written");
        write_atomically(&path, b"new").expect("replaced");
        assert_eq!(std::fs::read(&path).expect("readable"), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn a_folder_is_no_place_to_write_to() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(write_atomically(folder.path(), b"new").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);
    }
}
