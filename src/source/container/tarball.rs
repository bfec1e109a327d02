//! An archive with a disk in it, as Google Compute Engine takes them: `disk.raw` in a `.tar.gz`.

use std::io;

use super::ContainerError;
use super::stream::{BlobReader, spool};
use crate::source::Blob;

/// Most members that are looked at.
const MAX_MEMBERS: usize = 4096;
const FORMAT: &str = "tar";

/// The disk of an archive: `disk.raw`, or else the first member named `*.raw` or `*.img`; `None` without one.
pub(super) fn disk(file: &Blob, limit: u64) -> Result<Option<Blob>, ContainerError> {
    let failed = |error: io::Error| ContainerError::Io { format: FORMAT, error };
    let mut fallback = None;
    let mut archive = tar::Archive::new(BlobReader::new(file));
    for (index, member) in archive.entries().map_err(failed)?.take(MAX_MEMBERS).enumerate() {
        let member = member.map_err(failed)?;
        if !matches!(member.header().entry_type(), tar::EntryType::Regular | tar::EntryType::GNUSparse) {
            continue;
        }
        let path = member.path().map_err(failed)?.to_string_lossy().into_owned();
        let name = path.rsplit('/').next().unwrap_or(&path);
        if name == "disk.raw" {
            return spool(member, FORMAT, limit).map(Some);
        }
        if fallback.is_none() && (name.ends_with(".raw") || name.ends_with(".img")) {
            fallback = Some(index);
        }
    }
    let Some(wanted) = fallback else { return Ok(None) };
    let mut archive = tar::Archive::new(BlobReader::new(file));
    let mut entries = archive.entries().map_err(failed)?;
    match entries.nth(wanted) {
        Some(member) => spool(member.map_err(failed)?, FORMAT, limit).map(Some),
        None => Ok(None),
    }
}
