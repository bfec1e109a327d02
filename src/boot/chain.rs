//! What boots: the images and their companions.

use crate::grub::GrubBuild;
use crate::pe::PeImage;
use crate::source::Blob;
use crate::tcg::{DigestSet, PcrIndex};

/// Names an input of a [`BootChain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputId(pub usize);

/// What an input is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputRole {
    /// The unified kernel image.
    Uki,
    /// The image that started it, or the shim before that.
    Loader,
    /// A UKI addon.
    Addon,
    /// A credential (`*.cred`).
    Credential,
    /// A system or configuration extension (`*.raw`).
    Extension,
    /// The machine's SMBIOS table.
    Smbios,
    /// A Linux kernel that boots without a stub.
    Kernel,
    /// An initrd of a Type #1 entry.
    Initrd,
    /// A file of a Type #1 entry's `extra` line.
    Extra,
    /// A Type #1 entry's file.
    BootEntry,
    /// The boot loader's configuration file.
    LoaderConf,
    /// An EFI driver that the boot loader loads.
    Driver,
    /// The partition table of the boot disk, as firmware measures it.
    PartitionTable,
    /// A file that GRUB opens.
    GrubFile,
    /// An event log or profile of a recorded boot.
    Baseline,
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
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Extra => "extra",
            Self::BootEntry => "boot-entry",
            Self::LoaderConf => "loader-conf",
            Self::Driver => "driver",
            Self::PartitionTable => "partition-table",
            Self::GrubFile => "grub-file",
            Self::Baseline => "baseline",
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

/// What the image is that is started last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Payload {
    /// A unified kernel image.
    #[default]
    UnifiedKernelImage,
    /// A Linux kernel: a Type #1 entry, or started by the firmware.
    Kernel,
    /// GRUB.
    Grub,
    /// A program that is not followed.
    Unknown,
}

/// A Type #1 entry (UAPI.1): what it passes to the program that it starts.
#[derive(Debug, Clone)]
pub struct EntryFile {
    /// Which input its file is.
    pub input: InputId,
    /// Its key is `linux`, not `efi`, `uki` or `uki-url`.
    pub is_linux: bool,
    /// Its `options` lines, joined with spaces.
    pub options: Option<String>,
    /// Its `initrd` lines: names are paths with backslashes, as they stand in the options.
    pub initrds: Vec<CompanionFile>,
    /// Its `extra` lines, where the boot loader knows them; names are paths with backslashes.
    pub extras: Vec<CompanionFile>,
}

/// A boot by GRUB, as far as its configuration could be followed.
#[derive(Debug, Clone)]
pub struct GrubBoot {
    /// What was observed of this build; `None` when nothing was.
    pub build: Option<&'static GrubBuild>,
    /// What GRUB does, in order.
    pub steps: Vec<GrubStep>,
    /// Why it was not followed up to the start of a kernel.
    pub stopped: Option<String>,
    /// The menu is shown and waits for a key.
    pub waits: bool,
    /// Whether the firmware has a setup decided something; it was taken to have one.
    pub asked_for_setup: bool,
    /// The module `peimage` is built in, which may start kernels in the firmware's place.
    pub has_peimage: bool,
    /// The kernel that starts.
    pub kernel: Option<NamedImage>,
    /// Its command line, its path in front.
    pub command_line: Option<String>,
    /// Its initrds.
    pub initrds: Vec<InputId>,
    /// The same boot with Secure Boot on, where modules are refused.
    pub secure: Option<Box<Self>>,
    /// A recorded boot of this GRUB, held against the medium: to go by where the boot can't be followed, or why it is of no use.
    pub recorded: Option<Result<Box<GrubReplay>, String>>,
}

/// A recorded boot by the same GRUB from the same configuration.
#[derive(Debug, Clone)]
pub struct GrubReplay {
    /// What it did, and does again.
    pub steps: Vec<ReplayStep>,
    /// The kernel.
    pub kernel: NamedImage,
    /// It is another one than in the recorded boot.
    pub kernel_changed: bool,
    /// Times that it was measured.
    pub kernel_measured: usize,
    /// What its EFI stub got as `LoadOptions`, UTF-16LE; `None` where it measured nothing.
    pub load_options: Option<Vec<u8>>,
    /// Its initrds.
    pub initrds: Vec<InputId>,
    /// Secure Boot was on.
    pub secure_boot: Option<bool>,
}

/// One step of a recorded boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayStep {
    /// As it was observed: the register, the event's data and digests, one line for people.
    Kept {
        /// The register.
        pcr: PcrIndex,
        /// Event data, with the NUL that ends it.
        data: Vec<u8>,
        /// What was extended.
        digests: DigestSet,
    },
    /// A file whose content is that of the medium.
    File {
        /// Its name as it is opened.
        name: String,
        /// Its content.
        input: InputId,
    },
    /// The kernel is measured.
    Kernel,
}

/// One thing that GRUB does and that is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrubStep {
    /// A command, after expansion.
    Command(String),
    /// A file is opened.
    File {
        /// Its name as it is opened.
        name: String,
        /// Its content.
        input: InputId,
    },
    /// The kernel is started.
    Kernel,
    /// The kernel's command line, its path in front.
    KernelCommandLine(String),
}

impl GrubBoot {
    /// A boot of which nothing is known, and why.
    #[must_use]
    pub fn not_followed(build: Option<&'static GrubBuild>, reason: String) -> Self {
        Self {
            build,
            steps: Vec::new(),
            stopped: Some(reason),
            waits: false,
            asked_for_setup: false,
            has_peimage: false,
            kernel: None,
            command_line: None,
            initrds: Vec::new(),
            secure: None,
            recorded: None,
        }
    }
}

/// What the firmware measures of the boot disk's partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionTable {
    /// The disk was not given.
    NotGiven,
    /// It can't be told, for this reason.
    Unknown(String),
    /// These bytes.
    Measured {
        /// Which input they are.
        input: InputId,
        /// `UEFI_GPT_DATA`.
        bytes: Vec<u8>,
    },
}

/// What is known because the boot medium was given.
#[derive(Debug, Clone)]
pub struct BootMedium {
    /// The partition table.
    pub partition_table: PartitionTable,
    /// `loader.conf`; `None` when there is none.
    pub loader_conf: Option<CompanionFile>,
    /// Boot options that the firmware tries before the one that starts this boot, in words.
    pub earlier_options: Vec<String>,
    /// Files beside shim that it reads under Secure Boot: more keys, or revocations.
    pub beside_shim: Vec<String>,
    /// The machine's EFI variables decided what starts.
    pub knows_variables: bool,
}

/// Everything that a boot reads from disk.
#[derive(Debug, Clone)]
pub struct BootChain {
    /// All files, in the order in which they were given; [`InputId`] is an index into it.
    pub inputs: Vec<Input>,
    /// The shim that the firmware starts, if there is one.
    pub shim: Option<NamedImage>,
    /// The boot loader that starts the UKI; `None` when the firmware, or shim, does.
    pub loader: Option<NamedImage>,
    /// LoadOptions that the boot option brings along for the program that the firmware starts; empty without.
    pub load_options: Vec<u8>,
    /// The image that is started last: a unified kernel image, or what `payload` says.
    pub uki: NamedImage,
    /// What it is.
    pub payload: Payload,
    /// The Type #1 entry that starts it.
    pub entry: Option<EntryFile>,
    /// Addons, in any order.
    pub addons: Vec<(Scope, NamedImage)>,
    /// Credentials, in any order.
    pub credentials: Vec<CompanionFile>,
    /// System and configuration extensions, in any order; the stub tells them apart by name.
    pub extensions: Vec<CompanionFile>,
    /// EFI drivers that systemd-boot loads, in its order.
    pub drivers: Vec<NamedImage>,
    /// What GRUB does, where it is what is started last and its configuration was given.
    pub grub: Option<GrubBoot>,
    /// The boot medium, when it was given.
    pub medium: Option<BootMedium>,
}
