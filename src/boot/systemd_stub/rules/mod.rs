//! What a version of systemd-stub does: the columns of the table in `versions`, and where each was read in `sources`.

mod sources;
mod versions;

pub(in crate::boot) use sources::{
    ADDON_COMMAND_LINE, ADDON_IMAGE, ADDON_PART, ARCHIVE, INNER_KERNEL, LOAD_OPTIONS, PROFILE, SECTION,
    SMBIOS_COMMAND_LINE, SMBIOS_STRUCTURES, UNKNOWN_STUB,
};

use crate::uki::{SectionLookup, SystemdVersion};

/// Behaviour of one range of versions.
#[derive(Debug, Clone, Copy)]
pub struct StubRules {
    /// First version (major, minor) that behaves so.
    pub from: (u16, u16),
    /// Sections that go into PCR 11, in this order (`src/fundamental/uki.c`, `unified_sections`). `.pcrsig` is not
    /// among them: it signs the result.
    pub measured_sections: &'static [&'static str],
    /// How sections are found.
    pub lookup: SectionLookup,
    /// Knows profiles (`.profile`, `@N` in LoadOptions).
    pub profiles: bool,
    /// Sections whose memory range exceeds `SizeOfImage` are ignored.
    pub checks_size_of_image: bool,
    /// Which units of LoadOptions must be printable for them to be accepted.
    pub printable: Printable,
    /// Under Secure Boot in a confidential VM, LoadOptions are ignored even without `.cmdline`.
    pub refuses_options_in_confidential_vm: bool,
    /// The bytes of accepted LoadOptions that PCR 12 gets.
    pub measures_options: MeasuredOptions,
    /// How command lines are cleaned up.
    pub mangle: Mangle,
    /// What happens, in order; each only if there is something to do.
    pub steps: &'static [Step],
    /// Sections of addons that are used, beyond `.cmdline`.
    pub addons: Addons,
    /// An addon whose `.uname` differs from the UKI's is rejected.
    pub checks_addon_uname: bool,
    /// How the kernel in `.linux` is started.
    pub inner_kernel: InnerKernel,
    /// Parts of the initrd that the kernel gets, in order.
    pub initrd: &'static [InitrdPart],
    /// When those parts are padded to 4 bytes.
    pub padding: Padding,
    /// Words for the console are added to a command line that has none.
    pub adds_console: bool,
    /// `.efifw` is chosen by a look-up that can succeed.
    pub selects_firmware_image: bool,
}

/// Which UTF-16 units of LoadOptions must be above 0x1F.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Printable {
    /// The first.
    First,
    /// All up to the first NUL; the profile selector is refused with the rest.
    All,
}

/// What PCR 12 gets of accepted LoadOptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasuredOptions {
    /// The text as it came.
    Raw,
    /// The text after the clean-up.
    Mangled,
}

/// How a command line is cleaned up (`mangle_stub_cmdline`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mangle {
    /// LoadOptions: units outside 0x20 to 0x7E become spaces. `.cmdline` stays as it is.
    AsciiOnly,
    /// Units up to 0x1F become spaces.
    ControlToSpace,
    /// The same; then trailing spaces go.
    ControlToSpaceTrimEnd,
    /// Blanks (up to 0x20, and 0x7F) go at both ends and become spaces inside. An all-blank text gives an undefined
    /// result: the search for the first non-blank runs past its end.
    TrimUnsafe,
    /// The same without the defect.
    Trim,
}

/// Something that the stub does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// PCR 12: number of a profile other than 0.
    Profile,
    /// PCR 11: the unified sections.
    Sections,
    /// PCR 12: LoadOptions, if accepted.
    LoadOptions,
    /// PCR 4, by the firmware: each addon is loaded as an image.
    LoadAddons,
    /// PCR 12: command lines of addons, one event for each folder that has any.
    AddonCommandLinesByFolder,
    /// PCR 12: command lines of all addons, one event.
    AddonCommandLines,
    /// PCR 12: command line from SMBIOS.
    SmbiosCommandLine,
    /// PCR 1: SMBIOS structures, unless the boot loader measured them.
    SmbiosStructures,
    /// PCR 12: devicetrees of addons.
    AddonDevicetrees,
    /// PCR 12: archive of the UKI's credentials.
    Credentials,
    /// PCR 12: archive of global credentials.
    GlobalCredentials,
    /// PCR 13: archive of the UKI's system extensions.
    SystemExtensions,
    /// PCR 13: archive of global system extensions.
    GlobalSystemExtensions,
    /// PCR 12: archive of the UKI's configuration extensions.
    ConfigurationExtensions,
    /// PCR 12: archive of global configuration extensions.
    GlobalConfigurationExtensions,
    /// PCR 12: microcode of addons, last addon first.
    AddonMicrocode,
    /// PCR 12: initrds of addons.
    AddonInitrds,
}

/// What the stub takes from addons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addons {
    /// It knows none.
    None,
    /// `.cmdline`.
    CommandLine,
    /// `.cmdline`, `.dtb`.
    Devicetree,
    /// `.cmdline`, `.dtbauto`, `.dtb`, `.initrd`, `.ucode`.
    All,
}

/// How the kernel in `.linux` is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InnerKernel {
    /// By the firmware's LoadImage, which measures it into PCR 4; with Secure Boot the stub bypasses the firmware's
    /// checks, and with them the measurement.
    LoadImage,
    /// By the stub's own loader: nobody measures it. The stub's LoadedImage is used again, so LoadOptions that nothing
    /// replaced reach the kernel.
    OwnLoader,
}

/// A part of the initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitrdPart {
    /// Microcode of addons, last addon first.
    AddonMicrocode,
    /// `.ucode`.
    Microcode,
    /// An initrd that the boot loader brought along.
    Previous,
    /// `.initrd`.
    Initrd,
    /// Archive of the UKI's credentials.
    Credentials,
    /// Archive of global credentials.
    GlobalCredentials,
    /// Archive of the UKI's system extensions.
    SystemExtensions,
    /// Archive of global system extensions.
    GlobalSystemExtensions,
    /// Archive of the UKI's configuration extensions.
    ConfigurationExtensions,
    /// Archive of global configuration extensions.
    GlobalConfigurationExtensions,
    /// `.pcrsig` as `/.extra/tpm2-pcr-signature.json`.
    PcrSignature,
    /// `.pcrpkey` as `/.extra/tpm2-pcr-public-key.pem`.
    PcrPublicKey,
    /// `.osrel` as `/.extra/os-release`.
    OsRelease,
    /// `.profile` as `/.extra/profile`.
    Profile,
    /// `/.extra/boot-secret`.
    BootSecret,
    /// Initrds of addons.
    AddonInitrds,
}

/// When the parts of the initrd are padded to 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// When anything beside `.initrd` is there.
    BesideInitrd,
    /// When there are several parts.
    SeveralParts,
}

impl StubRules {
    /// All rows, ascending.
    pub const ROWS: &[Self] = versions::ROWS;

    /// The last major version that a row was made for. Later ones get its rules, and a warning.
    pub const NEWEST: u16 = 262;

    /// The rules of a version; `None` for one before 252, which measures other things in other PCRs.
    #[must_use]
    pub fn of(version: &SystemdVersion) -> Option<&'static Self> {
        Self::ROWS.iter().rfind(|row| row.from <= version.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_versions_find_theirs() {
        assert!(StubRules::ROWS.is_sorted_by_key(|row| row.from));
        let row = |text: &str| {
            let version: SystemdVersion = text.parse().expect("a version");
            StubRules::of(&version).map(|row| row.from)
        };
        assert_eq!(row("251.9"), None);
        assert_eq!(row("252.2"), Some((252, 0)));
        assert_eq!(row("252.39-1~deb12u2"), Some((252, 6)));
        assert_eq!(row("254.26-1~bpo12+1"), Some((254, 2)));
        assert_eq!(row("255.4-1ubuntu8.4"), Some((255, 0)));
        assert_eq!(row("257~rc1"), Some((257, 0)));
        assert_eq!(row("300"), Some((262, 0)));
    }
}
