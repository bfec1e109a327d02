//! From an attestation key's certificate to a certificate that the user trusts (RFC 5280, section 6, the parts that
//! certificates of TPMs use; anything else that is marked critical is refused).

use std::collections::BTreeSet;
use std::fmt;

use der::Decode;
use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use super::key::{AttestationKey, KeyReadError, read_certificates};
use super::refusal::{Code, Refusal};
use super::time::Timestamp;
use crate::secure_boot::certificate::Certificate;
use crate::tcg::{Digest, HashAlgorithm};

/// Longest chain, the key's own certificate included.
const MAX_DEPTH: usize = 8;
/// Most certificates that are taken from evidence.
const MAX_POOL: usize = 16;
/// Most signatures that are checked on the way.
const MAX_CHECKS: usize = 64;

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
/// Critical extensions that don't restrict what is decided here: extKeyUsage and subjectAltName, which TCG's profiles
/// demand to be critical in some certificates, and the certificate policies.
const HARMLESS: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.5.29.37"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.32"),
];
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
/// What the certificate of an attestation key may be for, where it says so: tcg-kp-AIKCertificate (TCG Credential Profile for
/// TPM 2.0, section 3.5.3), and anyExtendedKeyUsage (RFC 5280, section 4.2.1.12). Azure's has the first beside one of
/// Microsoft's; Google's and AWS' have none.
const ATTESTATION_USAGES: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("2.23.133.8.3"), ObjectIdentifier::new_unwrap("2.5.29.37.0")];
/// RSA PKCS#1 v1.5 and ECDSA, each with SHA-256, SHA-384 and SHA-512.
const SIGNATURES: [ObjectIdentifier; 6] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"),
];

/// A certificate file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate.
    #[error(transparent)]
    Read(#[from] KeyReadError),
    /// Not well-formed, or of a kind that can't be checked.
    #[error("certificate of '{name}': {problem}")]
    Content {
        /// The holder.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// There is none in the file.
    #[error("there is no certificate in it")]
    Empty,
}

/// The certificates that the user trusts to vouch for attestation keys.
#[derive(Debug, Clone, Default)]
pub struct Anchors(Vec<Link>);

/// A certificate with what a chain depends on.
#[derive(Debug, Clone)]
struct Link {
    certificate: Certificate,
    not_before: Timestamp,
    not_after: Timestamp,
    /// `cA`, with `pathLenConstraint`.
    issuer: Option<Option<u8>>,
    /// Says that it is an authority's.
    is_authority: bool,
    /// `digitalSignature` of `keyUsage`, where it is there.
    may_sign_data: Option<bool>,
    /// `extKeyUsage`, where it is there.
    usages: Option<Vec<ObjectIdentifier>>,
}

/// What a certificate at the end of a chain has to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The key of quotes.
    AttestationKey,
    /// AWS' attestation documents: their certificates have no `extKeyUsage`, and AWS says nothing of one.
    Document,
}

impl Anchors {
    /// Adds the certificates of a file: PEM with any number of them, or one in DER.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), CertificateError> {
        let certificates = read_certificates(bytes)?;
        if certificates.is_empty() {
            return Err(CertificateError::Empty);
        }
        for der in certificates {
            self.0.push(Link::read(&der)?);
        }
        Ok(())
    }

    /// Nobody is trusted to vouch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and SHA-256 fingerprints.
    pub fn describe(&self) -> impl Iterator<Item = (String, Digest)> + '_ {
        let fingerprint = |link: &Link| Digest::of(HashAlgorithm::Sha256, &link.certificate.der);
        self.0.iter().map(move |link| (link.certificate.name(), fingerprint(link)))
    }

    /// Leads from a certificate to an anchor, over certificates of `pool`; gives the names on the way, the anchor's last.
    /// Every certificate on the way has to be valid at `at`, and the first one made for `purpose`.
    pub(super) fn chain(
        &self,
        leaf: &[u8],
        pool: &[Vec<u8>],
        at: Timestamp,
        purpose: Purpose,
    ) -> Result<Vec<String>, Refusal> {
        let unread = |error: CertificateError| Refusal::new(Code::KeyUntrusted, error.to_string());
        let leaf = Link::read(leaf).map_err(unread)?;
        let mut walk = Walk {
            anchors: &self.0,
            pool: pool.iter().take(MAX_POOL).filter_map(|der| Link::read(der).ok()).collect(),
            at,
            checks: MAX_CHECKS,
            expired: None,
        };
        if let Some(path) = walk.from(&leaf, 0) {
            leaf.serves(purpose)?;
            return Ok(path.into_iter().rev().collect());
        }
        Err(walk.expired.unwrap_or_else(|| {
            let detail = format!(
                "no trusted certificate vouches for '{}' (issuer '{}')",
                leaf.certificate.name(),
                issuer_name(&leaf.certificate)
            );
            Refusal::new(Code::KeyUntrusted, detail)
        }))
    }
}

fn issuer_name(certificate: &Certificate) -> String {
    x509_cert::Certificate::from_der(&certificate.der)
        .map_or_else(|_| "unknown".to_owned(), |parsed| parsed.tbs_certificate.issuer.to_string())
}

struct Walk<'a> {
    anchors: &'a [Link],
    pool: Vec<Link>,
    at: Timestamp,
    checks: usize,
    /// A chain that would do at another time.
    expired: Option<Refusal>,
}

impl Walk<'_> {
    /// The names from the anchor down to `link`, below which `depth` certificates stand.
    fn from(&mut self, link: &Link, depth: usize) -> Option<Vec<String>> {
        if !self.is_valid(link) {
            return None;
        }
        let name = link.certificate.name();
        if self.anchors.iter().any(|anchor| anchor.certificate.der == link.certificate.der) {
            return Some(vec![name]);
        }
        for anchor in self.anchors {
            if self.issued(anchor, link, depth) && self.is_valid(anchor) {
                return Some(vec![anchor.certificate.name(), name]);
            }
        }
        let deeper = depth.saturating_add(1);
        if deeper >= MAX_DEPTH {
            return None;
        }
        for issuer in self.pool.clone() {
            let same = issuer.certificate.der == link.certificate.der;
            if !same
                && self.issued(&issuer, link, depth)
                && let Some(mut path) = self.from(&issuer, deeper)
            {
                path.push(name);
                return Some(path);
            }
        }
        None
    }

    fn issued(&mut self, issuer: &Link, link: &Link, depth: usize) -> bool {
        let Some(path_length) = issuer.issuer else { return false };
        // Certificates between this issuer and the key's own.
        if path_length.is_some_and(|limit| depth > usize::from(limit)) {
            return false;
        }
        if !SIGNATURES.contains(&link.certificate.signature_algorithm()) {
            return false;
        }
        let Some(checks) = self.checks.checked_sub(1) else { return false };
        self.checks = checks;
        issuer.certificate.issued(&link.certificate).unwrap_or(false)
    }

    fn is_valid(&mut self, link: &Link) -> bool {
        let valid = link.not_before <= self.at && self.at <= link.not_after;
        if !valid {
            let detail = format!(
                "the certificate of '{}' is valid from {} to {}, not at {}",
                link.certificate.name(),
                link.not_before,
                link.not_after,
                self.at
            );
            self.expired = Some(Refusal::new(Code::CertificateExpired, detail));
        }
        valid
    }
}

impl Link {
    fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let wrong = |error: der::Error| KeyReadError::Encoding(format!("certificate: {error}"));
        let certificate = Certificate::parse(der).map_err(wrong)?;
        let content = |problem: String| CertificateError::Content { name: certificate.name(), problem };
        let parsed = x509_cert::Certificate::from_der(&certificate.der)
            .map_err(|error| content(error.to_string()))?
            .tbs_certificate;
        // Keys that are too weak, or of a kind that can't be checked, vouch for nothing.
        AttestationKey::from_public_key(certificate.key()).map_err(|error| content(error.to_string()))?;
        let mut issuer = None;
        let (mut is_authority, mut may_sign, mut may_sign_data) = (false, true, None);
        let mut usages: Option<Vec<ObjectIdentifier>> = None;
        let mut seen = BTreeSet::new();
        for extension in parsed.extensions.iter().flatten() {
            let value = extension.extn_value.as_bytes();
            if !seen.insert(extension.extn_id) {
                // RFC 5280, section 4.2: readers would differ in which one they believe.
                return Err(content(format!("extension {} is there twice", extension.extn_id)));
            }
            match extension.extn_id {
                BASIC_CONSTRAINTS => {
                    let constraints =
                        BasicConstraints::from_der(value).map_err(|error| content(error.to_string()))?;
                    is_authority = constraints.ca;
                    issuer = constraints.ca.then_some(constraints.path_len_constraint);
                }
                KEY_USAGE => {
                    let usage = KeyUsage::from_der(value).map_err(|error| content(error.to_string()))?;
                    may_sign = usage.key_cert_sign();
                    may_sign_data = Some(usage.digital_signature());
                }
                EXTENDED_KEY_USAGE => {
                    let usage =
                        ExtendedKeyUsage::from_der(value).map_err(|error| content(error.to_string()))?;
                    usages = Some(usage.0);
                }
                id if extension.critical && !HARMLESS.contains(&id) => {
                    return Err(content(format!("critical extension {id} is not known")));
                }
                _ => {}
            }
        }
        let seconds = |time: x509_cert::time::Time| Timestamp(time.to_unix_duration().as_secs());
        Ok(Self {
            not_before: seconds(parsed.validity.not_before),
            not_after: seconds(parsed.validity.not_after),
            issuer: issuer.filter(|_| may_sign),
            is_authority,
            may_sign_data,
            usages,
            certificate,
        })
    }

    /// Whoever issued a certificate said what its key is for: one that vouches for a web server, for the endorsement key of
    /// a TPM or for an authority vouches for no attestation key.
    fn serves(&self, purpose: Purpose) -> Result<(), Refusal> {
        let refuse = |why: String| {
            let detail =
                format!("the certificate of '{}' is none of {purpose}: {why}", self.certificate.name());
            Err(Refusal::new(Code::KeyUntrusted, detail))
        };
        if self.is_authority {
            return refuse("basicConstraints says cA, so that it is an authority's".to_owned());
        }
        if self.may_sign_data == Some(false) {
            return refuse("keyUsage is there without digitalSignature".to_owned());
        }
        match &self.usages {
            Some(usages)
                if purpose == Purpose::AttestationKey
                    && !usages.iter().any(|usage| ATTESTATION_USAGES.contains(usage)) =>
            {
                let usages: Vec<String> = usages.iter().map(ToString::to_string).collect();
                let expected = "expected 2.23.133.8.3 (tcg-kp-AIKCertificate)";
                refuse(format!("extKeyUsage is {}, {expected}", usages.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AttestationKey => "an attestation key",
            Self::Document => "attestation documents",
        })
    }
}

/// Whether a certificate is valid at a moment, and an attestation key's: for one that is itself trusted.
pub(super) fn valid_at(der: &[u8], at: Timestamp) -> Result<(), Refusal> {
    let mut anchors = Anchors::default();
    anchors.add(der).map_err(|error| Refusal::new(Code::KeyUntrusted, error.to_string()))?;
    anchors.chain(der, &[], at, Purpose::AttestationKey).map(drop)
}
