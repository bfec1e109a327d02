//! What each version of systemd-stub does, as rows.
//!
//! A row holds from its version up to the next row's. Read in the sources of 252 to 261 and of the development tree
//! of 262 (2026-07), with 262.1's binaries; "observed" names the versions whose behaviour real boots confirmed.

use super::super::Rule;
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

const SECTIONS_252: &[&str] = &[".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];
const SECTIONS_254: &[&str] =
    &[".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey"];
const SECTIONS_256: &[&str] =
    &[".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey"];
const SECTIONS_257: &[&str] = &[
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey",
    ".profile", ".dtbauto", ".hwids",
];
const SECTIONS_258: &[&str] = &[
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey",
    ".profile", ".dtbauto", ".hwids", ".efifw",
];

const STEPS_252: &[Step] =
    &[Step::Sections, Step::LoadOptions, Step::Credentials, Step::GlobalCredentials, Step::SystemExtensions];
const STEPS_254: &[Step] = &[
    Step::Sections,
    Step::LoadOptions,
    Step::LoadAddons,
    Step::AddonCommandLinesByFolder,
    Step::SmbiosCommandLine,
    Step::Credentials,
    Step::GlobalCredentials,
    Step::SystemExtensions,
];
const STEPS_255: &[Step] = &[
    Step::Sections,
    Step::LoadOptions,
    Step::LoadAddons,
    Step::AddonCommandLines,
    Step::SmbiosCommandLine,
    Step::Credentials,
    Step::GlobalCredentials,
    Step::SystemExtensions,
    Step::AddonDevicetrees,
];
const STEPS_256: &[Step] = &[
    Step::Sections,
    Step::LoadOptions,
    Step::LoadAddons,
    Step::AddonCommandLines,
    Step::SmbiosCommandLine,
    Step::Credentials,
    Step::GlobalCredentials,
    Step::SystemExtensions,
    Step::ConfigurationExtensions,
    Step::AddonDevicetrees,
];
const STEPS_257: &[Step] = &[
    Step::Profile,
    Step::Sections,
    Step::LoadOptions,
    Step::LoadAddons,
    Step::AddonCommandLines,
    Step::SmbiosCommandLine,
    Step::AddonDevicetrees,
    Step::Credentials,
    Step::GlobalCredentials,
    Step::SystemExtensions,
    Step::ConfigurationExtensions,
    Step::AddonMicrocode,
    Step::AddonInitrds,
];
const STEPS_258: &[Step] = &[
    Step::Profile,
    Step::Sections,
    Step::LoadOptions,
    Step::LoadAddons,
    Step::AddonCommandLines,
    Step::SmbiosCommandLine,
    Step::AddonDevicetrees,
    Step::Credentials,
    Step::GlobalCredentials,
    Step::SystemExtensions,
    Step::GlobalSystemExtensions,
    Step::ConfigurationExtensions,
    Step::GlobalConfigurationExtensions,
    Step::AddonMicrocode,
    Step::AddonInitrds,
];
const STEPS_261: &[Step] = &[
    Step::Profile,
    Step::Sections,
    Step::LoadOptions,
    Step::LoadAddons,
    Step::AddonCommandLines,
    Step::SmbiosCommandLine,
    Step::SmbiosStructures,
    Step::AddonDevicetrees,
    Step::Credentials,
    Step::GlobalCredentials,
    Step::SystemExtensions,
    Step::GlobalSystemExtensions,
    Step::ConfigurationExtensions,
    Step::GlobalConfigurationExtensions,
    Step::AddonMicrocode,
    Step::AddonInitrds,
];

const INITRD_252: &[InitrdPart] = &[
    InitrdPart::Initrd,
    InitrdPart::Credentials,
    InitrdPart::GlobalCredentials,
    InitrdPart::SystemExtensions,
    InitrdPart::PcrSignature,
    InitrdPart::PcrPublicKey,
];
const INITRD_256: &[InitrdPart] = &[
    InitrdPart::Microcode,
    InitrdPart::Initrd,
    InitrdPart::Credentials,
    InitrdPart::GlobalCredentials,
    InitrdPart::SystemExtensions,
    InitrdPart::ConfigurationExtensions,
    InitrdPart::PcrSignature,
    InitrdPart::PcrPublicKey,
];
const INITRD_257: &[InitrdPart] = &[
    InitrdPart::AddonMicrocode,
    InitrdPart::Microcode,
    InitrdPart::Initrd,
    InitrdPart::Credentials,
    InitrdPart::GlobalCredentials,
    InitrdPart::SystemExtensions,
    InitrdPart::ConfigurationExtensions,
    InitrdPart::PcrSignature,
    InitrdPart::PcrPublicKey,
    InitrdPart::OsRelease,
    InitrdPart::Profile,
    InitrdPart::AddonInitrds,
];
const INITRD_258: &[InitrdPart] = &[
    InitrdPart::AddonMicrocode,
    InitrdPart::Microcode,
    InitrdPart::Initrd,
    InitrdPart::Credentials,
    InitrdPart::GlobalCredentials,
    InitrdPart::SystemExtensions,
    InitrdPart::GlobalSystemExtensions,
    InitrdPart::ConfigurationExtensions,
    InitrdPart::GlobalConfigurationExtensions,
    InitrdPart::PcrSignature,
    InitrdPart::PcrPublicKey,
    InitrdPart::OsRelease,
    InitrdPart::Profile,
    InitrdPart::AddonInitrds,
];
const INITRD_261: &[InitrdPart] = &[
    InitrdPart::AddonMicrocode,
    InitrdPart::Microcode,
    InitrdPart::Previous,
    InitrdPart::Initrd,
    InitrdPart::Credentials,
    InitrdPart::GlobalCredentials,
    InitrdPart::SystemExtensions,
    InitrdPart::GlobalSystemExtensions,
    InitrdPart::ConfigurationExtensions,
    InitrdPart::GlobalConfigurationExtensions,
    InitrdPart::PcrSignature,
    InitrdPart::PcrPublicKey,
    InitrdPart::OsRelease,
    InitrdPart::Profile,
    InitrdPart::BootSecret,
    InitrdPart::AddonInitrds,
];

/// Observed: 252.39.
const V252: StubRules = StubRules {
    from: (252, 0),
    measured_sections: SECTIONS_252,
    lookup: SectionLookup::LastByPrefix,
    profiles: false,
    checks_size_of_image: false,
    printable: Printable::First,
    refuses_options_in_confidential_vm: false,
    measures_options: MeasuredOptions::Raw,
    mangle: Mangle::AsciiOnly,
    steps: STEPS_252,
    addons: Addons::None,
    checks_addon_uname: false,
    inner_kernel: InnerKernel::LoadImage,
    initrd: INITRD_252,
    padding: Padding::BesideInitrd,
    adds_console: false,
    selects_firmware_image: false,
};
const V252_3: StubRules = StubRules {
    from: (252, 3),
    measures_options: MeasuredOptions::Mangled,
    mangle: Mangle::ControlToSpace,
    ..V252
};
const V252_6: StubRules = StubRules { from: (252, 6), mangle: Mangle::ControlToSpaceTrimEnd, ..V252_3 };
const V253: StubRules = StubRules { from: (253, 0), ..V252_6 };
/// Observed: 254.26.
const V254: StubRules = StubRules {
    from: (254, 0),
    measured_sections: SECTIONS_254,
    steps: STEPS_254,
    addons: Addons::CommandLine,
    checks_addon_uname: true,
    ..V253
};
const V254_2: StubRules = StubRules { from: (254, 2), refuses_options_in_confidential_vm: true, ..V254 };
const V255: StubRules = StubRules {
    from: (255, 0),
    mangle: Mangle::TrimUnsafe,
    steps: STEPS_255,
    addons: Addons::Devicetree,
    checks_addon_uname: false,
    ..V254_2
};
const V255_5: StubRules = StubRules { from: (255, 5), checks_addon_uname: true, ..V255 };
const V256: StubRules = StubRules {
    from: (256, 0),
    measured_sections: SECTIONS_256,
    steps: STEPS_256,
    initrd: INITRD_256,
    ..V255_5
};
/// Observed: 257.13.
const V257: StubRules = StubRules {
    from: (257, 0),
    measured_sections: SECTIONS_257,
    lookup: SectionLookup::FirstExact,
    profiles: true,
    mangle: Mangle::Trim,
    steps: STEPS_257,
    addons: Addons::All,
    initrd: INITRD_257,
    padding: Padding::SeveralParts,
    ..V256
};
const V258: StubRules = StubRules {
    from: (258, 0),
    measured_sections: SECTIONS_258,
    steps: STEPS_258,
    inner_kernel: InnerKernel::OwnLoader,
    initrd: INITRD_258,
    ..V257
};
const V259: StubRules = StubRules { from: (259, 0), printable: Printable::All, ..V258 };
const V260: StubRules = StubRules { from: (260, 0), ..V259 };
const V261: StubRules =
    StubRules { from: (261, 0), steps: STEPS_261, initrd: INITRD_261, adds_console: true, ..V260 };
/// Observed: 262.1.
const V262: StubRules =
    StubRules { from: (262, 0), checks_size_of_image: true, selects_firmware_image: true, ..V261 };

impl StubRules {
    /// All rows, ascending.
    pub const ROWS: &[Self] =
        &[V252, V252_3, V252_6, V253, V254, V254_2, V255, V255_5, V256, V257, V258, V259, V260, V261, V262];

    /// The last major version that a row was made for. Later ones get its rules, and a warning.
    pub const NEWEST: u16 = 262;

    /// The rules of a version; `None` for one before 252, which measures other things in other PCRs.
    #[must_use]
    pub fn of(version: &SystemdVersion) -> Option<&'static Self> {
        Self::ROWS.iter().rfind(|row| row.from <= version.key())
    }
}

/// PCR 11, both events of a section.
pub(super) const SECTION: Rule = Rule {
    id: "stub-section",
    statement: "systemd-stub measures each unified section that is present: its name with the final NUL, then its \
                content as loaded, in the order of a fixed table",
    source: "systemd src/boot/stub.c measure_sections, src/fundamental/uki.c unified_sections; 252 to 262",
};
/// PCR 12, LoadOptions.
pub(super) const LOAD_OPTIONS: Rule = Rule {
    id: "stub-load-options",
    statement: "systemd-stub measures LoadOptions that it accepts in place of .cmdline, as UTF-16 with the final NUL",
    source: "systemd src/boot/stub.c process_arguments/use_load_options, tpm_log_load_options; 252 to 262",
};
/// PCR 12, profile number.
pub(super) const PROFILE: Rule = Rule {
    id: "stub-profile",
    statement: "systemd-stub measures the number of a profile other than 0 as UTF-16 decimal text",
    source: "systemd src/boot/stub.c measure_profile; from 257",
};
/// PCR 4, addons.
pub(super) const ADDON_IMAGE: Rule = Rule {
    id: "stub-addon-image",
    statement: "systemd-stub has the firmware load each addon, which measures its image digest, global ones first, \
                each folder sorted by name",
    source: "systemd src/boot/stub.c load_addons; EDK2 MeasurePeImageAndExtend; from 254",
};
/// PCR 12, command lines of addons.
pub(super) const ADDON_COMMAND_LINE: Rule = Rule {
    id: "stub-addon-cmdline",
    statement: "systemd-stub joins the command lines of addons with spaces and measures them as UTF-16 with the \
                final NUL",
    source: "systemd src/boot/stub.c cmdline_append_and_measure_addons; from 254",
};
/// PCR 12, other parts of addons.
pub(super) const ADDON_PART: Rule = Rule {
    id: "stub-addon-part",
    statement: "systemd-stub measures devicetree, microcode and initrd of addons as tagged events",
    source: "systemd src/boot/stub.c; devicetree from 255, microcode and initrd from 257",
};
/// PCR 12, SMBIOS.
pub(super) const SMBIOS_COMMAND_LINE: Rule = Rule {
    id: "stub-smbios-cmdline",
    statement: "systemd-stub measures the command line that SMBIOS type 11 adds \
                (io.systemd.stub.kernel-cmdline-extra), not in confidential VMs",
    source: "systemd src/boot/stub.c cmdline_append_and_measure_smbios; from 254",
};
/// PCR 1, SMBIOS.
pub(in super::super) const SMBIOS_STRUCTURES: Rule = Rule {
    id: "smbios-structures",
    statement: "systemd-boot, or else the stub, measures each SMBIOS structure of type 1, 2 and 11; of type 1 with the \
                wake-up type zeroed",
    source: "systemd src/boot/smbios.c; from 261; type 1 observed with 262.1",
};
/// PCR 12 and 13, archives.
pub(super) const ARCHIVE: Rule = Rule {
    id: "stub-archive",
    statement: "systemd-stub packs credentials and extensions found beside the UKI into cpio archives and measures \
                each archive",
    source: "systemd src/boot/cpio.c pack_cpio; 252 to 262",
};
/// PCR 4, inner kernel.
pub(super) const INNER_KERNEL: Rule = Rule {
    id: "stub-inner-kernel",
    statement: "systemd-stub up to 257 starts the kernel in .linux through the firmware's LoadImage, which measures its \
                image digest; not with Secure Boot, where the stub bypasses the firmware's check",
    source: "systemd src/boot/efi/linux.c linux_exec (252 to 257), src/boot/linux.c (258 and later)",
};
/// Used where the stub is not known.
pub(super) const UNKNOWN_STUB: Rule = Rule {
    id: "unknown-stub",
    statement: "what a stub measures depends on its program and version",
    source: "systemd src/boot/stub.c",
};

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
