//! What a shim binary brings along: vendor keys and revocation levels (shim `cert.S`, `sbat_var.S`).

use std::io;

use super::database::{certificate_list, digest_list};
use super::variables::{Content, SecureBootVariables};
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::pe::{PeError, PeImage, long_names};
use crate::uefi::guid::SHIM_LOCK;
use crate::uefi::variable_store::Variable;

/// Most bytes of one of its sections.
const MAX_SECTION: u64 = 1 << 20;
/// `EFI_VARIABLE_RUNTIME_ACCESS`.
const RUNTIME_ACCESS: u32 = 4;
/// `POLICY_LATEST`, `POLICY_AUTOMATIC` and `POLICY_RESET` of `SbatPolicy`.
const POLICY_LATEST: u8 = 1;
const POLICY_AUTOMATIC: u8 = 2;
const POLICY_RESET: u8 = 3;
/// Variables that ask for MokManager (shim `mok.c`, `check_mok_request`).
const REQUESTS: [&str; 10] = [
    "MokNew",
    "MokSB",
    "MokPW",
    "MokAuth",
    "MokDel",
    "MokDB",
    "MokXNew",
    "MokXDel",
    "MokXAuth",
    "MokListTrustedNew",
];
/// shim's `SBAT_VAR_ORIGINAL`.
const SBAT_ORIGINAL: &[u8] = b"sbat,1,2021030218\n";

/// A shim, as far as it decides what it measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    /// Generation of the component `shim` in its `.sbat`: 3 in version 15.7, 4 from version 15.8 on.
    pub generation: u32,
    /// It is known that the vendor's revocations, if it has any, stand in `MokListX`: builds of Debian were observed. Ubuntu and SUSE
    /// patch theirs to leave them out (rhboot/shim pull requests 514 and 779; placeholders in logs of Ubuntu).
    pub mirrors_revocations: bool,
    /// Version in `.data.ident`, major and minor.
    pub version: Option<(u16, u16)>,
    /// The vendor's keys as signature lists.
    authorized: Vec<u8>,
    /// They were lists when it was built, not one certificate (`VENDOR_DB_FILE`).
    has_vendor_db: bool,
    /// The vendor's revocations as signature lists.
    deauthorized: Vec<u8>,
    /// The built-in SBAT level that it stores by itself.
    pub automatic_level: Vec<u8>,
    /// The built-in SBAT level that it stores when asked for (`SbatPolicy`).
    latest_level: Vec<u8>,
}

/// shim's variables as it finds them when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimState {
    /// `MokList`: keys that the machine's owner enrolled.
    pub keys: Content,
    /// `MokListX`: what he revoked.
    pub revocations: Content,
    /// `MokSBState`: 1 switches shim's verification off.
    pub insecure: Content,
    /// `MokDBState`: 1 has shim leave `db` aside.
    pub ignore_db: Content,
    /// `SbatLevel`.
    pub level: Content,
    /// `MokListTrusted`: where it exists, the kernel does not trust `MokList`.
    pub not_trusted: Content,
    /// `MokPolicy`.
    pub policy: Content,
    /// `SbatPolicy`: which level to store; shim deletes it.
    level_policy: Content,
    /// The variable by which somebody asks for MokManager, which shim starts before anything else (`check_mok_request`).
    pub request: Option<&'static str>,
}

/// A shim that can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShimError {
    /// A section can't be read.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// The file can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A section does not hold what it should.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

impl Shim {
    /// Reads an image; `None` when it is no shim of version 15.7 or later, the first with both sections.
    ///
    /// # Errors
    /// When it is a shim, but its sections are damaged.
    pub fn of(image: &PeImage) -> Result<Option<Self>, ShimError> {
        let names = long_names(image)?;
        let section = |wanted: &str| -> Result<Option<Vec<u8>>, ShimError> {
            let mut all = image.sections.iter().zip(&names);
            let found =
                all.find(|(section, long)| long.as_deref() == Some(wanted) || section.name.is(wanted));
            found.map(|(section, _)| Ok(image.raw_data(section)?.read(MAX_SECTION)?)).transpose()
        };
        let (Some(vendor), Some(levels)) = (section(".vendor_cert")?, section(".sbatlevel")?) else {
            return Ok(None);
        };
        let (authorized, deauthorized, has_vendor_db) = read_vendor(&vendor)?;
        let sbat = section(".sbat")?.unwrap_or_default();
        Ok(Some(Self {
            generation: generation(&sbat, "shim,"),
            mirrors_revocations: deauthorized.is_empty() || generation(&sbat, "shim.debian,") > 0,
            version: version(&section(".data.ident")?.unwrap_or_default()),
            authorized,
            has_vendor_db,
            deauthorized,
            automatic_level: read_level(&levels, 0)?,
            latest_level: read_level(&levels, 1)?,
        }))
    }

    /// What an image says of itself in `.data.ident`, major and minor; `None` when it is no shim that does.
    #[must_use]
    pub fn version_of(image: &PeImage) -> Option<(u16, u16)> {
        let names = long_names(image).ok()?;
        let mut all = image.sections.iter().zip(&names);
        let (section, _) = all.find(|(_, long)| long.as_deref() == Some(".data.ident"))?;
        version(&image.raw_data(section).ok()?.read(MAX_SECTION).ok()?)
    }

    /// Its rules are known: 15.8 and later, which were observed, and 15.7.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.generation >= 4 || self.is_15_7()
    }

    /// It is 15.7, of which the source was read, but no boot observed.
    #[must_use]
    pub fn is_15_7(&self) -> bool {
        self.generation == 3 && self.version == Some((15, 7))
    }

    /// The vendor's keys of a shim that was built with lists of them: measured as `vendor_db`.
    #[must_use]
    pub fn vendor_db(&self) -> &[u8] {
        if self.has_vendor_db { &self.authorized } else { &[] }
    }

    /// `MokListRT`: the vendor's keys, then those that the machine's owner enrolled; shim's placeholder where there are none.
    #[must_use]
    pub fn mok_list(&self, enrolled: &[u8]) -> Vec<u8> {
        or_placeholder([&self.authorized, enrolled].concat())
    }

    /// `MokListXRT`, likewise of revocations.
    #[must_use]
    pub fn mok_list_x(&self, enrolled: &[u8]) -> Vec<u8> {
        or_placeholder([&self.deauthorized, enrolled].concat())
    }

    /// What `SbatLevel` holds once this shim has run: under Secure Boot the stored level, or the built-in one where that is
    /// newer; without it the original one, and `None` where `SbatPolicy` asks for something then: it counts for one boot only
    /// (shim `set_sbat_uefi_variable`; from 15.8 on). 15.7 goes by the stored level without Secure Boot, too, unless it is asked to
    /// reset it; HPE's and a TDX machine's logs of Ubuntu's show that.
    #[must_use]
    pub fn sbat_level(&self, secure_boot: bool, state: &ShimState) -> Option<Vec<u8>> {
        let asked = state.level_policy.bytes()?.first().copied();
        match (secure_boot, asked) {
            (true, _) => {}
            (false, Some(POLICY_RESET)) => return Some(SBAT_ORIGINAL.to_vec()),
            (false, _) if self.is_15_7() => {}
            (false, Some(POLICY_LATEST | POLICY_AUTOMATIC)) => return None,
            (false, _) => return Some(SBAT_ORIGINAL.to_vec()),
        }
        let built_in = if asked == Some(POLICY_LATEST) { &self.latest_level } else { &self.automatic_level };
        let stored = state.level.bytes()?;
        Some(if preserves(stored, built_in) { stored.to_vec() } else { built_in.clone() })
    }

    /// Its variables, out of the machine's. A running system sees only the copies that shim made for it: they hold what was stored,
    /// the lists behind the vendor's own.
    #[must_use]
    pub fn state(&self, variables: &SecureBootVariables) -> ShimState {
        let own = |name: &str| variables.shim_variable(name);
        let or_copy = |name: &str, copy: &str| match stored(variables, name) {
            Content::Absent => own(copy),
            known => known,
        };
        let has_run = own("MokListRT") != Content::Absent;
        let not_trusted = match stored(variables, "MokListTrusted") {
            // shim makes the copy where the variable does not exist.
            Content::Absent if has_run && own("MokListTrustedRT") == Content::Absent => Content::Is(vec![1]),
            known => known,
        };
        let requests = REQUESTS.iter().copied();
        ShimState {
            keys: enrolled(variables, ["MokList", "MokListRT", "MokListRT1"], &self.authorized),
            revocations: enrolled(variables, ["MokListX", "MokListXRT", "MokListXRT1"], &self.deauthorized),
            insecure: or_copy("MokSBState", "MokSBStateRT"),
            ignore_db: or_copy("MokDBState", "MokIgnoreDB"),
            level: or_copy("SbatLevel", "SbatLevelRT"),
            not_trusted,
            policy: or_copy("MokPolicy", "MokPolicyRT"),
            level_policy: own("SbatPolicy"),
            request: requests.into_iter().find(|name| own(name) != Content::Absent),
        }
    }
}

/// A variable that only boot services see: shim deletes one that the system may write (`import_one_mok_state`, `no_attr`).
fn stored(variables: &SecureBootVariables, name: &str) -> Content {
    let is_own = |variable: &&Variable| variable.name == name && variable.attributes & RUNTIME_ACCESS == 0;
    variables.shim.iter().find(is_own).map_or(Content::Absent, |variable| variable.data.clone().into())
}

/// A list that was enrolled: stored under the first name, or behind the vendor's own in shim's copy, which may be one of several.
/// Unknown where the copy is another shim's.
fn enrolled(variables: &SecureBootVariables, [name, copy, second]: [&str; 3], vendor: &[u8]) -> Content {
    let copied = variables.shim_variable(copy);
    match (stored(variables, name), copied) {
        (Content::Absent, Content::Is(_)) if variables.shim_variable(second) != Content::Absent => {
            Content::Unknown
        }
        (Content::Absent, Content::Is(lists)) if lists == or_placeholder(Vec::new()) => Content::Absent,
        (Content::Absent, Content::Is(lists)) => match lists.strip_prefix(vendor) {
            Some(rest) => rest.to_vec().into(),
            None => Content::Unknown,
        },
        (stored, _) => stored,
    }
}

impl SecureBootVariables {
    /// One of shim's variables; nothing is known of them where the other variables were given one by one.
    #[must_use]
    pub fn shim_variable(&self, name: &str) -> Content {
        match self.shim.iter().find(|variable| variable.name == name) {
            Some(variable) => variable.data.clone().into(),
            None => Content::Absent,
        }
    }
}

fn or_placeholder(lists: Vec<u8>) -> Vec<u8> {
    if !lists.is_empty() {
        return lists;
    }
    digest_list(SHIM_LOCK, &[[0; 32]])
}

/// `.vendor_cert`: sizes and offsets of two blobs. The first is one certificate, or signature lists.
fn read_vendor(section: &[u8]) -> Result<(Vec<u8>, Vec<u8>, bool), ParseError> {
    let mut reader = Reader::new(section);
    let authorized_size = reader.u32("vendor_authorized_size")?;
    let deauthorized_size = reader.u32("vendor_deauthorized_size")?;
    let authorized_offset = reader.u32("vendor_authorized_offset")?;
    let deauthorized_offset = reader.u32("vendor_deauthorized_offset")?;
    let blob = |offset: u32, size: u32, what: &'static str| -> Result<Vec<u8>, ParseError> {
        let mut reader = Reader::new(section);
        reader.take(offset.into(), what)?;
        Ok(reader.take(size.into(), what)?.to_vec())
    };
    let authorized = blob(authorized_offset, authorized_size, "vendor_authorized")?;
    let deauthorized = blob(deauthorized_offset, deauthorized_size, "vendor_deauthorized")?;
    let is_certificate = authorized.starts_with(&[0x30, 0x82]);
    let lists = if is_certificate { certificate_list(SHIM_LOCK, &authorized) } else { authorized };
    Ok((lists, deauthorized, !is_certificate))
}

/// `.sbatlevel`: a version, then offsets (from behind it) of two texts that end with a NUL; the number of the one wanted.
fn read_level(section: &[u8], number: usize) -> Result<Vec<u8>, ParseError> {
    let mut reader = Reader::new(section);
    let at_version = reader;
    let version = reader.u32("sbatlevel version")?;
    if version != 0 {
        let kind = ParseErrorKind::Unexpected { found: version.into(), expected: "0" };
        return Err(at_version.error("sbatlevel version", kind));
    }
    let mut text = reader;
    let offsets = [reader.u32("automatic SBAT level")?, reader.u32("latest SBAT level")?];
    let offset = offsets.get(number).copied().unwrap_or_default();
    text.take(offset.into(), "SBAT level")?;
    Ok(text.rest().split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
}

/// The line `$Version: 16.1 $` (shim `version.c.in`).
fn version(ident: &[u8]) -> Option<(u16, u16)> {
    let text = String::from_utf8_lossy(ident);
    let (_, rest) = text.split_once("$Version: ")?;
    let (major, minor) = rest.split_whitespace().next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The second field of the line that starts with the component's name and a comma; 0 where there is none.
fn generation(sbat: &[u8], component: &str) -> u32 {
    let text = String::from_utf8_lossy(sbat);
    let line = text.lines().find_map(|line| line.strip_prefix(component));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

/// shim leaves a stored level alone (`preserve_sbat_uefi_variable`): it is one, its version is greater, or its date is not older.
/// Texts are compared, not numbers.
fn preserves(stored: &[u8], built_in: &[u8]) -> bool {
    /// Digits of a date.
    const DATE: usize = 10;
    if stored.len() < SBAT_ORIGINAL.len() || !stored.starts_with(b"sbat,") {
        return false;
    }
    let ((version, date), (new_version, new_date)) = (fields(stored), fields(built_in));
    let by_version = version.len().cmp(&new_version.len()).then_with(|| version.cmp(new_version));
    by_version.is_gt() || date.iter().take(DATE).ge(new_date.iter().take(DATE))
}

/// The second field, and everything from the third on.
fn fields(level: &[u8]) -> (&[u8], &[u8]) {
    let mut fields = level.splitn(3, |byte| *byte == b',').skip(1);
    (fields.next().unwrap_or_default(), fields.next().unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn lying_offsets_are_errors() {
        for at in 0..4 {
            let mut section = vec![0; 32];
            section[at * 4..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert!(read_vendor(&section).is_err(), "{at}");
        }
        assert!(read_vendor(&[0; 15]).is_err());
        let levels = |version: u8, offset: u8| [version, 0, 0, 0, offset, 0, 0, 0, offset, 0, 0, 0, b'x', 0];
        assert_eq!(read_level(&levels(0, 8), 1).as_deref(), Ok(&b"x"[..]));
        assert!(read_level(&levels(1, 8), 0).is_err(), "version");
        assert!(read_level(&levels(0, 99), 1).is_err(), "offset");
    }

    /// As `preserve_sbat_uefi_variable` of shim's `sbat.c` decides.
    #[test]
    fn stored_levels_are_kept_as_shim_keeps_them() {
        let built_in = b"sbat,1,2024010900\nshim,4\n";
        for (stored, kept) in [
            ("sbat,1,2025021800\nshim,4\n", true),
            ("sbat,1,2024010900\nshim,4\ngrub,3\n", true),
            ("sbat,1,2023012900\nshim,2\n", false),
            ("sbat,2,2023012900\nshim,2\n", true),
            ("sbat,10,2023012900\nshim,2\n", true),
            ("sbat,1,2025021800", false),
            ("tabs,1,2025021800\nshim,4\n", false),
            ("", false),
        ] {
            assert_eq!(preserves(stored.as_bytes(), built_in), kept, "{stored:?}");
        }
    }

    /// Witness: the digest that shim 16.1 measured into PCR 14 for its empty lists (shim `mok.c`, real boots).
    #[test]
    fn the_placeholder_is_shims() {
        let digest = crate::tcg::Digest::of(crate::tcg::HashAlgorithm::Sha256, &or_placeholder(Vec::new()));
        assert_eq!(digest.to_string(), "8d8a3aae50d5d25838c95c034aadce7b548c9a952eb7925e366eda537c59c3b0");
    }
}
