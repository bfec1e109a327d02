//! What boots: the images and their companions.

use crate::pe::PeImage;
use crate::source::Blob;

/// Names an input of a [`BootChain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputId(pub usize);

/// What an input is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputRole {
    /// The unified kernel image.
    Uki,
    /// The image that started it.
    Loader,
    /// A UKI addon.
    Addon,
    /// A credential (`*.cred`).
    Credential,
    /// A system or configuration extension (`*.raw`).
    Extension,
    /// The machine's SMBIOS table.
    Smbios,
}

impl InputRole {
    /// The word in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uki => "uki",
            Self::Loader => "boot-loader",
            Self::Addon => "addon",
            Self::Credential => "credential",
            Self::Extension => "extension",
            Self::Smbios => "smbios",
        }
    }
}

/// A file that the prediction was made from.
#[derive(Debug, Clone)]
pub struct Input {
    /// What it is for.
    pub role: InputRole,
    /// Its file name.
    pub name: String,
    /// Its bytes.
    pub file: Blob,
}

/// An image of the chain.
#[derive(Debug, Clone)]
pub struct NamedImage {
    /// Which input it is.
    pub input: InputId,
    /// Its file name; the stub sorts by it.
    pub name: String,
    /// Its headers.
    pub image: PeImage,
}

/// Whom a companion file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every UKI: it lies in `\loader\addons`, `\loader\credentials` or `\loader\extensions`.
    Global,
    /// One UKI: it lies in that UKI's `.extra.d`.
    Local,
}

/// A credential or extension beside the UKI.
#[derive(Debug, Clone)]
pub struct CompanionFile {
    /// Which input it is.
    pub input: InputId,
    /// Whom it is for.
    pub scope: Scope,
    /// Its file name: the stub chooses and sorts by it, and it stands in the archive.
    pub name: String,
    /// Its bytes.
    pub file: Blob,
}

/// Everything that a boot reads from disk.
#[derive(Debug, Clone)]
pub struct BootChain {
    /// All files, in the order in which they were given; [`InputId`] is an index into it.
    pub inputs: Vec<Input>,
    /// The image that starts the UKI; `None` when the firmware does.
    pub loader: Option<NamedImage>,
    /// The unified kernel image.
    pub uki: NamedImage,
    /// Addons, in any order.
    pub addons: Vec<(Scope, NamedImage)>,
    /// Credentials, in any order.
    pub credentials: Vec<CompanionFile>,
    /// System and configuration extensions, in any order; the stub tells them apart by name.
    pub extensions: Vec<CompanionFile>,
}
