//! The Linux kernel inside a UKI.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;

use crate::bytes::Reader;
use crate::pe::PeError;
use crate::source::Blob;

/// A kernel's version number: enough to choose rules by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 of 6.12.117.
    pub major: u16,
    /// 12 of 6.12.117.
    pub minor: u16,
}

impl KernelVersion {
    /// The number at the start of `uname -r` or of a bzImage's version text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a kernel image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The version text of a bzImage's setup header (`6.12.117+deb13-cloud-amd64 (...) #1 SMP ...`); kernels of
    /// other architectures have none.
    pub version_text: Option<String>,
    /// How the image is packed.
    pub format: KernelFormat,
}

/// How a kernel image is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelFormat {
    /// x86: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
    BzImage,
    /// arm64 and riscv `Image`: Documentation/arch/arm64/booting.rst, section 4.
    Image,
    /// `vmlinuz.efi`, the self-decompressing EFI form of other architectures: drivers/firmware/efi/libstub/zboot.
    Zboot,
}

impl Kernel {
    /// Looks at the first kilobytes of `file`; `None` when this is no kernel.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn parse(file: &Blob) -> Result<Option<Self>, PeError> {
        let start = file.read_prefix(64 << 10)?;
        let field = |offset: usize, length: usize| start.get(offset..)?.get(..length);
        if field(0x1FE, 2) == Some(&[0x55, 0xAA]) && field(0x202, 4) == Some(b"HdrS") {
            return Ok(Some(Self { version_text: bzimage_version(&start), format: KernelFormat::BzImage }));
        }
        if field(4, 4) == Some(b"zimg") {
            return Ok(Some(Self { version_text: None, format: KernelFormat::Zboot }));
        }
        if matches!(field(0x38, 4), Some(b"ARM\x64" | b"RSC\x05")) {
            return Ok(Some(Self { version_text: None, format: KernelFormat::Image }));
        }
        Ok(None)
    }
}

/// `kernel_version` at 0x20E: offset of the text, less 0x200; 0 when there is none.
fn bzimage_version(start: &[u8]) -> Option<String> {
    let pointer = Reader::new(start.get(0x20E..)?).u16("kernel_version").ok()?;
    if pointer == 0 {
        return None;
    }
    let text = start.get(usize::from(pointer).checked_add(0x200)?..)?;
    let text = text.split(|byte| *byte == 0).next()?;
    let text = std::str::from_utf8(text.get(..text.len().min(512))?).ok()?;
    KernelVersion::parse(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_numbers_are_read_from_the_start_of_the_text() {
        let version = |major, minor| Some(KernelVersion { major, minor });
        assert_eq!(KernelVersion::parse("6.12.117+deb13-cloud-amd64 (x) #1 SMP"), version(6, 12));
        assert_eq!(KernelVersion::parse("6.12-rig-tiny"), version(6, 12));
        assert_eq!(KernelVersion::parse("7.2.13+deb14"), version(7, 2));
        assert_eq!(KernelVersion::parse("vmlinuz"), None);
        assert_eq!(KernelVersion::parse("6"), None);
    }
}
