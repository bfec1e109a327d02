//! Would shim start this image, and what does it measure as its reason?
//!
//! Follows shim `verify.c` (`verify_buffer_authenticode`, `check_allowlist`, `check_denylist`; `shim.c` before 16), 15.8 to 16.1:
//! digests come before signatures, `db` before the vendor's keys and those before `MokListRT`.

use super::database::Database;
use super::refusal::Refusal;
use super::verify::{Databases, Verdict, judge};
use crate::pe::{CertificateTable, PeError, PeImage};
use crate::tcg::{DigestSet, HashAlgorithm};
use crate::uefi::guid::{Guid, IMAGE_SECURITY_DATABASE, SHIM_LOCK};

/// What shim checks an image against.
#[derive(Debug, Clone, Default)]
pub struct ShimDatabases {
    /// `db` of the firmware.
    pub db: Database,
    /// The vendor's keys of a shim that was built with signature lists (`VENDOR_DB_FILE`); empty where it has a certificate.
    pub vendor_db: Database,
    /// `MokListRT`.
    pub keys: Database,
    /// `dbx` of the firmware, the vendor's revocations, and `MokListX`.
    pub revoked: Database,
}

/// What shim does with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShimVerdict {
    /// It starts, by this entry (`EFI_SIGNATURE_DATA`), which is measured.
    Allowed {
        /// Name of the variable that is measured.
        name: &'static str,
        /// Its vendor.
        vendor: Guid,
        /// The entry.
        entry: Vec<u8>,
    },
    /// It does not start.
    Refused(Refusal),
    /// What is measured is not known.
    Undecided(String),
}

/// The verdict about one image, given its image digests.
///
/// # Errors
/// When the image can't be read.
pub fn judge_by_shim(
    image: &PeImage,
    digests: &DigestSet,
    lists: &ShimDatabases,
) -> Result<ShimVerdict, PeError> {
    let (sha256, sha1) = (digests.get(HashAlgorithm::Sha256), digests.get(HashAlgorithm::Sha1));
    let known = [sha256, sha1].into_iter().flatten();
    if let Some(digest) = known.clone().find(|digest| lists.revoked.image(*digest).is_some()) {
        return Ok(ShimVerdict::Refused(Refusal::RevokedImage(digest)));
    }
    let places = [
        (&lists.db, "db", IMAGE_SECURITY_DATABASE),
        (&lists.vendor_db, "vendor_db", IMAGE_SECURITY_DATABASE),
        (&lists.keys, "MokListRT", SHIM_LOCK),
    ];
    for (database, name, vendor) in places {
        // Only of db, SHA-1 digests count.
        let digests = known.clone().filter(|digest| name == "db" || Some(*digest) == sha256);
        if let Some(entry) = digests.into_iter().find_map(|digest| database.image(digest)) {
            return Ok(ShimVerdict::Allowed { name, vendor, entry: entry.bytes.clone() });
        }
    }
    let table = CertificateTable::read(image)?;
    match table.entries.iter().filter(|entry| entry.pkcs7.is_some()).count() {
        0 => return Ok(ShimVerdict::Refused(Refusal::Unsigned(sha256))),
        1 => {}
        count => {
            let why = format!("it has {count} signatures, and shim measures what lets each of them hold");
            return Ok(ShimVerdict::Undecided(why));
        }
    }
    let mut refusal = Refusal::Unsigned(sha256);
    for (database, name, vendor) in places {
        let databases =
            Databases { db: database.certificates_only(), dbx: lists.revoked.clone(), has_dbt: false };
        match judge(image, digests, &databases)? {
            Verdict::Allowed(entries) => {
                let entry = entries.into_iter().next().unwrap_or_default();
                return Ok(ShimVerdict::Allowed { name, vendor, entry });
            }
            Verdict::Undecided(why) => return Ok(ShimVerdict::Undecided(why)),
            Verdict::Refused(found) => refusal = found,
        }
    }
    Ok(ShimVerdict::Refused(refusal))
}
