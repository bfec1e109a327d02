//! `EFI_SIGNATURE_LIST` (UEFI, section 32.4.1): the content of PK, KEK, db, dbx and shim's lists.

use super::guid::{self, Guid, guid};
use crate::bytes::{ParseError, ParseErrorKind, Reader};

/// `EFI_CERT_X509_GUID`.
pub const CERT_X509: Guid = guid!("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
/// `EFI_CERT_SHA256_GUID`.
pub const CERT_SHA256: Guid = guid!("c1c41626-504c-4092-aca9-41f936934328");
/// `EFI_CERT_X509_SHA256_GUID`.
pub const CERT_X509_SHA256: Guid = guid!("3bd2a492-96c0-4079-b420-fcf98ef103ed");

/// Bytes of the list's fixed part.
const HEADER: u64 = 28;

/// One list: signatures of one type and one size.
#[derive(Debug, Clone, Copy)]
pub struct SignatureList<'a> {
    /// `SignatureType`.
    pub signature_type: Guid,
    /// `SignatureSize`: bytes of each entry, the owner included.
    pub signature_size: u32,
    /// The entries, back to back.
    entries: Reader<'a>,
}

/// One entry (`EFI_SIGNATURE_DATA`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureData<'a> {
    /// `SignatureOwner`.
    pub owner: Guid,
    /// `SignatureData`: a DER certificate, a hash.
    pub data: &'a [u8],
    /// Offset of [`data`](Self::data) in the file.
    pub offset: u64,
}

impl<'a> SignatureList<'a> {
    /// Reads the list at `reader`.
    ///
    /// # Errors
    /// When its sizes do not fit each other or what is left.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let start = *reader;
        let mut sizes = *reader;
        let signature_type = guid::read(&mut sizes, "EFI_SIGNATURE_LIST.SignatureType")?;
        let at_list_size = sizes;
        let list_size = sizes.u32("EFI_SIGNATURE_LIST.SignatureListSize")?;
        let at_header_size = sizes;
        let header_size = sizes.u32("EFI_SIGNATURE_LIST.SignatureHeaderSize")?;
        let at_signature_size = sizes;
        let signature_size = sizes.u32("EFI_SIGNATURE_LIST.SignatureSize")?;
        if u64::from(list_size) < HEADER || u64::from(list_size) > start.remaining() as u64 {
            let expected = "28 bytes at least, and not more than the variable has";
            let kind = ParseErrorKind::Unexpected { found: list_size.into(), expected };
            return Err(at_list_size.error("EFI_SIGNATURE_LIST.SignatureListSize", kind));
        }
        let mut list = reader.sub(list_size.into(), "EFI_SIGNATURE_LIST")?;
        list.take(HEADER, "EFI_SIGNATURE_LIST")?;
        if u64::from(header_size) > list.remaining() as u64 {
            let kind =
                ParseErrorKind::Truncated { needed: header_size.into(), left: list.remaining() as u64 };
            return Err(at_header_size.error("EFI_SIGNATURE_LIST.SignatureHeaderSize", kind));
        }
        list.take(header_size.into(), "EFI_SIGNATURE_LIST.SignatureHeader")?;
        let whole = (list.remaining() as u64).checked_rem(signature_size.into()) == Some(0);
        if signature_size < 16 || !whole {
            let expected = "16 bytes at least, and entries that fill the list";
            let kind = ParseErrorKind::Unexpected { found: signature_size.into(), expected };
            return Err(at_signature_size.error("EFI_SIGNATURE_LIST.SignatureSize", kind));
        }
        Ok(Self { signature_type, signature_size, entries: list })
    }

    /// Reads lists until nothing is left.
    ///
    /// # Errors
    /// As [`read`](Self::read), with the lists before.
    pub fn read_all(mut reader: Reader<'a>) -> (Vec<Self>, Option<ParseError>) {
        let mut lists = Vec::new();
        while !reader.is_empty() {
            match Self::read(&mut reader) {
                Ok(list) => lists.push(list),
                Err(error) => return (lists, Some(error)),
            }
        }
        (lists, None)
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        (self.entries.remaining() as u64).checked_div(self.signature_size.into()).unwrap_or(0)
    }

    /// No entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, in order. Allocates nothing.
    pub fn entries(&self) -> impl Iterator<Item = SignatureData<'a>> + use<'a> {
        let mut entries = self.entries;
        let size = self.signature_size;
        std::iter::from_fn(move || {
            let entry = entries.sub(size.into(), "EFI_SIGNATURE_DATA").ok()?;
            SignatureData::read(entry).ok()
        })
    }
}

impl<'a> SignatureData<'a> {
    /// Reads an entry that fills `reader`.
    ///
    /// # Errors
    /// When it is shorter than its owner.
    pub fn read(mut reader: Reader<'a>) -> Result<Self, ParseError> {
        let owner = guid::read(&mut reader, "EFI_SIGNATURE_DATA.SignatureOwner")?;
        let offset = reader.offset();
        Ok(Self { owner, data: reader.rest(), offset })
    }
}

/// What the specification calls a signature type, without `EFI_CERT_` and `_GUID`.
#[must_use]
pub fn type_name(signature_type: Guid) -> Option<&'static str> {
    TYPES.iter().find(|(known, _)| *known == signature_type).map(|(_, name)| *name)
}

// UEFI, section 32.4.1.
const TYPES: &[(Guid, &str)] = &[
    (CERT_X509, "X509"),
    (CERT_SHA256, "SHA256"),
    (CERT_X509_SHA256, "X509_SHA256"),
    (guid!("826ca512-cf10-4ac9-b187-be01496631bd"), "SHA1"),
    (guid!("0b6e5233-a65c-44c9-9407-d9ab83bfc8bd"), "SHA224"),
    (guid!("ff3e5307-9fd0-48c9-85f1-8ad56c701e01"), "SHA384"),
    (guid!("093e0fae-a6c4-4f50-9f1b-d41e2b89c19a"), "SHA512"),
    (guid!("7076876e-80c2-4ee6-aad2-28b349a6865b"), "X509_SHA384"),
    (guid!("446dbf63-2502-4cda-bcfa-2465d2b0fe9d"), "X509_SHA512"),
    (guid!("3c5766e8-269c-4e34-aa14-ed776e85b3b6"), "RSA2048"),
    (guid!("e2b36190-879b-4a3d-ad8d-f2e7bba32784"), "RSA2048_SHA256"),
    (guid!("4aafd29d-68df-49ee-8aa9-347d375665a7"), "PKCS7"),
];
