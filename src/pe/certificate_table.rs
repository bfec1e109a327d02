//! The certificate table: a list of `WIN_CERTIFICATE` entries, walked as the firmware walks it.
//!
//! Rules: PE, "The Attribute Certificate Table"; UEFI §32.2.4; EDK2 `DxeImageVerificationHandler`. The directory
//! entry holds a *file offset* (no virtual address), entries start at multiples of 8 bytes, and `dwLength` counts
//! the entry's header.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use uguid::{Guid, guid};

use super::{PeError, PeImage};
use crate::bytes::{ParseError, ParseErrorKind, Reader};
use crate::source::Blob;

/// Most entries that are looked at. Real images have one or two signatures.
const MAX_ENTRIES: usize = 64;

/// `EFI_CERT_TYPE_PKCS7_GUID`.
const EFI_CERT_TYPE_PKCS7: Guid = guid!("4aafd29d-68df-49ee-8aa9-347d375665a7");

/// `dwLength`, `wRevision` and `wCertificateType`.
const HEADER_SIZE: u64 = 8;
/// What `WIN_CERTIFICATE_UEFI_GUID` adds to the header.
const GUID_SIZE: u64 = 16;

/// `wCertificateType`: an open set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateType(pub u16);

impl CertificateType {
    /// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`: what signing tools write.
    pub const PKCS_SIGNED_DATA: Self = Self(0x0002);
    /// `WIN_CERT_TYPE_EFI_GUID`: a GUID says what follows.
    pub const EFI_GUID: Self = Self(0x0EF1);
}

/// One `WIN_CERTIFICATE`.
#[derive(Debug, Clone)]
pub struct WinCertificate {
    /// File offset of the entry.
    pub offset: u64,
    /// `dwLength`: bytes of the entry with its header, without the padding to a multiple of 8.
    pub length: u32,
    /// `wRevision`; 0x0200 is the only one in use.
    pub revision: u16,
    /// `wCertificateType`.
    pub certificate_type: CertificateType,
    /// The PKCS#7 message inside; `None` when the type is another one.
    pub pkcs7: Option<Blob>,
}

/// The certificate table as far as it can be read.
#[derive(Debug, Clone, Default)]
pub struct CertificateTable {
    /// The entries, in order.
    pub entries: Vec<WinCertificate>,
    /// Where and why reading stopped before the end of the table. The firmware ignores what follows, too.
    pub stopped: Option<ParseError>,
}

impl CertificateTable {
    /// Walks the table of `image`; empty when there is none.
    ///
    /// # Errors
    /// Only when the file can't be read: what is wrong with the table is in [`CertificateTable::stopped`].
    pub fn read(image: &PeImage) -> Result<Self, PeError> {
        let mut table = Self::default();
        let Some(directory) = image.certificate_table() else { return Ok(table) };
        let start = u64::from(directory.address);
        let Some(bytes) = image.file.slice(start, directory.size.into()) else {
            let left = image.file.len().saturating_sub(start);
            let kind = ParseErrorKind::Truncated { needed: directory.size.into(), left };
            table.stopped = Some(ParseError { offset: start, what: "Certificate Table", kind });
            return Ok(table);
        };
        let mut position = 0;
        while position < bytes.len() {
            match read_entry(&bytes, start, position)? {
                Ok(entry) => {
                    position = position.saturating_add(u64::from(entry.length).next_multiple_of(8));
                    table.entries.push(entry);
                }
                Err(error) => {
                    table.stopped = Some(error);
                    break;
                }
            }
            if table.entries.len() == MAX_ENTRIES && position < bytes.len() {
                let kind = ParseErrorKind::TooLarge { found: bytes.len(), limit: position };
                let offset = start.saturating_add(position);
                table.stopped = Some(ParseError { offset, what: "Certificate Table", kind });
                break;
            }
        }
        Ok(table)
    }
}

/// Reads the entry at `position` of the table, which stands at `start` of the file.
fn read_entry(
    table: &Blob,
    start: u64,
    position: u64,
) -> Result<Result<WinCertificate, ParseError>, PeError> {
    let rest = table.slice(position, table.len().saturating_sub(position)).unwrap_or_else(|| table.clone());
    let head = rest.read_prefix(HEADER_SIZE.saturating_add(GUID_SIZE))?;
    Ok(parse_entry(&head, &rest, start.saturating_add(position)))
}

fn parse_entry(head: &[u8], rest: &Blob, offset: u64) -> Result<WinCertificate, ParseError> {
    let mut reader = Reader::at(head, offset);
    let length = reader.u32("WIN_CERTIFICATE.dwLength")?;
    let revision = reader.u16("WIN_CERTIFICATE.wRevision")?;
    let certificate_type = CertificateType(reader.u16("WIN_CERTIFICATE.wCertificateType")?);
    let bad_length = |kind| ParseError { offset, what: "WIN_CERTIFICATE.dwLength", kind };
    if u64::from(length) <= HEADER_SIZE {
        let expected = "more than the 8 bytes of its header";
        return Err(bad_length(ParseErrorKind::Unexpected { found: length.into(), expected }));
    }
    let Some(entry) = rest.slice(0, length.into()) else {
        return Err(bad_length(ParseErrorKind::Truncated { needed: length.into(), left: rest.len() }));
    };
    let body_at = match certificate_type {
        CertificateType::PKCS_SIGNED_DATA => Some(HEADER_SIZE),
        CertificateType::EFI_GUID if u64::from(length) > HEADER_SIZE.saturating_add(GUID_SIZE) => {
            let guid = Guid::from_bytes(reader.array("WIN_CERTIFICATE_UEFI_GUID.CertType")?);
            (guid == EFI_CERT_TYPE_PKCS7).then_some(HEADER_SIZE.saturating_add(GUID_SIZE))
        }
        _ => None,
    };
    let pkcs7 = body_at.and_then(|at| entry.slice(at, entry.len().saturating_sub(at)));
    Ok(WinCertificate { offset, length, revision, certificate_type, pkcs7 })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::pe::testing::PeBuilder;

    fn table(bytes: &[u8]) -> CertificateTable {
        let file = PeBuilder::new().section(".text", b"code").certificates(bytes).build();
        let image = PeImage::parse(&Blob::from_bytes(file)).expect("a PE image");
        CertificateTable::read(&image).expect("memory can be read")
    }

    /// `dwLength` 11, revision 2.0, PKCS#7, three bytes of content, five of padding; then one with a GUID.
    const TWO: &[u8] = &[
        11, 0, 0, 0, 0, 2, 2, 0, b'a', b'b', b'c', 0, 0, 0, 0, 0, // WIN_CERTIFICATE
        25, 0, 0, 0, 0, 2, 0xF1, 0x0E, // WIN_CERTIFICATE_UEFI_GUID
        0x9D, 0xD2, 0xAF, 0x4A, 0xDF, 0x68, 0xEE, 0x49, 0x8A, 0xA9, 0x34, 0x7D, 0x37, 0x56, 0x65, 0xA7, b'd',
        0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn entries_start_at_multiples_of_eight() {
        let table = table(TWO);
        assert_eq!(table.stopped, None);
        let bodies: Vec<Vec<u8>> = table
            .entries
            .iter()
            .map(|entry| entry.pkcs7.as_ref().expect("PKCS#7").read(64).expect("readable"))
            .collect();
        assert_eq!(bodies, [b"abc".to_vec(), b"d".to_vec()]);
    }

    #[test]
    fn a_lying_length_stops_the_walk_and_keeps_what_came_before() {
        for lie in [0_u32, 7, 8, 33, 0x8000_0000, u32::MAX] {
            let mut bytes = TWO.to_vec();
            bytes[16..20].copy_from_slice(&lie.to_le_bytes());
            let table = table(&bytes);
            assert_eq!(table.entries.len(), 1, "{lie:#x}");
            let error = table.stopped.expect("the walk stopped");
            assert_eq!(error.what, "WIN_CERTIFICATE.dwLength");
            assert_eq!(error.offset, table.entries[0].offset + 16);
        }
    }

    #[test]
    fn other_types_are_kept_without_content() {
        let table = table(&[16, 0, 0, 0, 0, 2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(table.entries.len(), 1);
        assert!(table.entries[0].pkcs7.is_none());
    }

    #[test]
    fn a_table_of_headers_only_ends_at_the_limit() {
        let table = table(&[9, 0, 0, 0, 0, 2, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(1000));
        assert_eq!(table.entries.len(), MAX_ENTRIES);
        assert!(table.stopped.is_some());
    }
}
