//! The certificates inside a signature.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use cms::signed_data::SignerIdentifier;
use der::Decode;
use der::asn1::OctetString;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use crate::tcg::{Digest, HashAlgorithm};

/// Largest certificate that is read.
const MAX_CERTIFICATE: usize = 16 << 10;

/// An X.509 certificate, exactly as it stood in the message.
#[derive(Debug, Clone)]
pub struct SignerCertificate {
    /// Its DER encoding.
    pub der: Vec<u8>,
    certificate: Certificate,
}

impl SignerCertificate {
    /// Reads one certificate.
    ///
    /// # Errors
    /// When `der` is no certificate, or is larger than any real one.
    pub fn parse(der: &[u8]) -> der::Result<Self> {
        if der.len() > MAX_CERTIFICATE {
            return Err(der::ErrorKind::Overlength.into());
        }
        Ok(Self { certificate: Certificate::from_der(der)?, der: der.to_vec() })
    }

    /// The holder's name, as RFC 4514 writes it: the most specific part first.
    #[must_use]
    pub fn subject(&self) -> String {
        self.certificate.tbs_certificate.subject.to_string()
    }

    /// The issuer's name, written likewise.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.certificate.tbs_certificate.issuer.to_string()
    }

    /// The serial number in lower-case hexadecimal, without leading zero bytes.
    #[must_use]
    pub fn serial(&self) -> String {
        let bytes = self.certificate.tbs_certificate.serial_number.as_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        hex::encode(bytes.get(zeros..).filter(|rest| !rest.is_empty()).unwrap_or(&[0]))
    }

    /// SHA-256 over the DER encoding.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(HashAlgorithm::Sha256, &self.der)
    }

    /// The first moment at which it is valid, in UTC.
    #[must_use]
    pub fn not_before(&self) -> String {
        self.certificate.tbs_certificate.validity.not_before.to_date_time().to_string()
    }

    /// The last moment at which it is valid, in UTC. Firmware does not look at it.
    #[must_use]
    pub fn not_after(&self) -> String {
        self.certificate.tbs_certificate.validity.not_after.to_date_time().to_string()
    }

    /// This is the certificate that a `SignerInfo` means.
    pub(super) fn is(&self, identifier: &SignerIdentifier) -> bool {
        let own = &self.certificate.tbs_certificate;
        match identifier {
            SignerIdentifier::IssuerAndSerialNumber(named) => {
                named.issuer == own.issuer && named.serial_number == own.serial_number
            }
            SignerIdentifier::SubjectKeyIdentifier(named) => {
                let own = own.get::<SubjectKeyIdentifier>().ok().flatten();
                own.is_some_and(|(_, own)| same_key(&own.0, &named.0))
            }
        }
    }
}

fn same_key(one: &OctetString, other: &OctetString) -> bool {
    one.as_bytes() == other.as_bytes()
}
