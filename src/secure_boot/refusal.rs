//! Why an image does not start under Secure Boot.

use std::fmt;

use crate::bytes::ParseError;
use crate::tcg::Digest;

/// The reason, as the firmware would have it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It has no signature, and `db` does not name its digest (SHA-256 given).
    Unsigned(Option<Digest>),
    /// No entry of `db` stands above any of its signatures; what each of them is.
    Untrusted(Vec<String>),
    /// `dbx` names its digest.
    RevokedImage(Digest),
    /// A certificate in `dbx` stands above its signature; the certificate's name.
    RevokedCertificate(String),
    /// `dbx` names the digest of a certificate above its signature; the certificate's name.
    RevokedCertificateDigest(String),
    /// Its certificate table is damaged.
    CertificateTable(ParseError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(Some(digest)) => {
                write!(f, "it is not signed, and db does not list its image digest {digest:?}")
            }
            Self::Unsigned(None) => f.write_str("it is not signed, and db does not list its image digest"),
            Self::Untrusted(signatures) if signatures.is_empty() => {
                f.write_str("it has no signature of a type that firmware checks")
            }
            Self::Untrusted(signatures) => {
                write!(f, "no certificate in db accounts for it: {}", signatures.join("; "))
            }
            Self::RevokedImage(digest) => write!(f, "dbx lists its image digest {digest:?}"),
            Self::RevokedCertificate(name) => write!(f, "dbx holds '{name}', which its signature leads to"),
            Self::RevokedCertificateDigest(name) => write!(f, "dbx lists '{name}', which signed it"),
            Self::CertificateTable(error) => write!(f, "its certificate table is damaged: {error}"),
        }
    }
}
