//! What distinguishes builds of GRUB: how often shim measures the kernel, how the kernel starts.

use std::fmt;

/// A build, as its `.sbat` section names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrubVersion {
    /// The vendor's component, such as `grub.debian`; upstream's own is `grub`.
    pub component: String,
    /// The vendor's version, such as `2.06-13+deb12u2`.
    pub version: String,
}

impl fmt::Display for GrubVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.component, self.version)
    }
}

impl GrubVersion {
    /// Reads `.sbat` (a line per component: name, generation, vendor, package, version, URL). Upstream's own line comes
    /// first, then the vendor's; further ones are of parts and releases.
    #[must_use]
    pub fn from_sbat(text: &str) -> Option<Self> {
        let lines = || text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let named =
            |wanted: fn(&str) -> bool| lines().find(|fields| fields.first().is_some_and(|name| wanted(name)));
        let fields = named(|name| name.starts_with("grub.")).or_else(|| named(|name| name == "grub"))?;
        let field = |index: usize| fields.get(index).map(|text| (*text).to_owned());
        Some(Self { component: field(0)?, version: field(4)? })
    }

    /// Of an image without `.sbat`, by the package's version in its module `normal`. Debian's are told by their form:
    /// `2.12-9+deb13u4`, `2.14-4`; others write theirs otherwise (`2.12-1ubuntu7`, `2.12-29.fc42`, `2:2.14-1`).
    #[must_use]
    pub fn from_package(version: &str) -> Self {
        let revision = version.split_once('-').map_or("", |(_, revision)| revision);
        let digits = revision.bytes().take_while(u8::is_ascii_digit).count();
        let rest = revision.get(digits..).unwrap_or_default();
        let debian = digits > 0 && (rest.is_empty() || rest.starts_with("+deb") || rest.starts_with("~bpo"));
        let component = if debian { "grub.debian" } else { "grub" };
        Self { component: component.to_owned(), version: version.to_owned() }
    }
}

/// How a kernel is started, in one state of Secure Boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelStart {
    /// Times that the kernel is measured into PCR 4, by shim or by the firmware; 0 where GRUB starts it by itself.
    pub measured: u8,
    /// The kernel's EFI stub runs, and measures LoadOptions and initrd into PCR 9.
    pub enters_efi_stub: bool,
    /// It is measured when it starts, after the initrd was read, not by the command `linux`.
    pub at_boot: bool,
    /// LoadOptions end with a NUL.
    pub ends_with_nul: bool,
}

impl KernelStart {
    /// The kernel is entered at its 64-bit entry point, past its EFI stub.
    const fn jump(measured: u8) -> Self {
        Self { measured, enters_efi_stub: false, at_boot: false, ends_with_nul: false }
    }

    /// The kernel's EFI stub is entered.
    const fn stub(measured: u8, at_boot: bool, ends_with_nul: bool) -> Self {
        Self { measured, enters_efi_stub: true, at_boot, ends_with_nul }
    }
}

/// One row of what was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrubBuild {
    /// Component in `.sbat`.
    pub component: &'static str,
    /// What the version begins with.
    pub version: &'static str,
    /// Times that `grub.cfg` in the prefix is opened at the start.
    pub opens_configuration: u8,
    /// The command `fwsetup` can be asked whether the firmware has a setup; before, it restarts the machine.
    pub asks_for_setup: bool,
    /// First version of shim that this was observed with: 16 and later take the place of the firmware's `LoadImage`.
    pub shim: u16,
    /// Behind a shim with Secure Boot; `None` where it was not observed.
    pub secure: Option<KernelStart>,
    /// Behind a shim without Secure Boot.
    pub insecure: Option<KernelStart>,
    /// Started by the firmware without Secure Boot.
    pub direct: Option<KernelStart>,
    /// The same with the module `peimage` built in, which Debian's signed images have since 2.12.
    pub direct_peimage: Option<KernelStart>,
    /// Where this was seen.
    pub evidence: &'static str,
}

impl GrubBuild {
    /// All rows.
    pub const ROWS: &[Self] = &[
        Self {
            component: "grub.debian",
            version: "2.06-",
            opens_configuration: 1,
            asks_for_setup: false,
            shim: 0,
            secure: Some(KernelStart::jump(2)),
            // Read in a TPM, as a boot without the kernel's EFI stub and without Secure Boot leaves no log.
            insecure: Some(KernelStart::jump(0)),
            direct: Some(KernelStart::jump(0)),
            direct_peimage: None,
            evidence: "Debian 12, grub-efi-amd64-signed 1+2.06+13+deb12u2 and grub-efi-amd64-bin of that version, with shim \
                       16.1 and without, in QEMU",
        },
        Self {
            component: "grub.debian",
            version: "2.12-",
            opens_configuration: 2,
            asks_for_setup: true,
            shim: 0,
            secure: Some(KernelStart::stub(1, false, false)),
            insecure: Some(KernelStart::stub(0, false, false)),
            direct: Some(KernelStart::stub(1, true, false)),
            direct_peimage: Some(KernelStart::stub(0, false, false)),
            evidence: "Debian 13, grub-efi-amd64-signed 1+2.12+9+deb13u4 and grub-efi-amd64-bin of that version, with shim \
                       16.1, Secure Boot on and off, and without, in QEMU",
        },
        Self {
            component: "grub.debian",
            version: "2.14-",
            opens_configuration: 2,
            asks_for_setup: true,
            shim: 16,
            secure: Some(KernelStart::stub(1, false, true)),
            insecure: Some(KernelStart::stub(1, true, true)),
            direct: Some(KernelStart::stub(1, true, true)),
            direct_peimage: Some(KernelStart::stub(0, false, true)),
            evidence: "Debian sid, grub-efi-amd64-signed 1+2.14+4 and grub-efi-amd64-bin of that version, with shim 16.1, \
                       Secure Boot on and off, and without, in QEMU",
        },
    ];

    /// The row of a build.
    #[must_use]
    pub fn of(version: &GrubVersion) -> Option<&'static Self> {
        let fits =
            |row: &&Self| row.component == version.component && version.version.starts_with(row.version);
        Self::ROWS.iter().find(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_line_names_the_build() {
        let text = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n\
                    grub,5,Free Software Foundation,grub,2.06,https://www.gnu.org/software/grub/\n\
                    grub.debian,5,Debian,grub2,2.06-13+deb12u2,https://tracker.debian.org/pkg/grub2\n\
                    grub.debian12,1,Debian,grub2,2.06-13+deb12u2,https://tracker.debian.org/pkg/grub2\n";
        let version = GrubVersion::from_sbat(text).expect("a version");
        assert_eq!(version.to_string(), "grub.debian 2.06-13+deb12u2");
        assert_eq!(GrubBuild::of(&version).expect("a row").secure.expect("observed").measured, 2);
        assert_eq!(GrubVersion::from_sbat("shim,4,x,shim,1,y\n"), None);
    }

    #[test]
    fn versions_of_packages_tell_debians_builds_from_others() {
        for (version, known) in [
            ("2.06-13+deb12u2", true),
            ("2.12-1~bpo12+1", true),
            ("2.14-4", true),
            ("2.12-1ubuntu7", false),
            ("2.12-29.fc42", false),
            ("2:2.14-1", false),
            ("2.12", false),
        ] {
            assert_eq!(GrubBuild::of(&GrubVersion::from_package(version)).is_some(), known, "{version}");
        }
    }

    #[test]
    fn builds_that_nobody_saw_have_no_row() {
        for (component, version) in
            [("grub.ubuntu", "2.06-2ubuntu14"), ("grub.debian", "2.16-1"), ("grub", "2.06")]
        {
            let version = GrubVersion { component: component.to_owned(), version: version.to_owned() };
            assert_eq!(GrubBuild::of(&version), None, "{version}");
        }
    }
}
