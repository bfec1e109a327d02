//! [`Blob`]: a range of a positional source.
//!
//! A section of a UKI, a UKI in a file, a credential: each is a `Blob`, an offset and a length over something
//! that can be read anywhere. Cutting a `Blob` out of another copies nothing, so what is large is read once,
//! in windows, by whoever hashes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Something that can be read at any offset, from several threads.
pub trait ReadAt: Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// The operating system's, and [`io::ErrorKind::UnexpectedEof`] when the source ends before.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

struct FileSource {
    file: File,
    length: u64,
}

impl ReadAt for FileSource {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(buffer.len())?))
            .and_then(|range| self.get(range));
        match range {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Tells sources apart: two blobs with one id share one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(usize);

/// A range of a source; see the [module](self).
#[derive(Clone)]
pub struct Blob {
    source: Arc<dyn ReadAt>,
    offset: u64,
    length: u64,
}

impl Blob {
    /// The whole of a source.
    #[must_use]
    pub fn new(source: Arc<dyn ReadAt>) -> Self {
        let length = source.length();
        Self { source, offset: 0, length }
    }

    /// The whole of an open regular file.
    ///
    /// # Errors
    /// When the file is no regular file, or can't be asked for its length.
    pub fn from_file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(Self::new(Arc::new(FileSource { file, length: metadata.len() })))
    }

    /// Bytes in memory.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(Arc::new(bytes.into()))
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Offset of the first byte in the source.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Which source this is a range of.
    #[must_use]
    pub fn source_id(&self) -> SourceId {
        SourceId(Arc::as_ptr(&self.source).cast::<()>().addr())
    }

    /// The source itself.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn ReadAt> {
        &self.source
    }

    /// A part of this blob; `None` when it does not lie inside.
    #[must_use]
    pub fn slice(&self, offset: u64, length: u64) -> Option<Self> {
        let end = offset.checked_add(length)?;
        if end > self.length {
            return None;
        }
        Some(Self { source: Arc::clone(&self.source), offset: self.offset.checked_add(offset)?, length })
    }

    /// Fills `buffer` from `offset` of this blob on.
    ///
    /// # Errors
    /// As [`ReadAt::read_exact_at`], and when the range does not lie inside the blob.
    pub fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.slice(offset, buffer.len() as u64) {
            Some(part) => self.source.read_exact_at(part.offset, buffer),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads all of it into memory, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// As [`ReadAt::read_exact_at`]; [`io::ErrorKind::FileTooLarge`] above the limit.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        let size = usize::try_from(self.length).unwrap_or(usize::MAX);
        if self.length > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{} bytes, the limit is {limit}", self.length),
            ));
        }
        let mut bytes = vec![0; size];
        self.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads at most `limit` bytes from its start.
    ///
    /// # Errors
    /// As [`ReadAt::read_exact_at`].
    pub fn read_prefix(&self, limit: u64) -> io::Result<Vec<u8>> {
        let length = self.length.min(limit);
        self.slice(0, length).unwrap_or_else(|| self.clone()).read(limit)
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({:?} {:#x}+{:#x})", self.source_id(), self.offset, self.length)
    }
}
