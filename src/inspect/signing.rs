//! The signatures, as structures for output.

use serde::Serialize;

use super::Finding;
use crate::pe::{
    CertificateTable, Coverage, Signature, SignatureError, Signer, SignerCertificate, WinCertificate,
};
use crate::tcg::{DigestSet, HashAlgorithm};

/// One entry of the certificate table.
#[derive(Debug, Clone, Serialize)]
pub struct SignatureFacts {
    /// File offset of the `WIN_CERTIFICATE`.
    pub offset: u64,
    /// `dwLength`.
    pub length: u32,
    /// `wRevision`.
    pub revision: u16,
    /// `wCertificateType`.
    pub certificate_type: u16,
    /// Algorithm of the signed image digest; a dotted object identifier when it is none that we compute.
    pub digest_algorithm: Option<String>,
    /// The signed image digest.
    pub digest: Option<String>,
    /// Whether every signer's signature is about this image; absent when that can't be decided. The signature
    /// value and the trust in the certificate are not verified.
    pub covers_image: Option<bool>,
    /// The signers.
    pub signers: Vec<SignerFacts>,
    /// All certificates of the message.
    pub certificates: Vec<CertificateFacts>,
    /// Why the entry can't be read as a signature.
    pub error: Option<String>,
}

/// Who signed.
#[derive(Debug, Clone, Serialize)]
pub struct SignerFacts {
    /// The certificate; absent when the message lacks it.
    pub certificate: Option<CertificateFacts>,
    /// Algorithm by which the signed attributes were hashed.
    pub digest_algorithm: String,
    /// Object identifier of the signature's algorithm.
    pub signature_algorithm: String,
    /// When it claims to have signed.
    pub signing_time: Option<String>,
    /// A time stamp or counter-signature is attached.
    pub timestamp: bool,
    /// Further signatures are nested, which firmware ignores.
    pub nested_signature: bool,
    /// Whether the signature is about this image; absent when that can't be decided.
    pub covers_image: Option<bool>,
    /// The same in words, with the reason.
    pub coverage: &'static str,
}

/// A certificate.
#[derive(Debug, Clone, Serialize)]
pub struct CertificateFacts {
    /// The holder's name (RFC 4514).
    pub subject: String,
    /// The issuer's name (RFC 4514).
    pub issuer: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// SHA-256 over its DER encoding.
    pub sha256: String,
    /// Start of its validity.
    pub not_before: String,
    /// End of its validity.
    pub not_after: String,
}

/// A table entry with what could be made of it; `None` when it is of a type without PKCS#7.
pub(super) struct ReadSignature(Option<Result<Signature, SignatureError>>);

impl ReadSignature {
    /// The algorithm that the image has to be hashed with to judge it.
    pub(super) fn algorithm(&self) -> Option<HashAlgorithm> {
        self.0.as_ref()?.as_ref().ok()?.digest_algorithm.known()
    }
}

/// Reads the signatures of `table`.
pub(super) fn read(table: &CertificateTable) -> Vec<ReadSignature> {
    table.entries.iter().map(|entry| ReadSignature(entry.pkcs7.as_ref().map(Signature::read))).collect()
}

/// The signatures, judged by the image's digests.
pub(super) fn facts(
    table: &CertificateTable,
    read: &[ReadSignature],
    image: &DigestSet,
    findings: &mut Vec<Finding>,
) -> Vec<SignatureFacts> {
    let facts: Vec<SignatureFacts> =
        table.entries.iter().zip(read).map(|(entry, read)| entry_facts(entry, read, image)).collect();
    for (number, signature) in facts.iter().enumerate() {
        let number = number.saturating_add(1);
        if let Some(error) = &signature.error {
            let text = format!("signature {number} at offset {:#x} can't be read: {error}", signature.offset);
            findings.push(Finding::new("signature-unreadable", text));
        }
        for signer in signature.signers.iter().filter(|signer| signer.covers_image != Some(true)) {
            let text = format!("signature {number}: {}", signer.coverage);
            findings.push(Finding::new("signature-not-about-image", text));
        }
    }
    facts
}

fn entry_facts(entry: &WinCertificate, read: &ReadSignature, image: &DigestSet) -> SignatureFacts {
    let mut facts = SignatureFacts {
        offset: entry.offset,
        length: entry.length,
        revision: entry.revision,
        certificate_type: entry.certificate_type.0,
        digest_algorithm: None,
        digest: None,
        covers_image: None,
        signers: Vec::new(),
        certificates: Vec::new(),
        error: None,
    };
    match &read.0 {
        None => {
            let number = entry.certificate_type.0;
            facts.error = Some(format!("wCertificateType is {number:#06x}, which is no PKCS#7 signature"));
        }
        Some(Err(error)) => facts.error = Some(error.to_string()),
        Some(Ok(signature)) => {
            facts.digest_algorithm = Some(signature.digest_algorithm.to_string());
            facts.digest = Some(hex::encode(&signature.image_digest));
            facts.signers =
                signature.signers.iter().map(|signer| signer_facts(signature, signer, image)).collect();
            facts.certificates = signature.certificates.iter().map(certificate_facts).collect();
            facts.covers_image = all_cover(&facts.signers);
        }
    }
    facts
}

/// One that does not cover decides; one that can't be told leaves all untold.
fn all_cover(signers: &[SignerFacts]) -> Option<bool> {
    if signers.iter().any(|signer| signer.covers_image == Some(false)) {
        return Some(false);
    }
    let all = !signers.is_empty() && signers.iter().all(|signer| signer.covers_image == Some(true));
    all.then_some(true)
}

fn signer_facts(signature: &Signature, signer: &Signer, image: &DigestSet) -> SignerFacts {
    let certificate = signer.certificate.and_then(|index| signature.certificates.get(index));
    let (covers_image, coverage) = match signature.coverage(signer, image) {
        Coverage::Covers => (Some(true), "the signed image digest is this image's"),
        Coverage::OtherImage => (
            Some(false),
            "another image digest was signed: the image changed, or the signature is not its own",
        ),
        Coverage::OtherContent => {
            (Some(false), "the attribute messageDigest does not match the signed content")
        }
        Coverage::Unknown => (None, "can't be told: unknown digest algorithm, or the image has no digest"),
    };
    SignerFacts {
        certificate: certificate.map(certificate_facts),
        digest_algorithm: signer.digest_algorithm.to_string(),
        signature_algorithm: signer.signature_algorithm.to_string(),
        signing_time: signer.signing_time.clone(),
        timestamp: signer.has_timestamp,
        nested_signature: signer.has_nested_signature,
        covers_image,
        coverage,
    }
}

fn certificate_facts(certificate: &SignerCertificate) -> CertificateFacts {
    CertificateFacts {
        subject: certificate.subject(),
        issuer: certificate.issuer(),
        serial: certificate.serial(),
        sha256: certificate.fingerprint().to_string(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
    }
}
