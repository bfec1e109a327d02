//! Event types of the firmware's log.

use std::fmt;

/// `TCG_EVENTTYPE`: an open set. No digest covers it, so it says what the writer *claims* to have measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(pub u32);

/// Types that firmware uses for one and the same measurement: which one depends on the version of the specification that it
/// follows (PFP 1.06, section 10.4.1: those on 2 replace the others, and firmware's code has gone by all of the first row).
const ALIKE: &[&[EventType]] = &[
    &[
        EventType::EFI_PLATFORM_FIRMWARE_BLOB,
        EventType::EFI_PLATFORM_FIRMWARE_BLOB2,
        EventType::POST_CODE,
        EventType::POST_CODE2,
        EventType::S_CRTM_CONTENTS,
    ],
    &[EventType::EFI_HANDOFF_TABLES, EventType::EFI_HANDOFF_TABLES2],
    &[EventType::EFI_VARIABLE_BOOT, EventType::EFI_VARIABLE_BOOT2],
    &[EventType::EFI_GPT_EVENT, EventType::EFI_GPT_EVENT2],
];

impl EventType {
    /// The same type, or another word for the same measurement.
    #[must_use]
    pub fn is_another_word_for(self, other: Self) -> bool {
        self == other || ALIKE.iter().any(|alike| alike.contains(&self) && alike.contains(&other))
    }
}

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal => $text:literal,)*) => {
        impl EventType {
            $($(#[$doc])* #[doc = concat!("`", $text, "`.")] pub const $name: Self = Self($number);)*

            /// The name in the specification; `None` for a number that it does not have.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }

            /// All types that the specification has, in its order.
            pub fn all() -> impl Iterator<Item = Self> {
                [$(Self($number),)*].into_iter()
            }

            /// The type that a specification's name stands for.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

// PFP 1.06, section 10.4.1, table "Events"; numbers of the SPDM events as in EDK2's UefiTcgPlatform.h.
event_types! {
    PREBOOT_CERT = 0x0000_0000 => "EV_PREBOOT_CERT",
    POST_CODE = 0x0000_0001 => "EV_POST_CODE",
    UNUSED = 0x0000_0002 => "EV_UNUSED",
    NO_ACTION = 0x0000_0003 => "EV_NO_ACTION",
    SEPARATOR = 0x0000_0004 => "EV_SEPARATOR",
    ACTION = 0x0000_0005 => "EV_ACTION",
    EVENT_TAG = 0x0000_0006 => "EV_EVENT_TAG",
    S_CRTM_CONTENTS = 0x0000_0007 => "EV_S_CRTM_CONTENTS",
    S_CRTM_VERSION = 0x0000_0008 => "EV_S_CRTM_VERSION",
    CPU_MICROCODE = 0x0000_0009 => "EV_CPU_MICROCODE",
    PLATFORM_CONFIG_FLAGS = 0x0000_000A => "EV_PLATFORM_CONFIG_FLAGS",
    TABLE_OF_DEVICES = 0x0000_000B => "EV_TABLE_OF_DEVICES",
    COMPACT_HASH = 0x0000_000C => "EV_COMPACT_HASH",
    IPL = 0x0000_000D => "EV_IPL",
    IPL_PARTITION_DATA = 0x0000_000E => "EV_IPL_PARTITION_DATA",
    NONHOST_CODE = 0x0000_000F => "EV_NONHOST_CODE",
    NONHOST_CONFIG = 0x0000_0010 => "EV_NONHOST_CONFIG",
    NONHOST_INFO = 0x0000_0011 => "EV_NONHOST_INFO",
    OMIT_BOOT_DEVICE_EVENTS = 0x0000_0012 => "EV_OMIT_BOOT_DEVICE_EVENTS",
    POST_CODE2 = 0x0000_0013 => "EV_POST_CODE2",
    EFI_VARIABLE_DRIVER_CONFIG = 0x8000_0001 => "EV_EFI_VARIABLE_DRIVER_CONFIG",
    EFI_VARIABLE_BOOT = 0x8000_0002 => "EV_EFI_VARIABLE_BOOT",
    EFI_BOOT_SERVICES_APPLICATION = 0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
    EFI_BOOT_SERVICES_DRIVER = 0x8000_0004 => "EV_EFI_BOOT_SERVICES_DRIVER",
    EFI_RUNTIME_SERVICES_DRIVER = 0x8000_0005 => "EV_EFI_RUNTIME_SERVICES_DRIVER",
    EFI_GPT_EVENT = 0x8000_0006 => "EV_EFI_GPT_EVENT",
    EFI_ACTION = 0x8000_0007 => "EV_EFI_ACTION",
    EFI_PLATFORM_FIRMWARE_BLOB = 0x8000_0008 => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
    EFI_HANDOFF_TABLES = 0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
    EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000_000A => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
    EFI_HANDOFF_TABLES2 = 0x8000_000B => "EV_EFI_HANDOFF_TABLES2",
    EFI_VARIABLE_BOOT2 = 0x8000_000C => "EV_EFI_VARIABLE_BOOT2",
    EFI_GPT_EVENT2 = 0x8000_000D => "EV_EFI_GPT_EVENT2",
    EFI_HCRTM_EVENT = 0x8000_0010 => "EV_EFI_HCRTM_EVENT",
    EFI_VARIABLE_AUTHORITY = 0x8000_00E0 => "EV_EFI_VARIABLE_AUTHORITY",
    EFI_SPDM_FIRMWARE_BLOB = 0x8000_00E1 => "EV_EFI_SPDM_FIRMWARE_BLOB",
    EFI_SPDM_FIRMWARE_CONFIG = 0x8000_00E2 => "EV_EFI_SPDM_FIRMWARE_CONFIG",
    EFI_SPDM_DEVICE_POLICY = 0x8000_00E3 => "EV_EFI_SPDM_DEVICE_POLICY",
    EFI_SPDM_DEVICE_AUTHORITY = 0x8000_00E4 => "EV_EFI_SPDM_DEVICE_AUTHORITY",
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => f.pad(&format!("{:#010x}", self.0)),
        }
    }
}
