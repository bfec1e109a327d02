//! Where bytes come from: positional sources, and ranges of them that cost nothing until they are read.

pub mod blob;
mod output;
mod registers;

pub use blob::{Blob, ReadAt, SourceId};
pub use output::{OutputError, write_atomically};
pub use registers::{RegistersError, parse_registers, read_registers};
