//! What is built into a GRUB image: modules, configuration, prefix, memory disk.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io;

use super::build::GrubVersion;
use super::module::Module;
use crate::bytes::{ParseError, Reader};
use crate::disk::{FatError, FatVolume};
use crate::pe::{PeError, PeImage};
use crate::source::Blob;

/// Largest section `mods` that is read, in bytes: real ones have 1 to 5 MiB.
const MAX_MODULES: u64 = 64 << 20;
/// Largest `.sbat`, in bytes.
const MAX_SBAT: u64 = 1 << 20;
/// `struct grub_module_info64`, `magic`: "mimg".
const MODULE_MAGIC: u32 = 0x676d_696d;
/// `OBJ_TYPE_ELF` to `OBJ_TYPE_PREFIX` of `enum` in GRUB `include/grub/kernel.h`.
const ELF: u32 = 0;
const MEMDISK: u32 = 1;
const CONFIG: u32 = 2;
const PREFIX: u32 = 3;

/// A GRUB image, taken apart.
#[derive(Debug, Default)]
pub struct GrubImage {
    /// The build, from `.sbat` or the module `normal`; `None` without both.
    pub version: Option<GrubVersion>,
    /// Names of the modules that are built in.
    pub modules: BTreeSet<String>,
    /// The configuration that runs before anything is loaded, in order.
    pub early: Vec<String>,
    /// Where GRUB looks for its files: `(device)/path`, or a path on the device that it was loaded from.
    pub prefix: Option<String>,
    /// The memory disk, when there is one: only FAT is read, of another one the reason stands here.
    pub memdisk: Option<Result<FatVolume, FatError>>,
}

/// An image that can't be taken apart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrubError {
    /// The image itself.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Section `mods`.
    #[error("section mods: {0}")]
    Modules(#[from] ParseError),
    /// No section `mods`, or one of another kind.
    #[error("no section mods with a 64-bit module list")]
    NoModules,
}

impl GrubImage {
    /// Reads `.sbat` and the modules.
    ///
    /// # Errors
    /// [`GrubError`].
    pub fn of(image: &PeImage) -> Result<Self, GrubError> {
        let mut found = Self::default();
        if let Some(section) = image.section(".sbat") {
            let text = image.raw_data(section)?.read_prefix(MAX_SBAT)?;
            found.version = GrubVersion::from_sbat(&text_to_nul(&text));
        }
        let section = image.section("mods").ok_or(GrubError::NoModules)?;
        let blob = image.raw_data(section)?;
        let bytes = blob.read(MAX_MODULES)?;
        found.read_modules(&bytes)?;
        Ok(found)
    }

    /// The memory disk is squashfs, and the one of Debian's signed images since 2.12: a font, `/fonts/unicode.pf2`, and
    /// nothing else. Those have the module `peimage`, too.
    #[must_use]
    pub fn has_debians_memory_disk(&self) -> bool {
        let both = ["peimage", "squash4"].iter().all(|name| self.modules.contains(*name));
        matches!(self.memdisk, Some(Err(_))) && both
    }

    /// `struct grub_module_info64` and the `struct grub_module_header`s behind it, little endian.
    fn read_modules(&mut self, bytes: &[u8]) -> Result<(), GrubError> {
        let mut head = Reader::new(bytes);
        if head.u32("grub_module_info64.magic")? != MODULE_MAGIC {
            return Err(GrubError::NoModules);
        }
        head.u32("grub_module_info64.padding")?;
        let start = head.u64("grub_module_info64.offset")?;
        let size = head.u64("grub_module_info64.size")?;
        let mut whole = Reader::new(bytes);
        whole.take(start, "grub_module_info64.offset")?;
        let length = size.saturating_sub(start);
        let mut records = whole.sub(length, "grub_module_info64.size")?;
        while records.remaining() >= 8 {
            let kind = records.u32("grub_module_header.type")?;
            let size = records.u32("grub_module_header.size")?;
            let data = records.take(u64::from(size).saturating_sub(8), "grub_module_header.size")?;
            match kind {
                ELF => {
                    if let Some(module) = Module::parse(data) {
                        let shown = module.version.as_deref().map(GrubVersion::from_package);
                        self.version = self.version.take().or(shown);
                        self.modules.insert(module.name);
                    }
                }
                CONFIG => self.early.push(text_to_nul(data)),
                PREFIX => self.prefix = Some(text_to_nul(data)),
                MEMDISK => {
                    self.memdisk = Some(FatVolume::parse(&Blob::from_bytes(data), "memory disk"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn text_to_nul(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// `struct grub_module_info64` by hand: one prefix and one configuration.
    fn modules() -> Vec<u8> {
        let record = |kind: u32, text: &[u8]| {
            let size = u32::try_from(text.len() + 8).expect("small");
            [&kind.to_le_bytes()[..], &size.to_le_bytes(), text].concat()
        };
        let records = [record(PREFIX, b"/EFI/rig\0\0\0\0"), record(CONFIG, b"normal\0")].concat();
        let size = u64::try_from(records.len() + 24).expect("small");
        [b"mimg\0\0\0\0", &24_u64.to_le_bytes()[..], &size.to_le_bytes(), &records].concat()
    }

    #[test]
    fn records_are_read() {
        let mut image = GrubImage::default();
        image.read_modules(&modules()).expect("modules");
        assert_eq!(image.prefix.as_deref(), Some("/EFI/rig"));
        assert_eq!(image.early, ["normal"]);
    }

    #[test]
    fn lengths_that_lie_are_named() {
        let mut short = modules();
        short.truncate(40);
        let mut image = GrubImage::default();
        let error = image.read_modules(&short).expect_err("cut off").to_string();
        assert!(error.contains("grub_module_info64.size"), "{error}");
        let mut wrong = modules();
        wrong[0] = 0;
        assert!(matches!(image.read_modules(&wrong), Err(GrubError::NoModules)));
    }
}
