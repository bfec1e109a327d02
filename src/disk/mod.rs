//! Disks: partition tables, file systems of boot partitions, and folders that stand for them.
//!
//! Everything is read in place through [`crate::source::Blob`]: a file on a FAT volume in a disk image is a range of
//! that image, so nothing is copied, mounted or attached. Sources named below, once: *UEFI*: UEFI Specification
//! 2.11; *FAT*: Microsoft's "FAT32 File System Specification" 1.03; *DPS*: UAPI.2 "Discoverable Partitions
//! Specification"; *EDK2*: `MdeModulePkg/Universal/Disk/PartitionDxe`, `FatPkg/EnhancedFatDxe`.

mod ext4;
mod extents;
mod fat;
mod folder;
mod gpt;
mod tree;
mod volume;

pub use ext4::{ExtError, ExtVolume};
pub use extents::{Extent, Extents};
pub use fat::{FatError, FatKind, FatVolume};
pub use folder::FolderVolume;
pub use gpt::{Gpt, GptError, Partition, TableCopy, partition_type};
pub use tree::TreeVolume;
pub use volume::{Entry, EntryKind, Volume, VolumeError, is_same_name};
