//! Where bytes come from: positional sources, and ranges of them that cost nothing until they are read.

pub mod blob;
mod output;

pub use blob::{Blob, ReadAt, SourceId};
pub use output::{OutputError, write_atomically};
