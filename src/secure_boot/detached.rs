//! Detached signatures: PKCS#7 over content that lies elsewhere, as over the root hash of a dm-verity partition.

use super::certificate::Certificate;
use super::database::Database;
use super::key::verify;
use crate::pe::Signature;
use crate::tcg::{Digest, HashAlgorithm};

/// A certificate that accounts for a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Common name of its holder.
    pub name: String,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
}

/// Finds the certificate whose key made a signature; `None` when none of them did. As for the kernel, the certificate has to
/// be known itself: certificates that a message brings along count for nothing.
///
/// # Errors
/// In words, when the message can't be read, or an algorithm is not known.
pub fn verify_detached(
    message: &[u8],
    content: &[u8],
    certificates: &Database,
) -> Result<Option<Account>, String> {
    let signers = Signature::parse_detached(message, content).map_err(|error| error.to_string())?;
    let mut problem = None;
    for entry in certificates.certificates() {
        let Ok(certificate) = Certificate::parse(entry.content()) else { continue };
        for signer in signers.iter().filter(|signer| signer.is_about_content()) {
            let digest = signer.digest_algorithm.known();
            let (signed, value) = (&signer.signed, &signer.value);
            match verify(certificate.key(), signer.signature_algorithm, digest, signed, value) {
                Ok(true) => {
                    let fingerprint = Digest::of(HashAlgorithm::Sha256, &certificate.der).to_string();
                    return Ok(Some(Account { name: certificate.name(), fingerprint }));
                }
                Ok(false) => {}
                Err(error) => problem = Some(error.to_string()),
            }
        }
    }
    problem.map_or(Ok(None), Err)
}
