//! Where bytes come from: positional sources, and ranges of them that cost nothing until they are read.

pub mod blob;
mod container;
mod output;

pub use blob::{Blob, ReadAt, SourceId};
pub use container::{ContainerError, DEFAULT_MAX_SIZE, Unpacked, unpack};
pub use output::{OutputError, write_atomically};
