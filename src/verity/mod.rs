//! dm-verity: the superblock of a hash device, and its hash tree recomputed from the data.
//!
//! Sources: Linux Documentation/admin-guide/device-mapper/verity.rst; cryptsetup's "DMVerity" on-disk format
//! (`lib/verity/verity.c`, `verity_hash.c`).

mod superblock;
mod tree;

pub(crate) use superblock::uuid_text;
pub use superblock::{Superblock, SuperblockError};
pub use tree::{TreeCheck, TreeError, check_tree};
