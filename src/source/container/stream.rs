//! Streams that are compressed as a whole: unpacked into a temporary file.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use super::ContainerError;
use crate::source::Blob;

/// Bytes that are moved at once; a piece of zeros becomes a hole.
const PIECE: usize = 64 << 10;
/// Memory that a decoder may use: what `zstd --ultra -22 --long=27` and `xz -9` need.
const MAX_DECODER_MEMORY_KIB: u32 = 256 << 10;

/// Reads a blob from its start.
pub(in crate::source) struct BlobReader {
    blob: Blob,
    position: u64,
}

impl BlobReader {
    pub(in crate::source) fn new(blob: &Blob) -> Self {
        Self { blob: blob.clone(), position: 0 }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.len().saturating_sub(self.position);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let (wanted, _) = buffer.split_at_mut(count);
        self.blob.read_exact_at(self.position, wanted)?;
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

/// Tells of the bytes that it passes on.
struct Watched<'a> {
    inner: BlobReader,
    progress: &'a dyn Fn(u64),
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        (self.progress)(count as u64);
        Ok(count)
    }
}

fn watched<'a>(file: &Blob, progress: &'a dyn Fn(u64)) -> BufReader<Watched<'a>> {
    BufReader::new(Watched { inner: BlobReader::new(file), progress })
}

pub(super) fn gzip(file: &Blob, limit: u64, progress: &dyn Fn(u64)) -> Result<Blob, ContainerError> {
    // One after the other, as gzip and its parallel kin write them.
    spool(flate2::bufread::MultiGzDecoder::new(watched(file, progress)), "gzip", limit)
}

pub(super) fn xz(file: &Blob, limit: u64, progress: &dyn Fn(u64)) -> Result<Blob, ContainerError> {
    let reader = watched(file, progress);
    let decoder = lzma_rust2::XzReader::new_mem_limit(reader, true, MAX_DECODER_MEMORY_KIB);
    spool(decoder, "xz", limit)
}

pub(super) fn zstd(file: &Blob, limit: u64, progress: &dyn Fn(u64)) -> Result<Blob, ContainerError> {
    let mut reader = watched(file, progress);
    let mut spooled = Spool::new("zstd", limit)?;
    // A file may consist of several frames; the decoder stops behind each.
    while !is_at_end(&mut reader).map_err(|error| failed("zstd", error))? {
        let decoder = ruzstd::decoding::StreamingDecoder::new(&mut reader);
        let decoder = decoder.map_err(|error| failed("zstd", io::Error::other(error.to_string())))?;
        spooled.copy(decoder)?;
    }
    spooled.finish()
}

fn is_at_end(reader: &mut impl io::BufRead) -> io::Result<bool> {
    Ok(reader.fill_buf()?.is_empty())
}

/// Writes a stream into a temporary file without a name.
pub(in crate::source) fn spool(
    reader: impl Read,
    format: &'static str,
    limit: u64,
) -> Result<Blob, ContainerError> {
    let mut spooled = Spool::new(format, limit)?;
    spooled.copy(reader)?;
    spooled.finish()
}

/// A file under way: sparse, bounded.
struct Spool {
    file: File,
    length: u64,
    format: &'static str,
    limit: u64,
}

impl Spool {
    fn new(format: &'static str, limit: u64) -> Result<Self, ContainerError> {
        let file = tempfile::tempfile().map_err(|error| failed(format, error))?;
        Ok(Self { file, length: 0, format, limit })
    }

    fn copy(&mut self, mut reader: impl Read) -> Result<(), ContainerError> {
        let mut buffer = vec![0; PIECE];
        loop {
            let count = fill(&mut reader, &mut buffer).map_err(|error| failed(self.format, error))?;
            if count == 0 {
                return Ok(());
            }
            self.length = self.length.saturating_add(count as u64);
            if self.length > self.limit {
                return Err(ContainerError::TooLarge { format: self.format, limit: self.limit });
            }
            let (piece, _) = buffer.split_at(count);
            let written = if piece.iter().all(|byte| *byte == 0) {
                self.file.seek(SeekFrom::Current(count as i64)).map(drop)
            } else {
                self.file.write_all(piece)
            };
            written.map_err(|error| failed(self.format, error))?;
        }
    }

    fn finish(self) -> Result<Blob, ContainerError> {
        let result = self.file.set_len(self.length).and_then(|()| Blob::from_file(self.file));
        result.map_err(|error| failed(self.format, error))
    }
}

/// Fills the buffer as far as the stream goes.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn failed(format: &'static str, error: io::Error) -> ContainerError {
    ContainerError::Io { format, error }
}
