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
}

/// How the command `linux` starts a kernel, in one state of Secure Boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelStart {
    /// Times that shim measures the kernel into PCR 4; 0 where GRUB does not ask shim.
    pub measured: u8,
    /// The kernel's EFI stub runs, and measures LoadOptions and initrd into PCR 9.
    pub enters_efi_stub: bool,
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
    /// Behind a shim with Secure Boot; `None` where it was not observed.
    pub secure: Option<KernelStart>,
    /// Behind a shim without Secure Boot.
    pub insecure: Option<KernelStart>,
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
            secure: Some(KernelStart { measured: 2, enters_efi_stub: false }),
            // The kernel is entered at its 64-bit entry point; read in a TPM, as such a boot leaves no log.
            insecure: Some(KernelStart { measured: 0, enters_efi_stub: false }),
            evidence: "Debian 12, grub-efi-amd64-signed 1+2.06+13+deb12u2, with shim 16.1 in QEMU",
        },
        Self {
            component: "grub.debian",
            version: "2.12-",
            opens_configuration: 2,
            secure: Some(KernelStart { measured: 1, enters_efi_stub: true }),
            insecure: Some(KernelStart { measured: 0, enters_efi_stub: true }),
            evidence: "Debian 13, grub-efi-amd64-signed 1+2.12+9+deb13u4, with shim 16.1 in QEMU, Secure Boot on and off",
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
    fn builds_that_nobody_saw_have_no_row() {
        for (component, version) in
            [("grub.ubuntu", "2.06-2ubuntu14"), ("grub.debian", "2.14-1"), ("grub", "2.06")]
        {
            let version = GrubVersion { component: component.to_owned(), version: version.to_owned() };
            assert_eq!(GrubBuild::of(&version), None, "{version}");
        }
    }
}
