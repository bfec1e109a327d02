//! What a shim binary brings along: vendor keys and revocation levels (shim `cert.S`, `sbat_var.S`).

use std::io;

use super::database::certificate_list;
use super::variables::{Content, SecureBootVariables};
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::pe::{PeError, PeImage, long_names};
use crate::uefi::guid::{Guid, SHIM_LOCK, guid};

/// Most bytes of one of its sections.
const MAX_SECTION: u64 = 1 << 20;
const CERT_SHA256: Guid = guid!("c1c41626-504c-4092-aca9-41f936934328");
/// shim's `SBAT_VAR_ORIGINAL`.
const SBAT_ORIGINAL: &[u8] = b"sbat,1,2021030218\n";

/// A shim, as far as it decides what it measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    /// Generation of the component `shim` in its `.sbat`: 4 from version 15.8 on.
    pub generation: u32,
    /// Version in `.data.ident`, major and minor.
    pub version: Option<(u16, u16)>,
    /// The vendor's keys as signature lists.
    authorized: Vec<u8>,
    /// The vendor's revocations as signature lists.
    deauthorized: Vec<u8>,
    /// The built-in SBAT level that it stores by itself.
    pub automatic_level: Vec<u8>,
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
        let (authorized, deauthorized) = read_vendor(&vendor)?;
        Ok(Some(Self {
            generation: generation(&section(".sbat")?.unwrap_or_default()),
            version: version(&section(".data.ident")?.unwrap_or_default()),
            authorized,
            deauthorized,
            automatic_level: read_automatic_level(&levels)?,
        }))
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

    /// What `SbatLevel` holds once this shim has run: under Secure Boot the newer one of the stored and the built-in level,
    /// without it the original one (shim `set_sbat_uefi_variable`, `preserve_sbat_uefi_variable`; from 15.8 on).
    #[must_use]
    pub fn sbat_level(&self, secure_boot: bool, stored: &[u8]) -> Vec<u8> {
        if !secure_boot {
            return SBAT_ORIGINAL.to_vec();
        }
        if level_date(stored) > level_date(&self.automatic_level) {
            stored.to_vec()
        } else {
            self.automatic_level.clone()
        }
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
    let mut list = certificate_list(SHIM_LOCK, &[0; 32]);
    list.splice(..16, CERT_SHA256.to_bytes());
    list
}

/// `.vendor_cert`: sizes and offsets of two blobs. The first is one certificate, or signature lists.
fn read_vendor(section: &[u8]) -> Result<(Vec<u8>, Vec<u8>), ParseError> {
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
    Ok((lists, deauthorized))
}

/// `.sbatlevel`: a version, then offsets (from behind it) of two texts that end with a NUL.
fn read_automatic_level(section: &[u8]) -> Result<Vec<u8>, ParseError> {
    let mut reader = Reader::new(section);
    let at_version = reader;
    let version = reader.u32("sbatlevel version")?;
    if version != 0 {
        let kind = ParseErrorKind::Unexpected { found: version.into(), expected: "0" };
        return Err(at_version.error("sbatlevel version", kind));
    }
    let mut text = reader;
    let offset = reader.u32("automatic SBAT level")?;
    text.take(offset.into(), "automatic SBAT level")?;
    Ok(text.rest().split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
}

/// The line `$Version: 16.1 $` (shim `version.c.in`).
fn version(ident: &[u8]) -> Option<(u16, u16)> {
    let text = String::from_utf8_lossy(ident);
    let (_, rest) = text.split_once("$Version: ")?;
    let (major, minor) = rest.split_whitespace().next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The second field of the line `shim,N,...`.
fn generation(sbat: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(sbat);
    let line = text.lines().find_map(|line| line.strip_prefix("shim,"));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

/// Version and date of a level's first line, `sbat,VERSION,DATE`.
fn level_date(level: &[u8]) -> (u32, u32) {
    let text = String::from_utf8_lossy(level);
    let mut fields = text.lines().next().unwrap_or_default().split(',').skip(1);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).unwrap_or(0);
    (number(), number())
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
        assert!(read_automatic_level(&[1, 0, 0, 0, 8, 0, 0, 0]).is_err(), "version");
        assert!(read_automatic_level(&[0, 0, 0, 0, 99, 0, 0, 0]).is_err(), "offset");
    }

    /// Witness: the digest that shim 16.1 measured into PCR 14 for its empty lists (shim `mok.c`, real boots).
    #[test]
    fn the_placeholder_is_shims() {
        let digest = crate::tcg::Digest::of(crate::tcg::HashAlgorithm::Sha256, &or_placeholder(Vec::new()));
        assert_eq!(digest.to_string(), "8d8a3aae50d5d25838c95c034aadce7b548c9a952eb7925e366eda537c59c3b0");
    }
}
