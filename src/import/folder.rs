//! A folder of `.pcrlock` components, as systemd-pcrlock reads `/var/lib/pcrlock.d`: `NNN-name.pcrlock`, and alternatives in
//! `NNN-name.pcrlock.d/`, in the order of their names.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use super::systemd::pcrlock_records;
use super::{Component, ImportError, MAX_POLICY, PolicyValues, Record, components, content};
use crate::tcg::{Digest, HashAlgorithm, PcrIndex};

const FORMAT: &str = "pcrlock";

/// Most files of a folder.
const MAX_FILES: usize = 4096;

/// The folder has components.
#[must_use]
pub fn is_pcrlock_folder(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| component(&name.to_string_lossy()).is_some())
}

/// Reads a folder of components, and digests their names and bytes (SHA-256, for naming the policy). What the firmware measures between them into PCR 4 comes with systemd (`/usr/lib/pcrlock.d`):
/// it is added where the folder does not have it.
///
/// # Errors
/// A file can't be read, or is no component; there are too many.
pub fn read_pcrlock_folder(folder: &Path) -> Result<(PolicyValues, Digest), ImportError> {
    let mut files = Files::default();
    for (name, path) in entries(folder)? {
        match component(&name) {
            Some((of, false)) => files.read(of, &path)?,
            Some((of, true)) => {
                for (name, path) in entries(&path)?.into_iter().filter(|(name, _)| name.ends_with(".pcrlock"))
                {
                    let _ = name;
                    files.read(of, &path)?;
                }
            }
            None => {}
        }
    }
    if files.components.values().flatten().flatten().any(|record| record.pcr.get() == 4) {
        for (name, record) in shipped() {
            files.components.entry(name.to_owned()).or_insert_with(|| vec![vec![record]]);
        }
    }
    let digest = Digest::of(HashAlgorithm::Sha256, &files.read);
    let list = files.components.into_iter();
    let list = list.map(|(name, variants)| Component { name, variants, optional: false }).collect();
    Ok((components(FORMAT, list)?, digest))
}

/// The component that a file or folder belongs to, and whether it is a folder of variants.
fn component(name: &str) -> Option<(&str, bool)> {
    match name.strip_suffix(".pcrlock.d") {
        Some(component) => Some((component, true)),
        None => name.strip_suffix(".pcrlock").map(|component| (component, false)),
    }
}

/// Names and paths in a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<(String, std::path::PathBuf)>, ImportError> {
    let unreadable = |error| content(FORMAT, folder.display().to_string(), format!("{error}"));
    let mut list = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        list.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        if list.len() > MAX_FILES {
            return Err(content(
                FORMAT,
                folder.display().to_string(),
                format!("has more than {MAX_FILES} entries"),
            ));
        }
    }
    list.sort();
    Ok(list)
}

/// Variants by component.
#[derive(Default)]
struct Files {
    components: BTreeMap<String, Vec<Vec<Record>>>,
    /// Name and digest of each file.
    read: Vec<u8>,
    bytes: u64,
}

impl Files {
    fn read(&mut self, component: &str, path: &Path) -> Result<(), ImportError> {
        let place = path.display().to_string();
        let unreadable = |error: std::io::Error| content(FORMAT, place.as_str(), error.to_string());
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > MAX_POLICY {
            return Err(content(FORMAT, place, format!("the folder has more than {MAX_POLICY} bytes")));
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        // An empty file or a link to /dev/null masks one of the same name elsewhere.
        if !bytes.is_empty() {
            let records = pcrlock_records(&bytes, &place)?;
            self.read.extend_from_slice(
                format!("{component} {}\n", Digest::of(HashAlgorithm::Sha256, &bytes)).as_bytes(),
            );
            self.components.entry(component.to_owned()).or_default().push(records);
        }
        Ok(())
    }
}

/// Records of the firmware in PCR 4, under the names of systemd's components (`pcrlock.d/` of its source).
fn shipped() -> [(&'static str, Record); 2] {
    let record = |what: &str, data: &[u8]| Record {
        pcr: PcrIndex::new(4),
        digests: [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512]
            .map(|bank| Digest::of(bank, data))
            .into_iter()
            .collect(),
        description: what.to_owned(),
    };
    let call = "Calling EFI Application from Boot Option";
    [
        ("350-action-efi-application", record(call, call.as_bytes())),
        ("500-separator", record("separator", &[0; 4])),
    ]
}
