//! X.509 certificates as far as a firmware looks at them: names, key, who signed whom. Validity dates are not among
//! that: EDK2's `Pkcs7Verify` sets `X509_V_FLAG_NO_CHECK_TIME`.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Reader as _, SliceReader, Tag, TagNumber};
use x509_cert::spki::AlgorithmIdentifierRef;

use super::key::{KeyError, verify_certificate};
use crate::tcg::{Digest, HashAlgorithm};

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
/// Largest certificate that is read.
const MAX_SIZE: usize = 16 << 10;
/// Most extensions that are looked at.
const MAX_EXTENSIONS: usize = 64;

/// A certificate: the parts that decide whether it may vouch for another one.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// The whole encoding.
    pub(crate) der: Vec<u8>,
    /// `TBSCertificate` with its header: what the issuer signed.
    to_be_signed: Vec<u8>,
    /// `subject`, encoded.
    subject: Vec<u8>,
    /// `issuer`, encoded.
    issuer: Vec<u8>,
    /// `subjectPublicKeyInfo`.
    key: PublicKey,
    signature_algorithm: ObjectIdentifier,
    /// Parameters of the signature's algorithm, encoded.
    signature_parameters: Option<Vec<u8>>,
    signature: Vec<u8>,
    may_issue: bool,
}

/// A public key as `SubjectPublicKeyInfo` holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    /// `algorithm.algorithm`.
    pub(crate) algorithm: ObjectIdentifier,
    /// `algorithm.parameters`, when it is the name of a curve.
    pub(crate) curve: Option<ObjectIdentifier>,
    /// `subjectPublicKey`: `RSAPublicKey`, or a point.
    pub(crate) bytes: Vec<u8>,
}

impl Certificate {
    /// Reads one certificate. Bytes behind it are ignored, as OpenSSL's `d2i_X509` does.
    pub(crate) fn parse(der: &[u8]) -> der::Result<Self> {
        if der.len() > MAX_SIZE {
            return Err(der::ErrorKind::Overlength.into());
        }
        let mut outer = SliceReader::new(der)?;
        let whole = outer.tlv_bytes()?;
        let mut fields = SliceReader::new(AnyRef::from_der(whole)?.value())?;
        let to_be_signed = fields.tlv_bytes()?;
        let algorithm = AlgorithmIdentifierRef::decode(&mut fields)?;
        let signature_parameters = algorithm.parameters.map(|parameters| parameters.to_der()).transpose()?;
        let signature = BitStringRef::decode(&mut fields)?.raw_bytes().to_vec();
        let tbs = ToBeSigned::read(AnyRef::from_der(to_be_signed)?.value())?;
        Ok(Self {
            der: whole.to_vec(),
            to_be_signed: to_be_signed.to_vec(),
            may_issue: tbs.may_issue()?,
            subject: tbs.subject,
            issuer: tbs.issuer,
            key: tbs.key,
            signature_algorithm: algorithm.oid,
            signature_parameters,
            signature,
        })
    }

    /// The holder's key.
    pub(crate) fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The digest of `TBSCertificate`, by which `dbx` names a revoked certificate (UEFI, `EFI_CERT_X509_SHA256`).
    pub(super) fn to_be_signed_digest(&self, algorithm: HashAlgorithm) -> Digest {
        Digest::of(algorithm, &self.to_be_signed)
    }

    /// `self` signed `other`, and was allowed to.
    ///
    /// # Errors
    /// When the signature's algorithm is one that we can't check, so that we don't know.
    pub(crate) fn issued(&self, other: &Self) -> Result<bool, KeyError> {
        if self.subject != other.issuer || !self.may_issue {
            return Ok(false);
        }
        let algorithm = (other.signature_algorithm, other.signature_parameters.as_deref());
        verify_certificate(&self.key, algorithm, &other.to_be_signed, &other.signature)
    }

    /// How its issuer signed it.
    pub(crate) fn signature_algorithm(&self) -> ObjectIdentifier {
        self.signature_algorithm
    }

    /// The common name of the holder, or what there is of a name.
    pub(crate) fn name(&self) -> String {
        let subject = crate::tcg::event_data::subject(&self.der).unwrap_or_default();
        let common = subject.split(',').find_map(|part| part.strip_prefix("CN=")).map(str::to_owned);
        common.unwrap_or(subject)
    }
}

/// The fields of `TBSCertificate` that are needed.
struct ToBeSigned {
    version: u8,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    key: PublicKey,
    extensions: Vec<u8>,
}

impl ToBeSigned {
    fn read(content: &[u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(content)?;
        let version = if next_is(&reader, 0)? { read_version(&mut reader)? } else { 1 };
        reader.tlv_bytes()?; // serialNumber
        reader.tlv_bytes()?; // signature
        let issuer = reader.tlv_bytes()?.to_vec();
        reader.tlv_bytes()?; // validity
        let subject = reader.tlv_bytes()?.to_vec();
        let key = PublicKey::read(&mut reader)?;
        let mut extensions = Vec::new();
        while !reader.is_finished() {
            // issuerUniqueID and subjectUniqueID may come first.
            let is_extensions = next_is(&reader, 3)?;
            let field = reader.tlv_bytes()?;
            if is_extensions {
                extensions = AnyRef::from_der(field)?.value().to_vec();
            }
        }
        Ok(Self { version, subject, issuer, key, extensions })
    }

    /// OpenSSL's `check_ca`, which decides whether a certificate may stand above another one in a chain.
    fn may_issue(&self) -> der::Result<bool> {
        let (mut constraints, mut usage) = (None, None);
        if !self.extensions.is_empty() {
            let list = AnyRef::from_der(&self.extensions)?;
            let mut list = SliceReader::new(list.value())?;
            let mut count = 0_usize;
            while !list.is_finished() {
                count = count.saturating_add(1);
                if count > MAX_EXTENSIONS {
                    return Err(der::ErrorKind::Overlength.into());
                }
                let (id, value) = read_extension(AnyRef::from_der(list.tlv_bytes()?)?.value())?;
                if id == BASIC_CONSTRAINTS {
                    constraints = Some(is_ca(&value)?);
                } else if id == KEY_USAGE {
                    usage = Some(may_sign_certificates(&value)?);
                }
            }
        }
        let self_issued_v1 = self.version == 1 && self.subject == self.issuer;
        Ok(match (constraints, usage) {
            (_, Some(false)) => false,
            (Some(is_ca), _) => is_ca,
            (None, Some(true)) => true,
            (None, None) => self_issued_v1,
        })
    }
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`.
    pub(crate) fn read<'a>(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let info: AnyRef<'a> = AnyRef::decode(reader)?;
        let mut fields = SliceReader::new(info.value())?;
        let algorithm = AlgorithmIdentifierRef::decode(&mut fields)?;
        let curve = algorithm.parameters.and_then(|parameters| parameters.decode_as().ok());
        let bytes = BitStringRef::decode(&mut fields)?.raw_bytes().to_vec();
        Ok(Self { algorithm: algorithm.oid, curve, bytes })
    }
}

/// A field `[number]` comes next.
fn next_is(reader: &SliceReader<'_>, number: u8) -> der::Result<bool> {
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber::new(number) };
    Ok(reader.peek_header()?.tag == tag)
}

fn read_version(reader: &mut SliceReader<'_>) -> der::Result<u8> {
    let field = AnyRef::from_der(reader.tlv_bytes()?)?;
    // v1 is 0.
    u8::from_der(field.value()).map(|version| version.saturating_add(1))
}

/// `extnID` and `extnValue`.
fn read_extension(content: &[u8]) -> der::Result<(ObjectIdentifier, Vec<u8>)> {
    let mut reader = SliceReader::new(content)?;
    let id = ObjectIdentifier::decode(&mut reader)?;
    if reader.peek_header()?.tag == Tag::Boolean {
        reader.tlv_bytes()?; // critical
    }
    Ok((id, OctetStringRef::decode(&mut reader)?.as_bytes().to_vec()))
}

/// `BasicConstraints.cA`, which is false when it is left out.
fn is_ca(value: &[u8]) -> der::Result<bool> {
    let content = AnyRef::from_der(value)?;
    let mut reader = SliceReader::new(content.value())?;
    if reader.is_finished() || reader.peek_header()?.tag != Tag::Boolean {
        return Ok(false);
    }
    Ok(AnyRef::decode(&mut reader)?.value().iter().any(|byte| *byte != 0))
}

/// Bit 5 of `KeyUsage`, `keyCertSign`.
fn may_sign_certificates(value: &[u8]) -> der::Result<bool> {
    let bits = BitStringRef::from_der(value)?;
    Ok(bits.raw_bytes().first().is_some_and(|byte| byte & 0x04 != 0))
}

/// The encoding of a DER value without trailing bytes; `None` when there is none.
pub(super) fn first_value(bytes: &[u8]) -> Option<Vec<u8>> {
    AnyRef::decode(&mut SliceReader::new(bytes).ok()?).ok()?.to_der().ok()
}
