//! A signature database: the entries of a variable like `db`, in the order in which the firmware walks them.

use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::tcg::HashAlgorithm;
use crate::uefi::guid::{Guid, guid};
use crate::uefi::signature_list::{CERT_SHA256, CERT_X509, CERT_X509_SHA256, SignatureList};

/// Most bytes of a variable: EDK2's default for authenticated variables is 64 KiB, dbx has 20 KiB.
pub const MAX_VARIABLE: u64 = 1 << 20;

const CERT_SHA1: Guid = guid!("826ca512-cf10-4ac9-b187-be01496631bd");
const CERT_SHA384: Guid = guid!("ff3e5307-9fd0-48c9-85f1-8ad56c701e01");
const CERT_SHA512: Guid = guid!("093e0fae-a6c4-4f50-9f1b-d41e2b89c19a");
const CERT_X509_SHA384: Guid = guid!("7076876e-80c2-4ee6-aad2-28b349a6865b");
const CERT_X509_SHA512: Guid = guid!("446dbf63-2502-4cda-bcfa-2465d2b0fe9d");

/// The entries of one variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    entries: Vec<Entry>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// `EFI_SIGNATURE_DATA`: the owner's GUID, then certificate or hash. This is what authority events hold.
    pub(super) bytes: Vec<u8>,
    pub(super) kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A DER certificate.
    Certificate,
    /// The digest of an image.
    Image(HashAlgorithm),
    /// The digest of a certificate's `TBSCertificate`, and since when it is revoked (`EFI_TIME`).
    CertificateDigest(HashAlgorithm),
    /// Some other type, which no image is checked against.
    Other,
}

impl Entry {
    /// What follows the owner.
    pub(super) fn content(&self) -> &[u8] {
        self.bytes.get(16..).unwrap_or_default()
    }
}

impl Database {
    /// Reads the content of a variable.
    ///
    /// # Errors
    /// When a list's sizes do not fit each other or what is left.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let reader = Reader::new(bytes);
        if bytes.len() as u64 > MAX_VARIABLE {
            let kind = ParseErrorKind::TooLarge { found: bytes.len() as u64, limit: MAX_VARIABLE };
            return Err(reader.error("EFI_SIGNATURE_LIST", kind));
        }
        let (lists, problem) = SignatureList::read_all(reader);
        if let Some(problem) = problem {
            return Err(problem);
        }
        let entries = lists.iter().flat_map(|list| {
            let kind = kind_of(list.signature_type);
            list.entries()
                .map(move |entry| Entry { bytes: [&entry.owner.to_bytes()[..], entry.data].concat(), kind })
        });
        Ok(Self { entries: entries.collect() })
    }

    /// These entries, then those of another one.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self
    }

    /// Nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Its certificates without the rest.
    pub(super) fn certificates_only(&self) -> Self {
        Self { entries: self.certificates().cloned().collect() }
    }

    /// The certificates, in order.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.kind == EntryKind::Certificate)
    }

    /// The entry that names an image by its digest.
    pub(super) fn image(&self, digest: crate::tcg::Digest) -> Option<&Entry> {
        self.entries.iter().find(|entry| {
            entry.kind == EntryKind::Image(digest.algorithm()) && entry.content() == digest.as_bytes()
        })
    }

    /// Hash algorithms of its image digests.
    pub(super) fn image_algorithms(&self) -> impl Iterator<Item = HashAlgorithm> + '_ {
        self.entries.iter().filter_map(|entry| match entry.kind {
            EntryKind::Image(algorithm) => Some(algorithm),
            _ => None,
        })
    }

    /// Since when a certificate is revoked by its digest: all zeros stand for always (UEFI, `EFI_CERT_X509_SHA256`).
    pub(super) fn revoked_since(&self, certificate: &super::certificate::Certificate) -> Option<&[u8]> {
        self.entries.iter().find_map(|entry| {
            let EntryKind::CertificateDigest(algorithm) = entry.kind else { return None };
            let (digest, time) = entry.content().split_at_checked(algorithm.size())?;
            (certificate.to_be_signed_digest(algorithm).as_bytes() == digest).then_some(time)
        })
    }
}

fn kind_of(signature_type: Guid) -> EntryKind {
    match signature_type {
        CERT_X509 => EntryKind::Certificate,
        CERT_SHA1 => EntryKind::Image(HashAlgorithm::Sha1),
        CERT_SHA256 => EntryKind::Image(HashAlgorithm::Sha256),
        CERT_SHA384 => EntryKind::Image(HashAlgorithm::Sha384),
        CERT_SHA512 => EntryKind::Image(HashAlgorithm::Sha512),
        CERT_X509_SHA256 => EntryKind::CertificateDigest(HashAlgorithm::Sha256),
        CERT_X509_SHA384 => EntryKind::CertificateDigest(HashAlgorithm::Sha384),
        CERT_X509_SHA512 => EntryKind::CertificateDigest(HashAlgorithm::Sha512),
        _ => EntryKind::Other,
    }
}

/// A signature list of one certificate: what enrolment tools make of a DER file.
#[must_use]
pub fn certificate_list(owner: Guid, der: &[u8]) -> Vec<u8> {
    let entry = u32::try_from(der.len()).unwrap_or(u32::MAX).saturating_add(16);
    let mut list = CERT_X509.to_bytes().to_vec();
    list.extend(entry.saturating_add(28).to_le_bytes()); // SignatureListSize
    list.extend(0_u32.to_le_bytes()); // SignatureHeaderSize
    list.extend(entry.to_le_bytes()); // SignatureSize
    list.extend(owner.to_bytes());
    list.extend(der);
    list
}

/// A signature list of SHA-256 digests; nothing of none.
pub(super) fn digest_list(owner: Guid, digests: &[[u8; 32]]) -> Vec<u8> {
    const ENTRY: u32 = 48;
    if digests.is_empty() {
        return Vec::new();
    }
    let count = u32::try_from(digests.len()).unwrap_or(u32::MAX);
    let mut list = CERT_SHA256.to_bytes().to_vec();
    list.extend(count.saturating_mul(ENTRY).saturating_add(28).to_le_bytes()); // SignatureListSize
    list.extend(0_u32.to_le_bytes()); // SignatureHeaderSize
    list.extend(ENTRY.to_le_bytes()); // SignatureSize
    for digest in digests {
        list.extend(owner.to_bytes());
        list.extend(digest);
    }
    list
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_several_types_and_lengths_keep_their_order() {
        let owner = guid!("77fa9abd-0359-4d32-bd60-28f4e78f784b");
        let mut bytes = certificate_list(owner, b"0123456789");
        bytes.extend(CERT_SHA256.to_bytes());
        bytes.extend((28_u32 + 2 * 48).to_le_bytes());
        bytes.extend([0, 0, 0, 0, 48, 0, 0, 0]);
        bytes.extend(
            [owner.to_bytes().to_vec(), vec![1; 32], owner.to_bytes().to_vec(), vec![2; 32]].concat(),
        );
        let database = Database::parse(&bytes).expect("two lists");
        let kinds: Vec<EntryKind> = database.entries.iter().map(|entry| entry.kind).collect();
        let sha256 = EntryKind::Image(HashAlgorithm::Sha256);
        assert_eq!(kinds, [EntryKind::Certificate, sha256, sha256]);
        assert_eq!(database.entries[0].content(), b"0123456789");
        assert_eq!(database.entries[2].content(), [2; 32]);
    }

    #[test]
    fn lying_and_zero_sizes_are_errors() {
        let good = certificate_list(Guid::ZERO, b"0123456789");
        for (offset, what) in [
            (16, "EFI_SIGNATURE_LIST.SignatureListSize"),
            (20, "EFI_SIGNATURE_LIST.SignatureHeaderSize"),
            (24, "EFI_SIGNATURE_LIST.SignatureSize"),
        ] {
            for lie in [1_u32, 27, 0x7FFF_FFFF, u32::MAX] {
                let mut bad = good.clone();
                bad[offset..][..4].copy_from_slice(&lie.to_le_bytes());
                let error = Database::parse(&bad).expect_err("the size is a lie");
                assert!(error.what.starts_with("EFI_SIGNATURE_LIST"), "{what} {lie}: {error}");
            }
        }
        let mut zero = good.clone();
        zero[24..28].copy_from_slice(&[0; 4]);
        assert_eq!(Database::parse(&zero).expect_err("no size").what, "EFI_SIGNATURE_LIST.SignatureSize");
    }
}
