//! What an event is about, told alike from a prediction and from a log: only so can they be put side by side.

use std::fmt;

use crate::tcg::event_data::{Context, EventData, decode};
use crate::tcg::words::{NVPCR_SEPARATOR, OS_SEPARATOR, PHASES};
use crate::tcg::{Digest, DigestSet, EventType, PcrIndex};

/// The kind of thing that was measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `EV_SEPARATOR`, whatever its content.
    Separator,
    /// The word `os-separator` of systemd.
    OsSeparator,
    /// The word `nvpcr-separator` of systemd.
    NvPcrSeparator,
    /// A text that the firmware measures when something happens.
    Action(String),
    /// The image that the firmware starts first.
    Loader,
    /// A unified kernel image.
    Uki,
    /// A kernel: in `.linux` of a UKI, or a file.
    Kernel,
    /// A UKI addon.
    Addon,
    /// A driver.
    Driver,
    /// Any other image, by the name of its file.
    Image(String),
    /// A UEFI variable of Secure Boot.
    SecureBootVariable(String),
    /// The entry of db, or of shim's lists, that let an image start.
    Authority(String),
    /// A boot option or boot order.
    BootVariable(String),
    /// The partition table.
    PartitionTable,
    /// systemd-boot's configuration file.
    LoaderConf,
    /// A section's name.
    SectionName(String),
    /// A section's content.
    Section(String),
    /// A command line in PCR 12 (LoadOptions, of addons, of SMBIOS).
    Options,
    /// The number of the UKI profile.
    Profile,
    /// An archive that systemd-stub packs, by its name: credentials, extensions.
    Archive(String),
    /// A part of an addon.
    AddonPart,
    /// The kernel's LoadOptions (PCR 9).
    KernelOptions,
    /// The initrd (PCR 9).
    Initrd,
    /// A phase word of systemd.
    Phase(String),
    /// The host's identity (PCR 15), by the word's first part.
    Identity(String),
    /// SMBIOS structures or configuration tables.
    Smbios,
    /// A command or file of GRUB.
    Grub,
    /// Lists of shim.
    Mok(String),
    /// An entry of IMA.
    Ima,
    /// Firmware code.
    FirmwareCode,
    /// Anything else, by its register.
    Other(PcrIndex),
}

impl Topic {
    /// The topic of a word that systemd's user space measured.
    #[must_use]
    pub fn of_word(pcr: PcrIndex, word: &str) -> Self {
        match word {
            OS_SEPARATOR => Self::OsSeparator,
            NVPCR_SEPARATOR => Self::NvPcrSeparator,
            word if PHASES.contains(&word) && pcr.get() == 11 => Self::Phase(word.to_owned()),
            word if pcr.get() == 15 => Self::Identity(word.split(':').next().unwrap_or_default().to_owned()),
            _ => Self::Other(pcr),
        }
    }

    /// The topic of a firmware event by its type and data.
    #[must_use]
    pub fn of_event(pcr: PcrIndex, event_type: EventType, data: &[u8], digests: &DigestSet) -> Self {
        let decoded = decode(event_type, data, Context::default()).data;
        Self::of_decoded(pcr, event_type, &decoded, data, digests)
    }

    /// The same, where the data is decoded already.
    pub(super) fn of_decoded(
        pcr: PcrIndex,
        event_type: EventType,
        decoded: &EventData<'_>,
        data: &[u8],
        digests: &DigestSet,
    ) -> Self {
        match (event_type, decoded) {
            (EventType::SEPARATOR, _) => Self::Separator,
            (EventType::EFI_ACTION, EventData::Text(text)) => Self::Action(text.text.to_string()),
            (
                EventType::EFI_BOOT_SERVICES_APPLICATION
                | EventType::EFI_BOOT_SERVICES_DRIVER
                | EventType::EFI_RUNTIME_SERVICES_DRIVER,
                EventData::ImageLoad(image),
            ) => Self::of_image(pcr, image.path.file().as_deref()),
            (EventType::EFI_VARIABLE_AUTHORITY, EventData::Variable(variable)) => {
                Self::Authority(variable.variable.name.clone())
            }
            (EventType::EFI_VARIABLE_BOOT | EventType::EFI_VARIABLE_BOOT2, EventData::Variable(variable)) => {
                Self::BootVariable(variable.variable.name.clone())
            }
            (_, EventData::Variable(variable)) if pcr.get() == 7 => {
                Self::SecureBootVariable(variable.variable.name.clone())
            }
            (_, EventData::Variable(variable)) => Self::BootVariable(variable.variable.name.clone()),
            (EventType::EFI_GPT_EVENT | EventType::EFI_GPT_EVENT2, _) => Self::PartitionTable,
            (_, EventData::Tag(tag)) => Self::of_tag(pcr, tag.id),
            (EventType::IPL, EventData::Text(text)) => Self::of_ipl(pcr, &text.text, data, digests),
            (_, EventData::HandoffTables(_)) => Self::Smbios,
            _ if pcr.get() == 0 => Self::FirmwareCode,
            _ => Self::Other(pcr),
        }
    }

    /// Another event in the place of this one: an image instead of an image, even if it is about another program.
    #[must_use]
    pub(super) fn may_stand_for(&self, other: &Self) -> bool {
        // A kernel that its stub has in memory is in the place of a kernel only.
        let is_image = |topic: &Self| matches!(topic, Self::Loader | Self::Uki | Self::Image(_));
        match (self, other) {
            (Self::Other(_), Self::Other(_)) | (Self::Authority(_), Self::Authority(_)) => true,
            (one, other) => one == other || (is_image(one) && is_image(other)),
        }
    }

    /// User space measures it after the firmware's log ended.
    #[must_use]
    pub(super) fn comes_later(&self) -> bool {
        matches!(
            self,
            Self::OsSeparator | Self::NvPcrSeparator | Self::Phase(_) | Self::Identity(_) | Self::Ima
        )
    }

    fn of_image(pcr: PcrIndex, file: Option<&str>) -> Self {
        if pcr.get() != 4 {
            return Self::Driver;
        }
        // A kernel in memory has a device path without a file.
        let Some(file) = file else { return Self::Kernel };
        let name = file.to_ascii_lowercase().replace('/', "\\");
        match name.rsplit('\\').next().unwrap_or_default() {
            addon if addon.ends_with(".addon.efi") => Self::Addon,
            "bootx64.efi" | "bootaa64.efi" | "bootia32.efi" | "bootriscv64.efi" => Self::Loader,
            boot if boot.starts_with("systemd-boot") || boot.starts_with("shim") => Self::Loader,
            kernel if kernel.starts_with("vmlinuz") || kernel == "linux" => Self::Kernel,
            _ if name.contains("\\efi\\linux\\") => Self::Uki,
            other => Self::Image(other.to_owned()),
        }
    }

    fn of_tag(pcr: PcrIndex, tag: u32) -> Self {
        match tag {
            0x8F3B_22ED => Self::KernelOptions,
            0x8F3B_22EC => Self::Initrd,
            0xF5BC_582A => Self::LoaderConf,
            0x13AE_D6DB => Self::Profile,
            0x6C46_F751 | 0x49DF_FE0F | 0xDAC0_8E1A => Self::AddonPart,
            0xD5CB_7CBC | 0xE0D4_7BC8 | 0xC0B3_BD23 => Self::Smbios,
            _ => Self::Other(pcr),
        }
    }

    fn of_ipl(pcr: PcrIndex, text: &str, data: &[u8], digests: &DigestSet) -> Self {
        let is_hash_of =
            |bytes: &[u8]| digests.iter().any(|digest| Digest::of(digest.algorithm(), bytes) == digest);
        let hashes_data = is_hash_of(data);
        match pcr.get() {
            8 => Self::Grub,
            9 => Self::Grub,
            // The name is hashed in ASCII with its NUL, and logged in UTF-16 (systemd `measure_sections`).
            11 if text.starts_with('.') && is_hash_of(&[text.as_bytes(), &[0]].concat()) => {
                Self::SectionName(text.to_owned())
            }
            11 if text.starts_with('.') => Self::Section(text.to_owned()),
            12 | 13 if text.ends_with(" initrd") && !hashes_data => Self::Archive(text.to_owned()),
            12 => Self::Options,
            7 | 14 => Self::Mok(text.to_owned()),
            _ => Self::Other(pcr),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Separator => f.write_str("separator"),
            Self::OsSeparator => f.write_str("os-separator"),
            Self::NvPcrSeparator => f.write_str("nvpcr-separator"),
            Self::Action(text) => write!(f, "\"{text}\""),
            Self::Loader => f.write_str("boot loader"),
            Self::Uki => f.write_str("unified kernel image"),
            Self::Kernel => f.write_str("kernel"),
            Self::Addon => f.write_str("addon"),
            Self::Driver => f.write_str("driver"),
            Self::Image(name) => write!(f, "image {name}"),
            Self::SecureBootVariable(name) | Self::BootVariable(name) => write!(f, "variable {name}"),
            Self::Authority(name) => write!(f, "authority of {name}"),
            Self::PartitionTable => f.write_str("partition table"),
            Self::LoaderConf => f.write_str("loader.conf"),
            Self::SectionName(name) => write!(f, "name {name}"),
            Self::Section(name) => write!(f, "section {name}"),
            Self::Options => f.write_str("options"),
            Self::Profile => f.write_str("profile"),
            Self::Archive(name) | Self::Mok(name) => f.write_str(name),
            Self::AddonPart => f.write_str("part of an addon"),
            Self::KernelOptions => f.write_str("kernel command line"),
            Self::Initrd => f.write_str("initrd"),
            Self::Phase(word) | Self::Identity(word) => f.write_str(word),
            Self::Smbios => f.write_str("SMBIOS"),
            Self::Grub => f.write_str("GRUB"),
            Self::Ima => f.write_str("IMA entry"),
            Self::FirmwareCode => f.write_str("firmware code"),
            Self::Other(pcr) => write!(f, "event in PCR {pcr}"),
        }
    }
}
