//! The ASN.1 of an Authenticode signature (RFC 2315, RFC 5652; "Windows Authenticode Portable Executable Signature
//! Format").
//!
//! `SET OF` is walked element by element instead of being decoded by `cms::SignedData`: that sorts the elements,
//! which takes quadratic time on a hostile file, would lose all certificates over an odd one, and re-encodes them,
//! while a fingerprint needs the bytes as they are.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use cms::signed_data::SignerIdentifier;
use der::asn1::{AnyRef, ContextSpecific, ObjectIdentifier, OctetStringRef};
use der::{Decode, Reader as _, Sequence, SliceReader, Tag, TagNumber, Tagged};
use x509_cert::spki::AlgorithmIdentifierRef;

/// Most certificates, signers or attributes that are looked at.
const MAX_ELEMENTS: usize = 64;

/// `ContentInfo` and `EncapsulatedContentInfo`: what follows depends on the type.
#[derive(Sequence)]
pub(super) struct ContentInfo<'a> {
    pub(super) content_type: ObjectIdentifier,
    pub(super) content: ContextSpecific<AnyRef<'a>>,
}

/// `SignedData`, its sets still closed.
pub(super) struct SignedData<'a> {
    pub(super) encap_content_info: ContentInfo<'a>,
    pub(super) certificates: Option<AnyRef<'a>>,
    pub(super) signer_infos: AnyRef<'a>,
}

impl<'a> SignedData<'a> {
    pub(super) fn read(sequence: AnyRef<'a>) -> der::Result<Self> {
        sequence.sequence(|reader| {
            reader.decode::<u8>()?;
            let _digest_algorithms: AnyRef<'a> = reader.decode()?;
            let encap_content_info = reader.decode()?;
            let certificates = optional(reader, TagNumber::N0)?;
            let _revocation_lists = optional(reader, TagNumber::N1)?;
            let signer_infos: AnyRef<'a> = reader.decode()?;
            signer_infos.tag().assert_eq(Tag::Set)?;
            Ok(Self { encap_content_info, certificates, signer_infos })
        })
    }
}

/// Certificates and signers of a `SignedData` whose `encapContentInfo` has no content.
pub(super) fn detached_parts(sequence: AnyRef<'_>) -> der::Result<(Option<AnyRef<'_>>, AnyRef<'_>)> {
    sequence.sequence(|reader| {
        reader.decode::<u8>()?;
        let _digest_algorithms: AnyRef<'_> = reader.decode()?;
        let _encap_content_info: AnyRef<'_> = reader.decode()?;
        let certificates = optional(reader, TagNumber::N0)?;
        let _revocation_lists = optional(reader, TagNumber::N1)?;
        let signer_infos: AnyRef<'_> = reader.decode()?;
        signer_infos.tag().assert_eq(Tag::Set)?;
        Ok((certificates, signer_infos))
    })
}

/// `SignerInfo`, its sets still closed.
pub(super) struct SignerInfo<'a> {
    pub(super) identifier: SignerIdentifier,
    pub(super) digest_algorithm: AlgorithmIdentifierRef<'a>,
    pub(super) signed_attributes: Option<AnyRef<'a>>,
    pub(super) signature_algorithm: AlgorithmIdentifierRef<'a>,
    pub(super) signature: &'a [u8],
    pub(super) unsigned_attributes: Option<AnyRef<'a>>,
}

impl<'a> SignerInfo<'a> {
    pub(super) fn from_der(bytes: &'a [u8]) -> der::Result<Self> {
        AnyRef::from_der(bytes)?.sequence(|reader| {
            reader.decode::<u8>()?;
            let identifier = reader.decode()?;
            let digest_algorithm = reader.decode()?;
            let signed_attributes = optional(reader, TagNumber::N0)?;
            let signature_algorithm = reader.decode()?;
            let signature = OctetStringRef::decode(reader)?.as_bytes();
            let unsigned_attributes = optional(reader, TagNumber::N1)?;
            Ok(Self {
                identifier,
                digest_algorithm,
                signed_attributes,
                signature_algorithm,
                signature,
                unsigned_attributes,
            })
        })
    }
}

/// A field `[number] IMPLICIT` of constructed type, if it comes next.
fn optional<'a, R: der::Reader<'a>>(reader: &mut R, number: TagNumber) -> der::Result<Option<AnyRef<'a>>> {
    let tag = Tag::ContextSpecific { constructed: true, number };
    if reader.is_finished() || reader.peek_header()?.tag != tag {
        return Ok(None);
    }
    reader.decode().map(Some)
}

#[derive(Sequence)]
pub(super) struct Attribute<'a> {
    pub(super) kind: ObjectIdentifier,
    pub(super) values: AnyRef<'a>,
}

/// `SpcIndirectDataContent`: `data` describes what was hashed, `messageDigest` is the image digest.
#[derive(Sequence)]
pub(super) struct SpcIndirectDataContent<'a> {
    data: AnyRef<'a>,
    pub(super) message_digest: DigestInfo<'a>,
}

#[derive(Sequence)]
pub(super) struct DigestInfo<'a> {
    pub(super) digest_algorithm: AlgorithmIdentifierRef<'a>,
    pub(super) digest: OctetStringRef<'a>,
}

/// The elements of a `SET OF`, each with its own header; not more than [`MAX_ELEMENTS`].
pub(super) fn elements(set: AnyRef<'_>) -> der::Result<Vec<&[u8]>> {
    let mut reader = SliceReader::new(set.value())?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        if elements.len() == MAX_ELEMENTS {
            return Err(der::ErrorKind::Overlength.into());
        }
        elements.push(reader.tlv_bytes()?);
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_set_is_refused() {
        for (count, fine) in [(64, true), (65, false)] {
            let bytes = [0x30, 0].repeat(count);
            assert_eq!(elements(AnyRef::new(Tag::Set, &bytes).expect("a set")).is_ok(), fine, "{count}");
        }
    }
}
