//! Where bytes come from: positional sources, and ranges of them that cost nothing until they are read.

pub mod blob;
mod container;
pub mod oci;
mod output;
mod registers;

pub use blob::{Blob, ReadAt, SourceId};
pub use container::{ContainerError, DEFAULT_MAX_SIZE, Unpacked, unpack, unpack_watched};
pub use output::{OutputError, write_atomically, write_private};
pub use registers::{RegistersError, parse_registers, read_registers};
