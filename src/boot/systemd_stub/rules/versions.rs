//! What each version of systemd-stub does, as rows.
//!
//! A row holds from its version up to the next row's. Read in the sources of 252 to 261 and of the development tree
//! of 262 (2026-07), with 262.1's binaries; "observed" names the versions whose behaviour real boots confirmed.

use super::{Addons, InitrdPart, InnerKernel, Mangle, MeasuredOptions, Padding, Printable, Step, StubRules};
use crate::uki::SectionLookup;

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

/// All rows, ascending.
pub(super) const ROWS: &[StubRules] =
    &[V252, V252_3, V252_6, V253, V254, V254_2, V255, V255_5, V256, V257, V258, V259, V260, V261, V262];
