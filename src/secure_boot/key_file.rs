//! Keys as people keep them: signature lists, signed writes, certificates in DER and PEM.

use der::pem::PemLabel;

use super::certificate::Certificate;
use super::certificate::first_value;
use super::database::{Database, certificate_list};
use crate::bytes::ParseError;
use crate::uefi::authenticated;
use crate::uefi::guid::Guid;

/// A file that holds no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// A signature list, alone or in a signed write, with something wrong.
    #[error(transparent)]
    List(#[from] ParseError),
    /// A certificate with something wrong.
    #[error("X.509 certificate: {0}")]
    Certificate(der::Error),
    /// A certificate, of which only the owner makes a signature list.
    #[error("a certificate alone is no content of a variable: the owner's GUID is measured with it")]
    NoOwner,
}

/// The content of a variable in a file: signature lists (`.esl`), a signed write of them (`.auth`), or certificates in
/// DER or PEM, each of which becomes a list of its own with `owner`, as enrolment tools do.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_key_file(bytes: &[u8], owner: Option<Guid>) -> Result<Vec<u8>, KeyFileError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    if authenticated::is_authenticated(bytes) {
        let lists = authenticated::payload(bytes)?;
        Database::parse(lists)?;
        return Ok(lists.to_vec());
    }
    let certificates = if bytes.starts_with(b"-----BEGIN") || contains(bytes, b"\n-----BEGIN") {
        pem_certificates(bytes)?
    } else if bytes.starts_with(&[0x30, 0x82]) {
        vec![bytes.to_vec()]
    } else {
        Database::parse(bytes)?;
        return Ok(bytes.to_vec());
    };
    let owner = owner.ok_or(KeyFileError::NoOwner)?;
    let mut lists = Vec::new();
    for der in certificates {
        Certificate::parse(&der).map_err(KeyFileError::Certificate)?;
        lists.extend(certificate_list(owner, &first_value(&der).unwrap_or(der)));
    }
    Ok(lists)
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// The `CERTIFICATE` blocks of a PEM file; text around them is left out.
fn pem_certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, KeyFileError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let pem = |error: der::pem::Error| KeyFileError::Certificate(error.into());
    let text = String::from_utf8_lossy(bytes);
    let mut certificates = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let body = block.split(END).next().unwrap_or_default();
        let whole = format!("{BEGIN}\n{}\n{END}\n", body.trim());
        let (label, der) = der::pem::decode_vec(whole.as_bytes()).map_err(pem)?;
        x509_cert::Certificate::validate_pem_label(label).map_err(pem)?;
        certificates.push(der);
    }
    if certificates.is_empty() {
        return Err(pem(der::pem::Error::PreEncapsulationBoundary));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_needs_an_owner_and_garbage_is_refused() {
        assert!(matches!(read_key_file(&[0x30, 0x82, 0, 0], None), Err(KeyFileError::NoOwner)));
        assert!(matches!(
            read_key_file(&[0x30, 0x82, 0, 0], Some(Guid::ZERO)),
            Err(KeyFileError::Certificate(_))
        ));
        assert!(matches!(read_key_file(&[7; 40], None), Err(KeyFileError::List(_))));
        let pem = b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(read_key_file(pem, Some(Guid::ZERO)), Err(KeyFileError::Certificate(_))));
        assert!(matches!(
            read_key_file(b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", None),
            Err(KeyFileError::Certificate(_))
        ));
    }
}
