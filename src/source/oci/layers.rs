//! Layers, one over the other: which files are left, and the bytes of those that matter.
//!
//! Layers are read twice, as streams: first for the names, then for the bytes of the files that are wanted. So an image of
//! many gigabytes costs the disk space of its boot files only.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};

use sha2::{Digest, Sha256};

use super::{Layout, OciError};
use crate::source::Blob;
use crate::source::container::{BlobReader, spool};

/// Most entries of all layers.
const MAX_ENTRIES: usize = 4 << 20;
/// Most bytes of a path.
const MAX_PATH: usize = 4096;

/// The files of an image that are wanted, by path without a leading slash.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Each file, link and folder; folders of which nothing is wanted are left out.
    pub nodes: BTreeMap<String, Node>,
}

/// A file, a symbolic link or a folder.
#[derive(Debug, Clone)]
pub enum Node {
    /// A file's bytes.
    File(Blob),
    /// Where a link leads.
    Link(String),
    /// A folder.
    Folder,
}

/// What a path is before any bytes are read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// A file of a layer, by the name that it has there.
    File {
        layer: usize,
        name: String,
    },
    Link(String),
    Folder,
}

impl Tree {
    /// Merges the layers and unpacks the files for whose path `wanted` says yes, `limit` bytes at most.
    ///
    /// # Errors
    /// [`OciError`].
    pub fn read(layout: &Layout, wanted: &dyn Fn(&str) -> bool, limit: u64) -> Result<Self, OciError> {
        let mut entries = BTreeMap::new();
        let mut count = 0_usize;
        for (index, (layer, digest)) in layout.layers.iter().enumerate() {
            let what = format!("layer {}", index.saturating_add(1));
            names(layer, index, digest.as_deref(), &what, limit, &mut count, &mut entries)?;
        }
        let mut needed: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        let mut paths = Vec::new();
        let mut tree = Self::default();
        for (path, entry) in entries {
            match entry {
                Entry::File { layer, name } if wanted(&path) => {
                    needed.entry(layer).or_default().insert(name.clone());
                    paths.push((path, layer, name));
                }
                Entry::File { .. } => {}
                Entry::Link(target) => drop(tree.nodes.insert(path, Node::Link(target))),
                Entry::Folder => drop(tree.nodes.insert(path, Node::Folder)),
            }
        }
        let mut left = limit;
        let mut contents = BTreeMap::new();
        for (index, names) in &needed {
            let Some((layer, _)) = layout.layers.get(*index) else { continue };
            let what = format!("layer {}", index.saturating_add(1));
            for (name, content) in bytes(layer, names, &what, left)? {
                left = left.saturating_sub(content.len());
                contents.insert((*index, name), content);
            }
        }
        for (path, layer, name) in paths {
            let content = contents.get(&(layer, name)).cloned();
            tree.nodes.extend(content.map(|content| (path, Node::File(content))));
        }
        Ok(tree)
    }
}

/// First pass: what the layer adds and takes away.
fn names(
    layer: &Blob,
    index: usize,
    digest: Option<&str>,
    what: &str,
    limit: u64,
    count: &mut usize,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), OciError> {
    let failed = |error| OciError::io(what, error);
    let mut hashed = Hashed { inner: BlobReader::new(layer), hash: Sha256::new() };
    let mut added: BTreeMap<String, Entry> = BTreeMap::new();
    {
        let stream = Limited { inner: decoded(layer, &mut hashed, what)?, left: limit };
        let mut archive = tar::Archive::new(stream);
        for member in archive.entries().map_err(failed)? {
            let member = member.map_err(failed)?;
            *count = count.saturating_add(1);
            if *count > MAX_ENTRIES {
                let limit = MAX_ENTRIES as u64;
                return Err(OciError::TooLarge { what: what.to_owned(), limit, unit: "entries" });
            }
            let Some(path) = clean(&member.path_bytes()) else { continue };
            if let Some(opaque) = path.strip_suffix(".wh..wh..opq") {
                remove_below(entries, opaque.trim_end_matches('/'));
                continue;
            }
            let (folder, name) = path.rsplit_once('/').map_or(("", path.as_str()), |parts| parts);
            if let Some(name) = name.strip_prefix(".wh.") {
                let gone = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                remove_below(entries, &gone);
                entries.remove(&gone);
                continue;
            }
            let link = || member.link_name_bytes().unwrap_or_default().into_owned();
            let entry = match member.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                    Entry::File { layer: index, name: path.clone() }
                }
                tar::EntryType::Directory => Entry::Folder,
                tar::EntryType::Symlink => Entry::Link(String::from_utf8_lossy(&link()).into_owned()),
                // A hard link leads to a file of this layer or, as some tools write it, of one below.
                tar::EntryType::Link => {
                    let target = clean(&link()).unwrap_or_default();
                    match added.get(&target).or_else(|| entries.get(&target)) {
                        Some(file @ Entry::File { .. }) => file.clone(),
                        _ => continue,
                    }
                }
                _ => continue,
            };
            added.insert(path, entry);
        }
    }
    for (path, entry) in added {
        if entry != Entry::Folder {
            // A folder of a lower layer goes with all that is in it.
            if entries.get(&path) == Some(&Entry::Folder) {
                remove_below(entries, &path);
            }
        } else if entries.get(&path).is_some_and(|old| *old == Entry::Folder) {
            continue;
        }
        entries.insert(path, entry);
    }
    io::copy(&mut hashed, &mut io::sink()).map_err(failed)?;
    let found = hex::encode(hashed.hash.finalize());
    match digest {
        Some(expected) if !expected.eq_ignore_ascii_case(&found) => {
            Err(OciError::wrong(what, format!("its SHA-256 is {found}, its descriptor says {expected}")))
        }
        _ => Ok(()),
    }
}

fn remove_below(entries: &mut BTreeMap<String, Entry>, folder: &str) {
    let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let gone: Vec<String> = entries
        .range(start.clone()..)
        .take_while(|(path, _)| path.starts_with(&start))
        .map(|(path, _)| path.clone())
        .collect();
    for path in gone {
        entries.remove(&path);
    }
}

/// Second pass: the bytes of some files. Where a name comes twice the later one counts, as when unpacking.
fn bytes(
    layer: &Blob,
    names: &BTreeSet<String>,
    what: &str,
    limit: u64,
) -> Result<BTreeMap<String, Blob>, OciError> {
    let failed = |error| OciError::io(what, error);
    let mut reader = BlobReader::new(layer);
    let mut archive = tar::Archive::new(decoded(layer, &mut reader, what)?);
    let mut found = BTreeMap::new();
    let mut left = limit;
    for member in archive.entries().map_err(failed)? {
        let member = member.map_err(failed)?;
        let is_file = matches!(
            member.header().entry_type(),
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse
        );
        let Some(path) = clean(&member.path_bytes()).filter(|path| is_file && names.contains(path)) else {
            continue;
        };
        let content = spool(member, "container image", left).map_err(|error| match error {
            crate::source::ContainerError::TooLarge { .. } => {
                OciError::TooLarge { what: what.to_owned(), limit, unit: "bytes" }
            }
            other => OciError::wrong(what, other.to_string()),
        })?;
        left = left.saturating_sub(content.len());
        found.insert(path, content);
    }
    Ok(found)
}

/// A path without `./` and slashes at its ends; `None` for one that leads out, or is none.
fn clean(path: &[u8]) -> Option<String> {
    if path.len() > MAX_PATH {
        return None;
    }
    let text = String::from_utf8_lossy(path);
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// The tar stream of a layer, told by its first bytes.
fn decoded<'a>(
    layer: &Blob,
    reader: &'a mut (impl Read + 'a),
    what: &str,
) -> Result<Box<dyn Read + 'a>, OciError> {
    let start = layer.read_prefix(8).map_err(|error| OciError::io(what, error))?;
    let reader = BufReader::new(reader);
    Ok(if start.starts_with(&[0x1F, 0x8B]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(reader))
    } else if start.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
        Box::new(Frames { reader, decoder: None })
    } else {
        Box::new(reader)
    })
}

/// Frames of zstd, one after the other: layers in zstd:chunked have several, and skippable ones.
struct Frames<R: io::BufRead> {
    reader: R,
    decoder: Option<ruzstd::decoding::FrameDecoder>,
}

impl<R: io::BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder, errors::FrameDecoderError};
        let failed = |error: FrameDecoderError| io::Error::other(error.to_string());
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(decoder) = &mut self.decoder else {
                if self.reader.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                if let Some(length) = skippable(self.reader.fill_buf()?) {
                    let skipped = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    continue;
                }
                let mut decoder = FrameDecoder::new();
                decoder.reset(&mut self.reader).map_err(failed)?;
                self.decoder = Some(decoder);
                continue;
            };
            while decoder.can_collect() < buffer.len() && !decoder.is_finished() {
                let wanted = buffer.len();
                decoder
                    .decode_blocks(&mut self.reader, BlockDecodingStrategy::UptoBytes(wanted))
                    .map_err(failed)?;
            }
            let count = decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.decoder = None;
        }
    }
}

/// Bytes of a skippable frame with its header (RFC 8878, section 3.1.2).
fn skippable(start: &[u8]) -> Option<u64> {
    let magic = u32::from_le_bytes(*start.first_chunk()?);
    let length = u32::from_le_bytes(*start.get(4..8)?.first_chunk()?);
    (magic & 0xFFFF_FFF0 == 0x184D_2A50).then(|| u64::from(length).saturating_add(8))
}

/// Hashes what it passes on.
struct Hashed {
    inner: BlobReader,
    hash: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Ends with an error instead of going on for ever.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other("unpacks to more bytes than allowed; --max-size raises the limit")
        })?;
        Ok(count)
    }
}
