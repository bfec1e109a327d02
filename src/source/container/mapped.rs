//! Formats with a block map: each block of the disk is somewhere in the file, packed there, or zero.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use crate::source::{Blob, ReadAt};

/// Where a block's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is all zeros.
    Zero,
    /// As it is, from this offset of the file on.
    At(u64),
    /// Packed: offset and most bytes of it in the file, and how.
    Packed { offset: u64, length: u64, how: Packing },
}

/// How a block is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// RFC 1951.
    Deflate,
    /// RFC 1950.
    Zlib,
    /// RFC 8878.
    Zstd,
}

/// A format's block map.
pub(super) trait BlockMap: Send + Sync {
    /// Where block number `index` is.
    fn place(&self, index: u64) -> io::Result<Place>;

    /// Clears what the format declares as zero although the file has bytes there; `offset` is inside the block.
    fn mask(&self, _index: u64, _offset: u64, _bytes: &mut [u8]) -> io::Result<()> {
        Ok(())
    }
}

/// The disk that a block map describes.
pub(super) struct Mapped<M> {
    pub(super) file: Blob,
    pub(super) map: M,
    /// Bytes of a block, a power of 2.
    pub(super) block_size: u64,
    pub(super) length: u64,
    /// The block that was unpacked last.
    pub(super) unpacked: Mutex<Option<(u64, Vec<u8>)>>,
}

impl<M: BlockMap> ReadAt for Mapped<M> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.length);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut position = offset;
        let mut left = buffer;
        while !left.is_empty() {
            let inside = position.checked_rem(self.block_size).unwrap_or(0);
            let there = self.block_size.saturating_sub(inside);
            let count = usize::try_from(there).unwrap_or(usize::MAX).min(left.len());
            let (now, later) = std::mem::take(&mut left).split_at_mut(count);
            self.read_block(position.checked_div(self.block_size).unwrap_or(0), inside, now)?;
            position = position.saturating_add(count as u64);
            left = later;
        }
        Ok(())
    }
}

impl<M: BlockMap> Mapped<M> {
    /// A part of one block.
    fn read_block(&self, index: u64, inside: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.map.place(index)? {
            Place::Zero => buffer.fill(0),
            Place::At(offset) => {
                self.read_file(offset.saturating_add(inside), buffer)?;
                self.map.mask(index, inside, buffer)?;
            }
            Place::Packed { offset, length, how } => {
                let mut kept = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.as_ref().is_none_or(|(known, _)| *known != index) {
                    *kept = Some((index, self.unpack(index, offset, length, how)?));
                }
                let bytes = kept.as_ref().map_or(&[][..], |(_, bytes)| bytes);
                let start = usize::try_from(inside).unwrap_or(usize::MAX);
                let part = bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
        }
        Ok(())
    }

    /// The last block of a file may be cut off where only zeros would follow.
    fn read_file(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(self.file.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        if there == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (real, missing) = buffer.split_at_mut(there.min(buffer.len()));
        missing.fill(0);
        self.file.read_exact_at(offset, real)
    }

    /// A packed block; the last one need not have more bytes than the disk.
    fn unpack(&self, index: u64, offset: u64, length: u64, how: Packing) -> io::Result<Vec<u8>> {
        let length = length.min(self.file.len().saturating_sub(offset));
        let packed = self.file.slice(offset, length).ok_or(io::ErrorKind::UnexpectedEof)?;
        let packed = packed.read(length)?;
        let left = self.length.saturating_sub(index.saturating_mul(self.block_size));
        let mut bytes = vec![0; usize::try_from(left.min(self.block_size)).unwrap_or(0)];
        match how {
            Packing::Deflate => {
                flate2::read::DeflateDecoder::new(packed.as_slice()).read_exact(&mut bytes)?
            }
            Packing::Zlib => flate2::read::ZlibDecoder::new(packed.as_slice()).read_exact(&mut bytes)?,
            Packing::Zstd => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(packed.as_slice());
                decoder.map_err(|error| io::Error::other(error.to_string()))?.read_exact(&mut bytes)?;
            }
        }
        Ok(bytes)
    }
}
