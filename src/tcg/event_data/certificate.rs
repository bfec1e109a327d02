//! Certificates in signature lists: who they are.

use der::Decode;
use x509_cert::Certificate;

/// The subject of a DER certificate, as RFC 4514 writes it; `None` when it is none.
///
/// A subject is text that its maker chose: not safe for a terminal as it is.
#[must_use]
pub fn subject(der: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?;
    Some(certificate.tbs_certificate.subject.to_string())
}

/// The common name of a DER certificate's subject, or the whole subject when it has none.
pub(super) fn short_subject(der: &[u8]) -> Option<String> {
    let subject = subject(der)?;
    let name = subject.split(',').find_map(|part| part.strip_prefix("CN="));
    Some(name.map_or_else(|| subject.clone(), str::to_owned))
}
