//! The hash tree: computed from the data, compared with the one on the hash device.
//!
//! The lowest level is computed by several threads, a hash block (usually 128 data blocks) at a time. What is kept is one
//! digest for each hash block: 32 bytes for each 512 KiB of data.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::Superblock;
use crate::source::Blob;
use crate::tcg::{Digest, HashAlgorithm, Hasher};

/// Most data blocks: memory for their digests is bounded by it, and no image is larger.
const MAX_DATA_BLOCKS: u64 = 1 << 31;
/// Most threads.
const MAX_WORKERS: usize = 8;

/// What a check of a tree found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeCheck {
    /// The root hash of the data.
    pub root: Digest,
    /// Hash blocks on the device that are not those of the data.
    pub wrong_blocks: u64,
    /// The first of them: its offset on the hash device, in bytes.
    pub first_wrong: Option<u64>,
    /// Hash blocks compared.
    pub hash_blocks: u64,
}

/// A tree that can't be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The data or the tree does not fit on its device.
    #[error("{what} needs {needed} bytes, the partition has {length}")]
    TooShort {
        /// Data or hash tree.
        what: &'static str,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that there are.
        length: u64,
    },
    /// More data blocks than this program handles, or none.
    #[error("data_blocks is {0}, which is not between 1 and {MAX_DATA_BLOCKS}")]
    DataBlocks(u64),
}

/// One level of the tree: where it stands on the hash device, and its blocks.
#[derive(Debug, Clone, Copy)]
struct Level {
    offset: u64,
    blocks: u64,
}

/// Computes the tree of `data` and compares it with the one on `hashes`, whose superblock is `superblock`. `progress` is
/// told of data bytes that are done.
///
/// # Errors
/// [`TreeError`].
pub fn check_tree(
    superblock: &Superblock,
    data: &Blob,
    hashes: &Blob,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<TreeCheck, TreeError> {
    let tree = Tree::new(superblock, data, hashes)?;
    let Some(levels) = tree.levels()? else {
        // A single data block has no tree: its hash is the root.
        let root = tree.hash(&data.read_prefix(superblock.data_block_size.into())?);
        return Ok(TreeCheck { root, wrong_blocks: 0, first_wrong: None, hash_blocks: 0 });
    };
    let mut state = Comparison::default();
    let mut digests = Vec::new();
    for (index, level) in levels.iter().enumerate() {
        digests = if index == 0 {
            tree.lowest(*level, progress, &mut state)?
        } else {
            tree.upper(*level, &digests, &mut state)?
        };
    }
    let root = digests.first().copied().ok_or(TreeError::DataBlocks(superblock.data_blocks))?;
    let hash_blocks = levels.iter().map(|level| level.blocks).sum();
    Ok(TreeCheck { root, wrong_blocks: state.wrong, first_wrong: state.first, hash_blocks })
}

#[derive(Debug, Default)]
struct Comparison {
    wrong: u64,
    first: Option<u64>,
}

impl Comparison {
    fn note(&mut self, offset: u64) {
        self.wrong = self.wrong.saturating_add(1);
        self.first = Some(self.first.map_or(offset, |first| first.min(offset)));
    }
}

struct Tree<'a> {
    superblock: &'a Superblock,
    data: &'a Blob,
    hashes: &'a Blob,
    /// State after the salt.
    salted: Hasher,
    /// Bytes that a digest takes in a hash block: a power of 2.
    slot: usize,
    /// Digests in a hash block.
    fan_out: u64,
}

impl<'a> Tree<'a> {
    fn new(superblock: &'a Superblock, data: &'a Blob, hashes: &'a Blob) -> Result<Self, TreeError> {
        if !(1..=MAX_DATA_BLOCKS).contains(&superblock.data_blocks) {
            return Err(TreeError::DataBlocks(superblock.data_blocks));
        }
        let needed = superblock.data_blocks.saturating_mul(superblock.data_block_size.into());
        if needed > data.len() {
            return Err(TreeError::TooShort { what: "the data", needed, length: data.len() });
        }
        let mut salted = Hasher::new(superblock.algorithm);
        salted.update(&superblock.salt);
        let slot = digest_size(superblock.algorithm).next_power_of_two();
        let fan_out = u64::from(superblock.hash_block_size) / slot as u64;
        Ok(Self { superblock, data, hashes, salted, slot, fan_out })
    }

    /// The levels from the lowest up; on the device the highest comes first, right behind the superblock. `None` when one
    /// data block needs none.
    fn levels(&self) -> Result<Option<Vec<Level>>, TreeError> {
        let block = u64::from(self.superblock.hash_block_size);
        let mut counts = Vec::new();
        let mut count = self.superblock.data_blocks;
        while count > 1 {
            count = count.div_ceil(self.fan_out);
            counts.push(count);
        }
        if counts.is_empty() {
            return Ok(None);
        }
        let mut offset = 512_u64.next_multiple_of(block);
        let mut levels = Vec::new();
        for blocks in counts.into_iter().rev() {
            levels.push(Level { offset, blocks });
            offset = offset.saturating_add(blocks.saturating_mul(block));
        }
        if offset > self.hashes.len() {
            let length = self.hashes.len();
            return Err(TreeError::TooShort { what: "the hash tree", needed: offset, length });
        }
        levels.reverse();
        Ok(Some(levels))
    }

    fn hash(&self, block: &[u8]) -> Digest {
        let mut hasher = self.salted.clone();
        hasher.update(block);
        hasher.finish()
    }

    /// The lowest level, by several threads: the digests of its hash blocks.
    fn lowest(
        &self,
        level: Level,
        progress: &(dyn Fn(u64) + Sync),
        state: &mut Comparison,
    ) -> Result<Vec<Digest>, TreeError> {
        let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        let next = AtomicU64::new(0);
        let failed = AtomicBool::new(false);
        let results: Mutex<Vec<(u64, Digest, bool)>> = Mutex::new(Vec::new());
        let outcome: Vec<Result<(), TreeError>> = thread::scope(|scope| {
            let handles: Vec<_> = (0..workers)
                .map(|_| {
                    scope.spawn(|| {
                        let result = self.work(level, &next, &failed, &results, progress);
                        if result.is_err() {
                            failed.store(true, Ordering::Relaxed);
                        }
                        result
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().unwrap_or_else(|_| Err(panicked()))).collect()
        });
        outcome.into_iter().collect::<Result<(), _>>()?;
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_unstable_by_key(|(index, ..)| *index);
        let block = u64::from(self.superblock.hash_block_size);
        for (index, ..) in results.iter().filter(|(.., equal)| !equal) {
            state.note(level.offset.saturating_add(index.saturating_mul(block)));
        }
        Ok(results.into_iter().map(|(_, digest, _)| digest).collect())
    }

    /// One thread's share: hash blocks, as long as there are any.
    fn work(
        &self,
        level: Level,
        next: &AtomicU64,
        failed: &AtomicBool,
        results: &Mutex<Vec<(u64, Digest, bool)>>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), TreeError> {
        let size = self.superblock.data_block_size as usize;
        let zeros = vec![0_u8; size];
        // Images are full of holes, which all have one hash.
        let zero_digest = self.hash(&zeros);
        let mut buffer = Vec::new();
        let mut own = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= level.blocks || failed.load(Ordering::Relaxed) {
                break;
            }
            let first = index.saturating_mul(self.fan_out);
            let count = self.superblock.data_blocks.saturating_sub(first).min(self.fan_out);
            let length = usize::try_from(count).unwrap_or(0).saturating_mul(size);
            buffer.resize(length, 0);
            self.data.read_exact_at(first.saturating_mul(size as u64), &mut buffer)?;
            let digests = buffer
                .chunks_exact(size)
                .map(|block| if block == zeros.as_slice() { zero_digest } else { self.hash(block) });
            let block = self.block(digests);
            let equal = self.stored(level, index)? == block;
            own.push((index, self.hash(&block), equal));
            progress(length as u64);
        }
        results.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
        Ok(())
    }

    /// A level above, from the digests of the one below.
    fn upper(
        &self,
        level: Level,
        below: &[Digest],
        state: &mut Comparison,
    ) -> Result<Vec<Digest>, TreeError> {
        let fan_out = usize::try_from(self.fan_out).unwrap_or(usize::MAX);
        let mut digests = Vec::new();
        for (index, share) in (0_u64..).zip(below.chunks(fan_out)) {
            let block = self.block(share.iter().copied());
            if self.stored(level, index)? != block {
                let size = u64::from(self.superblock.hash_block_size);
                state.note(level.offset.saturating_add(index.saturating_mul(size)));
            }
            digests.push(self.hash(&block));
        }
        Ok(digests)
    }

    /// A hash block: digests in their slots, zeros behind.
    fn block(&self, digests: impl Iterator<Item = Digest>) -> Vec<u8> {
        let mut block = vec![0; self.superblock.hash_block_size as usize];
        for (slot, digest) in block.chunks_exact_mut(self.slot).zip(digests) {
            slot.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
        }
        block
    }

    fn stored(&self, level: Level, index: u64) -> Result<Vec<u8>, TreeError> {
        let size = u64::from(self.superblock.hash_block_size);
        let mut block = vec![0; self.superblock.hash_block_size as usize];
        self.hashes.read_exact_at(level.offset.saturating_add(index.saturating_mul(size)), &mut block)?;
        Ok(block)
    }
}

fn digest_size(algorithm: HashAlgorithm) -> usize {
    Hasher::new(algorithm).finish().as_bytes().len()
}

fn panicked() -> TreeError {
    TreeError::Io(io::Error::other("a thread of the computation failed"))
}
