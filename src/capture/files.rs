//! Bounded reading of a machine's files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::CapturedFile;
use super::identities::Identities;
use super::secrets::redact;
use crate::source::Blob;
use crate::tcg::{Digest, HashAlgorithm};

/// Bytes of a file with a line of text.
const MAX_TEXT: u64 = 64 << 10;
/// Bytes that are hashed at a time.
const WINDOW: usize = 256 << 10;
/// Files of a boot partition, folders below each other, and bytes of all files.
const MAX_FILES: usize = 4096;
const MAX_DEPTH: usize = 8;
const MAX_TOTAL: u64 = 8 << 30;

/// Reads a regular file: pipes and devices could block for ever.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut bytes = Vec::new();
    // The kernel's files claim to have no length.
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// A line of text, if there is one.
pub(super) fn read_text(path: &Path) -> Option<String> {
    let bytes = read(path, MAX_TEXT).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim_matches(['\0', '\n', ' ', '\t']).to_owned();
    (!text.is_empty()).then_some(text)
}

/// Names in a folder, sorted; none when it can't be read.
pub(super) fn names(folder: &Path, limit: usize) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.take(limit).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Files of a boot partition.
#[derive(Debug, Default)]
pub(super) struct Volume {
    pub(super) files: Vec<CapturedFile>,
    /// What could not be read.
    pub(super) problems: Vec<String>,
}

/// Hashes what lies in a folder. Links are not followed: FAT has none.
pub(super) fn hash_folder(root: &Path, identities: &Identities, full: bool) -> Volume {
    let mut volume = Volume::default();
    let mut found = Vec::new();
    collect(root, &mut found, &mut volume.problems);
    found.sort();
    let mut left = MAX_TOTAL;
    for path in found {
        match hash_file(root, &path, &mut left, full) {
            Ok(mut file) => {
                if !full {
                    file.path = redact(&file.path, identities).0;
                }
                volume.files.push(file);
            }
            Err(error) => volume.problems.push(format!("{}: {error}", path.display())),
        }
    }
    volume
}

fn collect(root: &Path, found: &mut Vec<PathBuf>, problems: &mut Vec<String>) {
    let mut folders = vec![(root.to_owned(), 0_usize)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                problems.push(format!("{}: {error}", folder.display()));
                continue;
            }
        };
        for entry in entries.flatten() {
            if found.len().saturating_add(folders.len()) >= MAX_FILES {
                problems
                    .push(format!("{}: more than {MAX_FILES} files: the rest is left out", root.display()));
                return;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => {
                    folders.push((entry.path(), depth.saturating_add(1)));
                }
                Ok(kind) if kind.is_dir() => {
                    problems.push(format!("{}: too deep: left out", entry.path().display()));
                }
                _ => {}
            }
        }
    }
}

fn hash_file(root: &Path, path: &Path, left: &mut u64, full: bool) -> io::Result<CapturedFile> {
    let file = File::open(path)?;
    let blob = Blob::from_file(file)?;
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    let size = blob.len();
    if !full && is_secret(&name) {
        return Ok(CapturedFile { path: name, size, sha256: None });
    }
    *left = left
        .checked_sub(size)
        .ok_or_else(|| io::Error::other(format!("more than {MAX_TOTAL} bytes in all: not hashed")))?;
    let digest = hash(&blob)?;
    Ok(CapturedFile { path: name, size, sha256: Some(digest) })
}

/// systemd-boot's seed, and credentials: a short one could be found from its hash.
fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    name.ends_with(".cred") || name.ends_with("loader/random-seed") || name.contains("loader/credentials/")
}

fn hash(blob: &Blob) -> io::Result<String> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    let mut at = 0;
    while at < blob.len() {
        let length = blob.len().saturating_sub(at).min(WINDOW as u64);
        let window = blob.slice(at, length).ok_or(io::ErrorKind::UnexpectedEof)?;
        hasher.update(window.read(WINDOW as u64)?);
        at = at.saturating_add(length);
    }
    Ok(hex::encode(hasher.finalize()))
}

/// SHA-256 of bytes.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Digest::of(HashAlgorithm::Sha256, bytes).to_string()
}
