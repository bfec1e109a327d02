//! Opening what the command line names: files, and standard input as `-`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;

use super::output::hinted;
use crate::source::Blob;

/// Most bytes that a pipe may give: they go into the temporary folder, which may be memory.
const MAX_SPOOL: u64 = 4 << 30;

/// Opens a file, or takes standard input for `-`.
///
/// Standard input has no positions, so it goes into an unnamed temporary file first: inputs may be larger than
/// memory.
pub(crate) fn open(path: &Path) -> anyhow::Result<Blob> {
    open_limited(path, MAX_SPOOL)
}

/// The same; a pipe or device may give at most `limit` bytes.
fn open_limited(path: &Path, limit: u64) -> anyhow::Result<Blob> {
    if path.as_os_str() == "-" {
        return spool(&mut io::stdin().lock(), limit).context("standard input");
    }
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let metadata = file.metadata().with_context(|| path.display().to_string())?;
    if metadata.is_dir() {
        return Err(hinted(format!("{}: is a directory", path.display()), "name a file"));
    }
    if !metadata.is_file() {
        // A pipe or device, as in `<(zstdcat uki.efi.zst)`.
        let mut file = file;
        return spool(&mut file, limit).with_context(|| path.display().to_string());
    }
    Blob::from_file(file).with_context(|| path.display().to_string())
}

/// Reads a small file (or standard input) into memory.
pub(crate) fn read_small(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    open_limited(path, limit)?.read(limit).with_context(|| path.display().to_string())
}

/// The name that documents use for an input: its last component, so that they don't depend on the place.
pub(crate) fn display_name(path: &Path) -> String {
    match path.file_name() {
        Some(name) if path.as_os_str() != "-" => name.to_string_lossy().into_owned(),
        _ => "stdin".to_owned(),
    }
}

/// Copies what has no positions into an unnamed temporary file.
fn spool(reader: &mut impl io::Read, limit: u64) -> anyhow::Result<Blob> {
    let mut file = tempfile::tempfile()?;
    let copied = io::copy(&mut reader.take(limit.saturating_add(1)), &mut file)?;
    if copied > limit {
        return Err(hinted(
            format!("more than {limit} bytes"),
            "give a file by its name; files may be of any size",
        ));
    }
    Ok(Blob::from_file(file)?)
}
