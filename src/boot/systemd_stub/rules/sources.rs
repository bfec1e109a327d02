//! Where each rule of the stub was read: the function that measures.

use crate::boot::Rule;

/// PCR 11, both events of a section.
pub(in crate::boot) const SECTION: Rule = Rule {
    id: "stub-section",
    statement: "systemd-stub measures each unified section that is present: its name with the final NUL, then its \
                content as loaded, in the order of a fixed table",
    source: "systemd src/boot/stub.c measure_sections, src/fundamental/uki.c unified_sections; 252 to 262",
};
/// PCR 12, LoadOptions.
pub(in crate::boot) const LOAD_OPTIONS: Rule = Rule {
    id: "stub-load-options",
    statement: "systemd-stub measures LoadOptions that it accepts in place of .cmdline, as UTF-16 with the final NUL",
    source: "systemd src/boot/stub.c process_arguments/use_load_options, tpm_log_load_options; 252 to 262",
};
/// PCR 12, profile number.
pub(in crate::boot) const PROFILE: Rule = Rule {
    id: "stub-profile",
    statement: "systemd-stub measures the number of a profile other than 0 as UTF-16 decimal text",
    source: "systemd src/boot/stub.c measure_profile; from 257",
};
/// PCR 4, addons.
pub(in crate::boot) const ADDON_IMAGE: Rule = Rule {
    id: "stub-addon-image",
    statement: "systemd-stub has the firmware load each addon, which measures its image digest, global ones first, \
                each folder sorted by name",
    source: "systemd src/boot/stub.c load_addons; EDK2 MeasurePeImageAndExtend; from 254",
};
/// PCR 12, command lines of addons.
pub(in crate::boot) const ADDON_COMMAND_LINE: Rule = Rule {
    id: "stub-addon-cmdline",
    statement: "systemd-stub joins the command lines of addons with spaces and measures them as UTF-16 with the \
                final NUL",
    source: "systemd src/boot/stub.c cmdline_append_and_measure_addons; from 254",
};
/// PCR 12, other parts of addons.
pub(in crate::boot) const ADDON_PART: Rule = Rule {
    id: "stub-addon-part",
    statement: "systemd-stub measures devicetree, microcode and initrd of addons as tagged events",
    source: "systemd src/boot/stub.c; devicetree from 255, microcode and initrd from 257",
};
/// PCR 12, SMBIOS.
pub(in crate::boot) const SMBIOS_COMMAND_LINE: Rule = Rule {
    id: "stub-smbios-cmdline",
    statement: "systemd-stub measures the command line that SMBIOS type 11 adds \
                (io.systemd.stub.kernel-cmdline-extra), not in confidential VMs",
    source: "systemd src/boot/stub.c cmdline_append_and_measure_smbios; from 254",
};
/// PCR 1, SMBIOS.
pub(in crate::boot) const SMBIOS_STRUCTURES: Rule = Rule {
    id: "smbios-structures",
    statement: "systemd-boot, or else the stub, measures each SMBIOS structure of type 1, 2 and 11; of type 1 with the \
                wake-up type zeroed",
    source: "systemd src/boot/smbios.c; from 261; type 1 observed with 262.1",
};
/// PCR 12 and 13, archives.
pub(in crate::boot) const ARCHIVE: Rule = Rule {
    id: "stub-archive",
    statement: "systemd-stub packs credentials and extensions found beside the UKI into cpio archives and measures \
                each archive",
    source: "systemd src/boot/cpio.c pack_cpio; 252 to 262",
};
/// PCR 4, inner kernel.
pub(in crate::boot) const INNER_KERNEL: Rule = Rule {
    id: "stub-inner-kernel",
    statement: "systemd-stub up to 257 starts the kernel in .linux through the firmware's LoadImage, which measures its \
                image digest; not with Secure Boot, where the stub bypasses the firmware's check",
    source: "systemd src/boot/efi/linux.c linux_exec (252 to 257), src/boot/linux.c (258 and later)",
};
/// Used where the stub is not known.
pub(in crate::boot) const UNKNOWN_STUB: Rule = Rule {
    id: "unknown-stub",
    statement: "what a stub measures depends on its program and version",
    source: "systemd src/boot/stub.c",
};
