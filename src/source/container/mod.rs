//! Images inside something else: compressed, in an archive, or in a format of a virtual machine.
//!
//! What is compressed as a whole is unpacked into a temporary file without a name, with holes where there are zeros. Formats
//! with a block map are read in place. Nothing outside the image is ever opened: backing files, external data and extents
//! that an image names are refused. Sources: RFC 8878 (zstd), the XZ format 1.2, RFC 1952 (gzip), QEMU docs/interop/qcow2,
//! Microsoft's "Virtual Hard Disk Image Format Specification" 1.0 and [MS-VHDX], VMware's "Virtual Disk Format" 5.0.

mod mapped;
mod qcow2;
mod stream;
mod tarball;
mod vhd;
mod vhdx;
mod vmdk;

use std::io;

pub(super) use stream::{BlobReader, spool};

use super::Blob;
use crate::bytes::ParseError;

/// Most layers: a `.tar.gz` of a `.qcow2.zst` has four.
const MAX_LAYERS: usize = 6;

/// Bytes that one unpacked layer may have unless the caller says otherwise.
pub const DEFAULT_MAX_SIZE: u64 = 32 << 30;

/// An image taken out of its layers.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// Its bytes.
    pub content: Blob,
    /// The layers, outermost first, in words; none when there were none.
    pub layers: Vec<&'static str>,
}

/// An image that can't be taken out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// Reading or unpacking failed.
    #[error("{format}: {error}")]
    Io {
        /// The layer.
        format: &'static str,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A field is wrong.
    #[error("{format}: {error}")]
    Field {
        /// The layer.
        format: &'static str,
        /// Which, and where.
        #[source]
        error: ParseError,
    },
    /// More bytes than allowed.
    #[error("{format}: unpacks to more than {limit} bytes")]
    TooLarge {
        /// The layer.
        format: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Something that is refused, or not known.
    #[error("{format}: {why}")]
    Unsupported {
        /// The layer.
        format: &'static str,
        /// Why it is not read.
        why: String,
    },
    /// A format that is known and not read.
    #[error("{format}: this format is not read")]
    Unread {
        /// The format.
        format: &'static str,
        /// Command that takes what is in it out of the file `IMAGE`.
        how: &'static str,
    },
    /// Layers upon layers.
    #[error("more than {MAX_LAYERS} layers of archives and compression")]
    TooManyLayers,
}

/// Takes an image out of whatever it is in, judged by content; a file that is in nothing comes back as it is. `limit` is the
/// most bytes that a layer may unpack to.
///
/// # Errors
/// [`ContainerError`].
pub fn unpack(file: &Blob, limit: u64) -> Result<Unpacked, ContainerError> {
    unpack_watched(file, limit, &|_| (), &|_| ())
}

/// The same. `total` is told of packed bytes that are ahead, each layer anew, `progress` of those that are done.
///
/// # Errors
/// [`ContainerError`].
pub fn unpack_watched(
    file: &Blob,
    limit: u64,
    total: &dyn Fn(u64),
    progress: &dyn Fn(u64),
) -> Result<Unpacked, ContainerError> {
    let mut unpacked = Unpacked { content: file.clone(), layers: Vec::new() };
    for _ in 0..MAX_LAYERS {
        match layer(&unpacked.content, limit, (total, progress))? {
            None => return Ok(unpacked),
            Some((format, content)) => {
                unpacked.content = content;
                unpacked.layers.push(format);
            }
        }
    }
    Err(ContainerError::TooManyLayers)
}

type Watch<'a> = (&'a dyn Fn(u64), &'a dyn Fn(u64));

fn layer(
    file: &Blob,
    limit: u64,
    (total, progress): Watch<'_>,
) -> Result<Option<(&'static str, Blob)>, ContainerError> {
    let watched = || {
        total(file.len());
        progress
    };
    let start = file.read_prefix(512).map_err(|error| ContainerError::Io { format: "image", error })?;
    let (format, content) = if start.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
        ("zstd", stream::zstd(file, limit, watched())?)
    } else if start.starts_with(b"\xFD7zXZ\0") {
        ("xz", stream::xz(file, limit, watched())?)
    } else if start.starts_with(&[0x1F, 0x8B]) {
        ("gzip", stream::gzip(file, limit, watched())?)
    } else if start.get(257..262) == Some(b"ustar") {
        match tarball::disk(file, limit)? {
            Some(content) => ("tar", content),
            None => return Ok(None),
        }
    } else if start.starts_with(b"QFI\xFB") {
        ("qcow2", qcow2::open(file)?)
    } else if start.starts_with(b"KDMV") || start.starts_with(b"# Disk DescriptorFile") {
        ("VMDK", vmdk::open(file)?)
    } else if start.starts_with(b"vhdxfile") {
        ("VHDX", vhdx::open(file)?)
    } else if let Some((format, how)) = unread(&start) {
        return Err(ContainerError::Unread { format, how });
    } else if let Some(content) = vhd::open(file)? {
        ("VHD", content)
    } else {
        return Ok(None);
    };
    Ok(Some((format, content)))
}

/// Formats that are known by their first bytes and not read, each with a command that makes a raw image of `IMAGE`.
fn unread(start: &[u8]) -> Option<(&'static str, &'static str)> {
    const QEMU_IMG: &str = "qemu-img convert -O raw IMAGE disk.raw";
    // Offset and magic: QEMU block/{vdi,qed,parallels,bochs,cloop,dmg}.c, bzip2 1.0 `BZ_HDR_*`, LZ4 frame format 1.6, lzip(1),
    // lzop 1.04 `lzop_magic`, 7-Zip 7zFormat.txt, APPNOTE.TXT 4.3.7, RAR 5.0 archive format, FFU header, WIM header, squashfs 4.0,
    // and the sparse format of Android's libsparse.
    const FORMATS: &[(usize, &[u8], &str, &str)] = &[
        (64, &[0x7F, 0x10, 0xDA, 0xBE], "VDI", QEMU_IMG),
        (0, b"QED\0", "QED", QEMU_IMG),
        (0, b"WithoutFreeSpace", "Parallels", QEMU_IMG),
        (0, b"WithouFreSpacExt", "Parallels", QEMU_IMG),
        (0, b"COWD", "VMDK of ESX", QEMU_IMG),
        (0, b"Bochs Virtual HD Image", "Bochs", QEMU_IMG),
        (0, b"BZh", "bzip2", "bzip2 -dc IMAGE > disk.raw"),
        (0, &[0x04, 0x22, 0x4D, 0x18], "lz4", "lz4 -dc IMAGE > disk.raw"),
        (0, b"LZIP", "lzip", "lzip -dc IMAGE > disk.raw"),
        (0, &[0x89, b'L', b'Z', b'O', 0, 0x0D, 0x0A], "lzop", "lzop -dc IMAGE > disk.raw"),
        (0, &[0x5D, 0, 0], "lzma", "xz --format=lzma -dc IMAGE > disk.raw"),
        (0, &[b'7', b'z', 0xBC, 0xAF, 0x27, 0x1C], "7z", "7z x IMAGE"),
        (0, b"PK\x03\x04", "zip", "unzip IMAGE"),
        (0, b"Rar!\x1A\x07", "RAR", "unrar x IMAGE"),
        (0, &[0x3A, 0xFF, 0x26, 0xED], "Android sparse image", "simg2img IMAGE disk.raw"),
        (0, b"hsqs", "squashfs", "unsquashfs IMAGE"),
    ];
    let is_here = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(magic));
    FORMATS.iter().find(|(at, magic, ..)| is_here(*at, magic)).map(|(_, _, format, how)| (*format, *how))
}

fn unsupported(format: &'static str, why: impl Into<String>) -> ContainerError {
    ContainerError::Unsupported { format, why: why.into() }
}
