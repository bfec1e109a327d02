//! A signature of the certificate table: who signed, and whether it is about this image.
//!
//! The message is PKCS#7 `SignedData` ("Windows Authenticode Portable Executable Signature Format"; RFC 2315, RFC
//! 5652). Its content, `SpcIndirectDataContent`, holds the image digest; each signer signs attributes, among which
//! `messageDigest` is the hash of that content. Both links are checked here, with [`Signature::coverage`]. The
//! signature value itself and the trust in its certificate are not.
//!
//! `SET OF` is walked element by element instead of being decoded by `cms::SignedData`: that sorts the elements,
//! which takes quadratic time on a hostile file, would lose all certificates over an odd one, and re-encodes them,
//! while a fingerprint needs the bytes as they are.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use cms::signed_data::SignerIdentifier;
use der::asn1::{AnyRef, ContextSpecific, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Reader as _, Sequence, SliceReader, Tag, TagNumber, Tagged};
use x509_cert::spki::AlgorithmIdentifierRef;
use x509_cert::time::Time;

use super::certificate::SignerCertificate;
use crate::source::Blob;
use crate::tcg::{Digest, DigestSet, HashAlgorithm};

/// Largest PKCS#7 message that is read: twenty times the largest one seen.
const MAX_MESSAGE: u64 = 256 << 10;
/// Most certificates, signers or attributes that are looked at.
const MAX_ELEMENTS: usize = 64;

const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const SPC_INDIRECT_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.4");
const SPC_NESTED_SIGNATURE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.4.1");
const SPC_RFC3161_TIMESTAMP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.3.3.1");
const ID_MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const ID_SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const ID_COUNTER_SIGNATURE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.6");

/// A message that can't be read as an Authenticode signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It could not be read from the file, or is too large.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is not DER, or not of the structure that it should have.
    #[error("PKCS#7 SignedData: {0}")]
    Der(#[from] der::Error),
    /// It is some other kind of message.
    #[error("contentType is {found}, expected {expected}")]
    ContentType {
        /// The object identifier found.
        found: ObjectIdentifier,
        /// The one that an Authenticode signature has.
        expected: ObjectIdentifier,
    },
}

/// A hash algorithm named by an object identifier: one of ours, or some other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestOid(pub ObjectIdentifier);

impl DigestOid {
    /// The algorithm, when it is one that we compute.
    #[must_use]
    pub fn known(self) -> Option<HashAlgorithm> {
        Some(match self.0.to_string().as_str() {
            "1.3.14.3.2.26" => HashAlgorithm::Sha1,
            "2.16.840.1.101.3.4.2.1" => HashAlgorithm::Sha256,
            "2.16.840.1.101.3.4.2.2" => HashAlgorithm::Sha384,
            "2.16.840.1.101.3.4.2.3" => HashAlgorithm::Sha512,
            "1.2.156.10197.1.401" => HashAlgorithm::Sm3_256,
            _ => return None,
        })
    }
}

impl std::fmt::Display for DigestOid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.known() {
            Some(algorithm) => algorithm.fmt(f),
            None => write!(f, "{}", self.0),
        }
    }
}

/// One Authenticode signature; see the [module](self).
#[derive(Debug, Clone)]
pub struct Signature {
    /// Algorithm of the image digest that was signed.
    pub digest_algorithm: DigestOid,
    /// The image digest that was signed (`SpcIndirectDataContent.messageDigest.digest`).
    pub image_digest: Vec<u8>,
    /// The signers; one, except in odd files.
    pub signers: Vec<Signer>,
    /// All certificates of the message, in its order.
    pub certificates: Vec<SignerCertificate>,
    /// Certificates that could not be read.
    pub unreadable_certificates: usize,
}

/// Who signed, as `SignerInfo` says.
#[derive(Debug, Clone)]
pub struct Signer {
    /// Place of the signer's certificate in [`Signature::certificates`]; `None` when the message lacks it.
    pub certificate: Option<usize>,
    /// Algorithm by which content and attributes were hashed.
    pub digest_algorithm: DigestOid,
    /// Algorithm of the signature value.
    pub signature_algorithm: ObjectIdentifier,
    /// When the signer claims to have signed (attribute `signingTime`), in UTC.
    pub signing_time: Option<String>,
    /// A time stamp or counter-signature is attached.
    pub has_timestamp: bool,
    /// Further signatures are nested in this one (unsigned attribute 1.3.6.1.4.1.311.2.4.1). The firmware ignores
    /// them.
    pub has_nested_signature: bool,
    /// The attribute `messageDigest`, and the hash of the content that it should equal.
    content: ContentLink,
    /// What the signature value is about: the signed attributes as a `SET` (RFC 5652, section 5.4), or the content.
    pub(crate) signed: Vec<u8>,
    /// The signature value.
    pub(crate) value: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContentLink {
    Holds,
    Broken,
    UnknownAlgorithm,
}

/// Whether a signer's signature is about this image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// The signed image digest is this image's, and the signed attributes are about that digest.
    Covers,
    /// Another image digest was signed: the image was changed after signing, or the signature was copied.
    OtherImage,
    /// `messageDigest` is not the hash of the content: the digest was exchanged after signing.
    OtherContent,
    /// Not decidable: the algorithm is unknown, or the image has no digest.
    Unknown,
}

impl Signature {
    /// Reads a PKCS#7 message. Zero bytes that follow it are padding.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn read(message: &Blob) -> Result<Self, SignatureError> {
        Self::parse(&message.read(MAX_MESSAGE)?)
    }

    /// As [`Signature::read`], from memory.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn parse(message: &[u8]) -> Result<Self, SignatureError> {
        let info = ContentInfo::decode(&mut SliceReader::new(message)?)?;
        expect(info.content_type, ID_SIGNED_DATA)?;
        let fields = SignedData::read(info.content.value)?;
        let content = fields.encap_content_info;
        expect(content.content_type, SPC_INDIRECT_DATA)?;
        // PKCS#7 puts the structure itself here, CMS an octet string around it; `messageDigest` covers what is
        // inside of either.
        let hashed = content.content.value.value();
        let spc = match content.content.value.tag() {
            Tag::OctetString => SpcIndirectDataContent::from_der(hashed)?,
            _ => content.content.value.decode_as()?,
        };
        let (certificates, unreadable_certificates) = read_certificates(fields.certificates)?;
        let signers = elements(fields.signer_infos)?
            .into_iter()
            .map(|signer| Signer::parse(signer, hashed, &certificates))
            .collect::<der::Result<_>>()?;
        Ok(Self {
            digest_algorithm: DigestOid(spc.message_digest.digest_algorithm.oid),
            image_digest: spc.message_digest.digest.as_bytes().to_vec(),
            signers,
            certificates,
            unreadable_certificates,
        })
    }

    /// Whether `signer`'s signature is about the image that has these image digests.
    #[must_use]
    pub fn coverage(&self, signer: &Signer, image: &DigestSet) -> Coverage {
        let digest = self.digest_algorithm.known().and_then(|algorithm| image.get(algorithm));
        match digest {
            Some(digest) if digest.as_bytes() != self.image_digest => Coverage::OtherImage,
            _ if signer.content == ContentLink::Broken => Coverage::OtherContent,
            Some(_) if signer.content == ContentLink::Holds => Coverage::Covers,
            _ => Coverage::Unknown,
        }
    }
}

impl Signer {
    fn parse(info: &[u8], hashed: &[u8], certificates: &[SignerCertificate]) -> der::Result<Self> {
        let info = SignerInfo::from_der(info)?;
        let digest_algorithm = DigestOid(info.digest_algorithm.oid);
        let certificate = certificates.iter().position(|certificate| certificate.is(&info.identifier));
        let mut signer = Self {
            certificate,
            digest_algorithm,
            signature_algorithm: info.signature_algorithm.oid,
            signing_time: None,
            has_timestamp: false,
            has_nested_signature: false,
            // Without signed attributes the content is signed directly: there is no link that could be broken.
            content: ContentLink::Holds,
            signed: info.signed_attributes.map_or_else(|| Ok(hashed.to_vec()), as_set)?,
            value: info.signature.to_vec(),
        };
        for attribute in info.signed_attributes.map_or(Ok(Vec::new()), elements)? {
            signer.read_signed(&Attribute::from_der(attribute)?, hashed)?;
        }
        for attribute in info.unsigned_attributes.map_or(Ok(Vec::new()), elements)? {
            let kind = Attribute::from_der(attribute)?.kind;
            signer.has_nested_signature |= kind == SPC_NESTED_SIGNATURE;
            signer.has_timestamp |= [SPC_RFC3161_TIMESTAMP, ID_COUNTER_SIGNATURE].contains(&kind);
        }
        Ok(signer)
    }

    fn read_signed(&mut self, attribute: &Attribute<'_>, hashed: &[u8]) -> der::Result<()> {
        let Some(value) = elements(attribute.values)?.first().copied() else { return Ok(()) };
        if attribute.kind == ID_MESSAGE_DIGEST {
            let signed = OctetStringRef::from_der(value)?;
            self.content = match self.digest_algorithm.known() {
                None => ContentLink::UnknownAlgorithm,
                Some(algorithm) if Digest::of(algorithm, hashed).as_bytes() == signed.as_bytes() => {
                    ContentLink::Holds
                }
                Some(_) => ContentLink::Broken,
            };
        } else if attribute.kind == ID_SIGNING_TIME {
            self.signing_time = Some(Time::from_der(value)?.to_date_time().to_string());
        }
        Ok(())
    }
}

fn expect(found: ObjectIdentifier, expected: ObjectIdentifier) -> Result<(), SignatureError> {
    if found == expected { Ok(()) } else { Err(SignatureError::ContentType { found, expected }) }
}

fn read_certificates(set: Option<AnyRef<'_>>) -> der::Result<(Vec<SignerCertificate>, usize)> {
    let all = set.map_or(Ok(Vec::new()), elements)?;
    let readable: Vec<SignerCertificate> =
        all.iter().filter_map(|bytes| SignerCertificate::parse(bytes).ok()).collect();
    let unreadable = all.len().saturating_sub(readable.len());
    Ok((readable, unreadable))
}

/// The elements of a `SET OF`, each with its own header; not more than [`MAX_ELEMENTS`].
fn elements(set: AnyRef<'_>) -> der::Result<Vec<&[u8]>> {
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

/// `ContentInfo` and `EncapsulatedContentInfo`: what follows depends on the type.
#[derive(Sequence)]
struct ContentInfo<'a> {
    content_type: ObjectIdentifier,
    content: ContextSpecific<AnyRef<'a>>,
}

/// `SignedData`, its sets still closed.
struct SignedData<'a> {
    encap_content_info: ContentInfo<'a>,
    certificates: Option<AnyRef<'a>>,
    signer_infos: AnyRef<'a>,
}

impl<'a> SignedData<'a> {
    fn read(sequence: AnyRef<'a>) -> der::Result<Self> {
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

/// `SignerInfo`, its sets still closed.
struct SignerInfo<'a> {
    identifier: SignerIdentifier,
    digest_algorithm: AlgorithmIdentifierRef<'a>,
    signed_attributes: Option<AnyRef<'a>>,
    signature_algorithm: AlgorithmIdentifierRef<'a>,
    signature: &'a [u8],
    unsigned_attributes: Option<AnyRef<'a>>,
}

impl<'a> SignerInfo<'a> {
    fn from_der(bytes: &'a [u8]) -> der::Result<Self> {
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

/// Signed attributes stand as `[0] IMPLICIT` in the message, and are hashed with the tag of a `SET OF`.
fn as_set(attributes: AnyRef<'_>) -> der::Result<Vec<u8>> {
    AnyRef::new(Tag::Set, attributes.value())?.to_der()
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
struct Attribute<'a> {
    kind: ObjectIdentifier,
    values: AnyRef<'a>,
}

/// `SpcIndirectDataContent`: `data` describes what was hashed, `messageDigest` is the image digest.
#[derive(Sequence)]
struct SpcIndirectDataContent<'a> {
    data: AnyRef<'a>,
    message_digest: DigestInfo<'a>,
}

#[derive(Sequence)]
struct DigestInfo<'a> {
    digest_algorithm: AlgorithmIdentifierRef<'a>,
    digest: OctetStringRef<'a>,
}
