//! `.sdmagic`: which program of systemd this is, and which version.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::{LoadedSection, MAX_TEXT};
use crate::pe::{PeError, PeImage};

/// A version of systemd: `257.13-1~deb13u1`. Ordered by major and minor number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemdVersion {
    /// 257.
    pub major: u16,
    /// 13; 0 for the first release and anything before it.
    pub minor: u16,
    /// As written.
    pub text: String,
}

impl SystemdVersion {
    /// The text names a distribution's build of an unnamed point release (`252-46.el9`), which may hold anything that
    /// was backported: Red Hat's 252 measures what upstream does from 254 on. Which rules it follows is not known.
    #[must_use]
    pub fn is_patched(&self) -> bool {
        let rest = self.text.trim_start_matches('v').trim_start_matches(|c: char| c.is_ascii_digit());
        let names_point_release = rest.starts_with('.');
        let points_matter = matches!(self.major, 252 | 254 | 255);
        !names_point_release
            && rest.starts_with('-')
            && (points_matter || rest.contains(".el"))
            && !rest.starts_with("-rc")
    }

    /// The numbers alone.
    #[must_use]
    pub fn key(&self) -> (u16, u16) {
        (self.major, self.minor)
    }
}

impl PartialOrd for SystemdVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        // Two texts of one release (`257.13`, `257.13-1`) follow the same rules but are not equal.
        match self.key().cmp(&other.key()) {
            Ordering::Equal if self.text != other.text => None,
            ordering => Some(ordering),
        }
    }
}

impl fmt::Display for SystemdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// A text that does not start with a version number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a version of systemd, expected MAJOR or MAJOR.MINOR as in 257.13")]
pub struct NotAVersion(pub String);

impl FromStr for SystemdVersion {
    type Err = NotAVersion;

    /// Takes the leading `MAJOR[.MINOR]`, ignores what a distribution adds. A release candidate (`256~rc1`,
    /// `256-rc1`) has minor number 0.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || NotAVersion(text.to_owned());
        let trimmed = text.trim();
        let number = |part: &str| {
            let digits = part.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            digits.parse::<u16>().ok()
        };
        let version = trimmed.strip_prefix('v').unwrap_or(trimmed);
        let major = number(version).ok_or_else(error)?;
        let rest = version.trim_start_matches(|c: char| c.is_ascii_digit());
        let minor = rest.strip_prefix('.').and_then(number).unwrap_or(0);
        Ok(Self { major, minor, text: trimmed.to_owned() })
    }
}

/// A program of systemd's EFI family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// systemd-boot.
    SystemdBoot,
    /// systemd-stub: the code in a UKI.
    SystemdStub,
    /// The stub of addons.
    SystemdAddon,
    /// Something else that writes the same magic.
    Other,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SystemdBoot => "systemd-boot",
            Self::SystemdStub => "systemd-stub",
            Self::SystemdAddon => "systemd-addon",
            Self::Other => "unknown program",
        })
    }
}

/// What `.sdmagic` says: `#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderInfo {
    /// Which program.
    pub product: Product,
    /// Which version; `None` when the text is not one.
    pub version: Option<SystemdVersion>,
    /// The text between the marks.
    pub text: String,
}

impl LoaderInfo {
    /// Reads the image's `.sdmagic`; `None` without one.
    ///
    /// # Errors
    /// When the section does not lie in the file, or can't be read.
    pub fn of(image: &PeImage) -> Result<Option<Self>, PeError> {
        let Some(section) = image.section(".sdmagic") else { return Ok(None) };
        let text = LoadedSection::new(image, section)?.read_text(MAX_TEXT)?;
        Ok(Self::parse(&text))
    }

    fn parse(magic: &str) -> Option<Self> {
        let text = magic.split_once("#### LoaderInfo: ")?.1;
        let text = text.split_once(" ####").map_or(text, |(text, _)| text).trim();
        let (name, version) = text.split_once(' ').unwrap_or((text, ""));
        let product = match name {
            "systemd-boot" => Product::SystemdBoot,
            "systemd-stub" => Product::SystemdStub,
            "systemd-addon" => Product::SystemdAddon,
            _ => Product::Other,
        };
        Some(Self { product, version: version.parse().ok(), text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_distributions_are_understood() {
        let cases = [
            ("257.13-1~deb13u1", (257, 13)),
            ("262.1-1", (262, 1)),
            ("252.39-1~deb12u2", (252, 39)),
            ("256~rc1", (256, 0)),
            ("258-rc2-12-gabcdef", (258, 0)),
            ("v254", (254, 0)),
            ("260~devel", (260, 0)),
            ("255.4-1ubuntu8.4", (255, 4)),
        ];
        for (text, key) in cases {
            assert_eq!(text.parse::<SystemdVersion>().map(|version| version.key()), Ok(key), "{text}");
        }
        for text in ["", "latest", "-1", "999999999"] {
            assert!(text.parse::<SystemdVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn builds_of_unnamed_point_releases_are_told_apart() {
        let patched = |text: &str| text.parse::<SystemdVersion>().expect("a version").is_patched();
        for text in ["252-46.el9", "252-46.el9_5.2", "255-1", "257-9.el10"] {
            assert!(patched(text), "{text}");
        }
        for text in ["252", "252.39-1~deb12u2", "257-1", "254-rc1", "254~rc2", "262.1-1", "256"] {
            assert!(!patched(text), "{text}");
        }
    }

    /// The text of Debian 13's stub.
    #[test]
    fn the_magic_names_program_and_version() {
        let info =
            LoaderInfo::parse("#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####\0").expect("a magic");
        assert_eq!(info.product, Product::SystemdStub);
        assert_eq!(info.version.map(|version| version.key()), Some((257, 13)));
    }
}
