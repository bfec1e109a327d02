//! Unified kernel images and their relatives: what systemd puts into PE sections (UAPI.5 "Unified Kernel
//! Image", systemd-stub(7)).
//!
//! This module says what is *in* a file. What a certain stub makes of it (which of several equal sections it
//! takes, what it measures) depends on the stub's version and is the business of [`crate::boot`].

mod kernel;
mod os_release;
mod sections;
mod version;

pub use kernel::{Kernel, KernelFormat, KernelVersion};
pub use os_release::os_release_fields;
pub use sections::{LoadedSection, ProfileError, SectionLookup, SectionSet, profile_count};
pub use version::{LoaderInfo, NotAVersion, Product, SystemdVersion};

use crate::pe::{PeError, PeImage, long_names};

/// Most bytes of a section that is read as text (`.cmdline`, `.osrel`, `.uname`, `.profile`, `.sbat`): far more
/// than any real one has.
pub const MAX_TEXT: u64 = 1 << 20;

/// What a PE file is, judged by its sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageRole {
    /// A unified kernel image: it has `.linux`.
    Uki,
    /// An addon for one: systemd's addon stub, without a kernel.
    Addon,
    /// systemd-boot.
    SystemdBoot,
    /// A Linux kernel with an EFI stub of its own.
    Kernel,
    /// shim.
    Shim,
    /// GRUB.
    Grub,
    /// Some other EFI program.
    Other,
}

impl ImageRole {
    /// Judges `image`.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn of(image: &PeImage) -> Result<Self, PeError> {
        if image.section(".linux").is_some() {
            return Ok(Self::Uki);
        }
        match LoaderInfo::of(image)?.map(|info| info.product) {
            Some(Product::SystemdBoot) => return Ok(Self::SystemdBoot),
            Some(Product::SystemdAddon | Product::SystemdStub) => return Ok(Self::Addon),
            _ => {}
        }
        // `.vendor_cert` and `.sbatlevel` exceed 8 bytes, so the header names them through the string table;
        // `.mods`/`mods` is where grub-mkimage puts GRUB's modules.
        if image.section("mods").is_some() {
            return Ok(Self::Grub);
        }
        if Kernel::parse(&image.file)?.is_some() {
            return Ok(Self::Kernel);
        }
        if long_names(image)?.iter().flatten().any(|name| name == ".vendor_cert") {
            return Ok(Self::Shim);
        }
        // systemd's addons of before 255 have no .sdmagic; they are known by what they carry.
        let carries = [".cmdline", ".dtb", ".dtbauto", ".initrd", ".ucode"];
        if carries.iter().any(|name| image.section(name).is_some()) {
            return Ok(Self::Addon);
        }
        Ok(Self::Other)
    }

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uki => "unified kernel image",
            Self::Addon => "UKI addon",
            Self::SystemdBoot => "systemd-boot",
            Self::Kernel => "Linux kernel",
            Self::Shim => "shim",
            Self::Grub => "GRUB",
            Self::Other => "EFI program",
        }
    }

    /// The word for it in documents.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Uki => "uki",
            Self::Addon => "addon",
            Self::SystemdBoot => "systemd-boot",
            Self::Kernel => "kernel",
            Self::Shim => "shim",
            Self::Grub => "grub",
            Self::Other => "other",
        }
    }
}
