//! A signature of the certificate table: who signed, and whether it is about this image.
//!
//! The message is PKCS#7 `SignedData` ("Windows Authenticode Portable Executable Signature Format"; RFC 2315, RFC
//! 5652). Its content, `SpcIndirectDataContent`, holds the image digest; each signer signs attributes, among which
//! `messageDigest` is the hash of that content. Both links are checked here, with [`Signature::coverage`]. The
//! signature value itself and the trust in its certificate are not.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, SliceReader, Tag, Tagged};
use x509_cert::time::Time;

use super::certificate::SignerCertificate;
use super::signed_data::{
    Attribute, ContentInfo, SignedData, SignerInfo, SpcIndirectDataContent, detached_parts, elements,
};
use crate::source::Blob;
use crate::tcg::{Digest, DigestSet, HashAlgorithm};

/// Largest PKCS#7 message that is read: twenty times the largest one seen.
const MAX_MESSAGE: u64 = 256 << 10;

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

/// One Authenticode signature: the image digest that was signed, and by whom.
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

    /// The signers of a message whose content lies elsewhere.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn parse_detached(message: &[u8], content: &[u8]) -> Result<Vec<Signer>, SignatureError> {
        let info = ContentInfo::decode(&mut SliceReader::new(message)?)?;
        expect(info.content_type, ID_SIGNED_DATA)?;
        let (certificates, signers) = detached_parts(info.content.value)?;
        let (certificates, _) = read_certificates(certificates)?;
        let signers = elements(signers)?;
        Ok(signers
            .into_iter()
            .map(|signer| Signer::parse(signer, content, &certificates))
            .collect::<der::Result<_>>()?)
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
    /// The signed attributes, where there are any, are about the content.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        self.content == ContentLink::Holds
    }

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

/// Signed attributes stand as `[0] IMPLICIT` in the message, and are hashed with the tag of a `SET OF`.
fn as_set(attributes: AnyRef<'_>) -> der::Result<Vec<u8>> {
    AnyRef::new(Tag::Set, attributes.value())?.to_der()
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

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::pe::{CertificateTable, PeImage};

    /// See `fixtures/pe/README.md`; signed with SHA-384 by `osslsigncode` 2.9.
    fn message() -> Vec<u8> {
        let file = include_bytes!("../../fixtures/pe/signed-nested.addon.efi");
        let image = PeImage::parse(&Blob::from_bytes(file.as_slice())).expect("a PE image");
        let table = CertificateTable::read(&image).expect("readable");
        table.entries[0].pkcs7.as_ref().expect("PKCS#7").read(MAX_MESSAGE).expect("readable")
    }

    /// Witness: `osslsigncode verify` 2.9 prints it as "Current message digest".
    const DIGEST: &str =
        "12af6693a24796b29dae27fcb25dd0f5b20c9c5fc3fa522c714ec846ef86222588a68aeb45f085d148412f5370236a76";

    fn digests(hex_digits: &str) -> DigestSet {
        let bytes = hex::decode(hex_digits).expect("hexadecimal");
        Digest::from_bytes(HashAlgorithm::Sha384, &bytes).into_iter().collect()
    }

    #[test]
    fn the_signed_digest_decides_about_coverage() {
        let signature = Signature::parse(&message()).expect("a signature");
        assert_eq!(hex::encode(&signature.image_digest), DIGEST);
        let signer = &signature.signers[0];
        assert_eq!(signature.coverage(signer, &digests(DIGEST)), Coverage::Covers);
        assert_eq!(signature.coverage(signer, &digests(&DIGEST.replace('1', "2"))), Coverage::OtherImage);
        assert_eq!(signature.coverage(signer, &DigestSet::default()), Coverage::Unknown);
    }

    /// Whoever exchanges the digest can't fix `messageDigest`, which the key signed.
    #[test]
    fn an_exchanged_digest_breaks_the_link_to_the_signer() {
        let mut message = message();
        let digest = hex::decode(DIGEST).expect("hexadecimal");
        let at = message.windows(digest.len()).position(|window| window == digest).expect("it is there");
        message[at] ^= 1;
        let signature = Signature::parse(&message).expect("still a signature");
        let exchanged = digests(&hex::encode(&signature.image_digest));
        assert_eq!(signature.coverage(&signature.signers[0], &exchanged), Coverage::OtherContent);
    }

    #[test]
    fn zero_padding_is_ignored_and_a_cut_is_an_error() {
        let message = message();
        assert!(Signature::parse(&[message.as_slice(), &[0; 7]].concat()).is_ok());
        let end = message.iter().rposition(|byte| *byte != 0).expect("not all zeros");
        for length in 0..end {
            assert!(Signature::parse(&message[..length]).is_err(), "{length}");
        }
    }
}
