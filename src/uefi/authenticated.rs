//! `EFI_VARIABLE_AUTHENTICATION_2` (UEFI, section 8.2.2): the signed form in which a variable is written, `.auth` files.

use super::guid::{self, Guid, guid};
use crate::bytes::{ParseError, ParseErrorKind, Reader};

/// `EFI_CERT_TYPE_PKCS7_GUID`.
const CERT_TYPE_PKCS7: Guid = guid!("4aafd29d-68df-49ee-8aa9-347d375665a7");
/// `WIN_CERT_TYPE_EFI_GUID`.
const WIN_CERT_TYPE_EFI_GUID: u16 = 0x0EF1;
/// Bytes of `WIN_CERTIFICATE_UEFI_GUID` before its `CertData`.
const HEADER: u32 = 24;

/// The bytes look like an authenticated write and not like a signature list: behind `EFI_TIME` stands a
/// `WIN_CERTIFICATE_UEFI_GUID` of the one type that is allowed.
#[must_use]
pub fn is_authenticated(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    read_header(&mut reader).is_ok()
}

/// What is written: the bytes behind the signature. The signature itself is not checked: what the firmware would
/// accept depends on the keys that it has then.
///
/// # Errors
/// When the lengths do not fit, or the certificate is of another type.
pub fn payload(bytes: &[u8]) -> Result<&[u8], ParseError> {
    let mut reader = Reader::new(bytes);
    let length = read_header(&mut reader)?;
    reader.take(length.into(), "WIN_CERTIFICATE_UEFI_GUID.CertData")?;
    Ok(reader.rest())
}

/// Reads up to `CertData` and returns its length.
fn read_header(reader: &mut Reader<'_>) -> Result<u32, ParseError> {
    reader.take(16, "EFI_VARIABLE_AUTHENTICATION_2.TimeStamp")?;
    let at_length = *reader;
    let length = reader.u32("WIN_CERTIFICATE.dwLength")?;
    reader.u16("WIN_CERTIFICATE.wRevision")?;
    let at_type = *reader;
    let kind = reader.u16("WIN_CERTIFICATE.wCertificateType")?;
    if kind != WIN_CERT_TYPE_EFI_GUID {
        let expected = "WIN_CERT_TYPE_EFI_GUID (0xef1)";
        let kind = ParseErrorKind::Unexpected { found: kind.into(), expected };
        return Err(at_type.error("WIN_CERTIFICATE.wCertificateType", kind));
    }
    let at_guid = *reader;
    if guid::read(reader, "WIN_CERTIFICATE_UEFI_GUID.CertType")? != CERT_TYPE_PKCS7 {
        let kind = ParseErrorKind::Invalid("is not EFI_CERT_TYPE_PKCS7_GUID");
        return Err(at_guid.error("WIN_CERTIFICATE_UEFI_GUID.CertType", kind));
    }
    length.checked_sub(HEADER).ok_or_else(|| {
        let expected = "24 bytes at least, its own header";
        at_length
            .error("WIN_CERTIFICATE.dwLength", ParseErrorKind::Unexpected { found: length.into(), expected })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(length: u32, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes.extend(length.to_le_bytes());
        bytes.extend([0, 2, 0xF1, 0x0E]);
        bytes.extend(CERT_TYPE_PKCS7.to_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn the_payload_starts_where_the_certificate_ends() {
        let bytes = auth(24 + 3, b"sigESL");
        assert!(is_authenticated(&bytes));
        assert_eq!(payload(&bytes), Ok(&b"ESL"[..]));
    }

    #[test]
    fn lying_lengths_are_errors() {
        for length in [0, 23, 24 + 7, u32::MAX] {
            let error = payload(&auth(length, b"sigESL")).expect_err("the length is a lie");
            assert!(error.what.starts_with("WIN_CERTIFICATE"), "{length}: {error}");
        }
        assert!(payload(&[0; 39]).is_err());
    }

    #[test]
    fn a_signature_list_is_no_authenticated_write() {
        assert!(!is_authenticated(&[0xA1; 100]));
        assert!(payload(&[0xA1; 100]).is_err());
    }
}
