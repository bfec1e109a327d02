//! Would the firmware start this image, and which database entry lets it?
//!
//! Follows EDK2 `SecurityPkg/Library/DxeImageVerificationLib` (`DxeImageVerificationHandler`, `IsForbiddenByDbx`,
//! `IsAllowedByDb`, `IsSignatureFoundInDatabase`) with `CryptPkg` `AuthenticodeVerify` and `Pkcs7Verify`, as of
//! edk2-stable202211 to 202605. Everything is checked for real: the image digest, the signed attributes, each
//! signature of the chain. A signature that we can't check makes the verdict [`Verdict::Undecided`].

use std::collections::BTreeSet;

use super::certificate::Certificate;
use super::database::{Database, Entry};
use super::key::{KeyError, verify_signer};
use super::refusal::Refusal;
use crate::pe::{CertificateTable, Coverage, PeError, PeImage, Signature, Signer};
use crate::tcg::{DigestSet, HashAlgorithm};

/// Longest chain of certificates that is followed.
const MAX_DEPTH: usize = 8;

/// The databases that decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Databases {
    /// `db`.
    pub db: Database,
    /// `dbx`.
    pub dbx: Database,
    /// `dbt` has certificates of time stamping authorities.
    pub has_dbt: bool,
}

/// What the firmware does with an image under Secure Boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It starts, by these entries of `db` (`EFI_SIGNATURE_DATA`), in the order in which they are measured.
    Allowed(Vec<Vec<u8>>),
    /// It does not start.
    Refused(Refusal),
    /// We can't check what the firmware checks.
    Undecided(String),
}

/// Hash algorithms whose image digests [`judge`] needs.
#[must_use]
pub fn algorithms_needed(databases: &Databases) -> Vec<HashAlgorithm> {
    let signed = [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
    let named = databases.db.image_algorithms().chain(databases.dbx.image_algorithms());
    signed.into_iter().chain(named).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The verdict about one image, given its image digests.
///
/// # Errors
/// When the image can't be read.
pub fn judge(image: &PeImage, digests: &DigestSet, databases: &Databases) -> Result<Verdict, PeError> {
    let table = CertificateTable::read(image)?;
    if table.entries.is_empty() && table.stopped.is_none() {
        return Ok(judge_unsigned(digests, databases));
    }
    let mut state = Signed { databases, digests, allowed: None, undecided: None, untrusted: Vec::new() };
    for entry in &table.entries {
        let Some(message) = &entry.pkcs7 else { continue };
        let signature = match Signature::read(message) {
            Ok(signature) => signature,
            Err(error) => {
                state.untrusted.push(error.to_string());
                continue;
            }
        };
        if let Some(refusal) = state.next(&signature) {
            return Ok(Verdict::Refused(refusal));
        }
    }
    if let Some(error) = table.stopped {
        return Ok(Verdict::Refused(Refusal::CertificateTable(error)));
    }
    Ok(state.verdict())
}

/// Without a signature, the image's digest has to be in `db`; each entry that names it is measured.
fn judge_unsigned(digests: &DigestSet, databases: &Databases) -> Verdict {
    let mut entries = Vec::new();
    // `mHash` is walked from its end.
    for algorithm in
        [HashAlgorithm::Sha512, HashAlgorithm::Sha384, HashAlgorithm::Sha256, HashAlgorithm::Sha1]
    {
        let Some(digest) = digests.get(algorithm) else { continue };
        if databases.dbx.image(digest).is_some() {
            return Verdict::Refused(Refusal::RevokedImage(digest));
        }
        entries.extend(databases.db.image(digest).map(|entry| entry.bytes.clone()));
    }
    if entries.is_empty() {
        return Verdict::Refused(Refusal::Unsigned(digests.get(HashAlgorithm::Sha256)));
    }
    Verdict::Allowed(entries)
}

/// The walk over an image's signatures.
struct Signed<'a> {
    databases: &'a Databases,
    digests: &'a DigestSet,
    allowed: Option<Vec<u8>>,
    undecided: Option<String>,
    /// Why each signature did not count.
    untrusted: Vec<String>,
}

impl Signed<'_> {
    /// One signature: the image may be refused because of it, whatever the others say.
    fn next(&mut self, signature: &Signature) -> Option<Refusal> {
        let Some(digest) =
            signature.digest_algorithm.known().and_then(|algorithm| self.digests.get(algorithm))
        else {
            self.untrusted.push(format!("made with hash algorithm {}", signature.digest_algorithm));
            return None;
        };
        let trust = Trust::of(signature, self.digests);
        if let Some(refusal) = self.revoked(&trust) {
            return Some(refusal);
        }
        if self.allowed.is_none()
            && let Some(refusal) = self.allow(&trust)
        {
            return Some(refusal);
        }
        if self.databases.dbx.image(digest).is_some() {
            return Some(Refusal::RevokedImage(digest));
        }
        if self.allowed.is_none() {
            self.allowed = self.databases.db.image(digest).map(|entry| entry.bytes.clone());
        }
        if self.allowed.is_none() {
            self.untrusted.push(trust.describe());
        }
        None
    }

    /// `IsForbiddenByDbx`: a certificate of `dbx` above the signature, or the digest of a signer's certificate.
    fn revoked(&mut self, trust: &Trust) -> Option<Refusal> {
        for entry in self.databases.dbx.certificates() {
            let Ok(anchor) = Certificate::parse(entry.content()) else { continue };
            match trust.anchored_at(&anchor) {
                Ok(true) => return Some(Refusal::RevokedCertificate(anchor.name())),
                Ok(false) => {}
                Err(error) => self.undecided = Some(error.to_string()),
            }
        }
        let mut signers = trust.signers.iter();
        signers.find_map(|signer| self.revoked_by_digest(&signer.certificate, trust))
    }

    /// EDK2 `PassTimestampCheck`, `ImageTimestampVerify`: a time stamp of the only signer's, by a certificate in `dbt`, may show
    /// that the signature is older than the revocation. Whether it does depends on the machine's clock, too, as the
    /// time stamping certificate has to be valid at the moment.
    fn revoked_by_digest(&mut self, certificate: &Certificate, trust: &Trust) -> Option<Refusal> {
        let since = self.databases.dbx.revoked_since(certificate)?;
        let may_be_older = since.iter().any(|byte| *byte != 0) && self.databases.has_dbt;
        if may_be_older && trust.has_timestamp() {
            self.undecided = Some(format!(
                "{} is revoked since a moment, and whether a time stamp proves an earlier signature can't be checked",
                certificate.name()
            ));
            return None;
        }
        Some(Refusal::RevokedCertificateDigest(certificate.name()))
    }

    /// `IsAllowedByDb`: the first certificate of `db` that is an anchor of the signature.
    fn allow(&mut self, trust: &Trust) -> Option<Refusal> {
        let databases = self.databases;
        for Entry { bytes, .. } in databases.db.certificates() {
            let content = bytes.get(16..).unwrap_or_default();
            let Ok(anchor) = Certificate::parse(content) else { continue };
            match trust.anchored_at(&anchor) {
                Ok(true) => {
                    let revoked = self.revoked_by_digest(&anchor, trust);
                    self.allowed = Some(bytes.clone());
                    return revoked;
                }
                Ok(false) => {}
                Err(error) => self.undecided = Some(error.to_string()),
            }
        }
        None
    }

    fn verdict(self) -> Verdict {
        match (self.allowed, self.undecided) {
            (_, Some(why)) => Verdict::Undecided(why),
            (Some(entry), None) => Verdict::Allowed(vec![entry]),
            (None, None) => Verdict::Refused(Refusal::Untrusted(self.untrusted)),
        }
    }
}

/// A signature, made ready to be anchored somewhere.
#[derive(Debug)]
pub(super) struct Trust {
    signers: Vec<TrustedSigner>,
    /// All certificates of the message.
    pool: Vec<Certificate>,
    /// Why no anchor can help: the signature is about something else, or lacks its certificate.
    broken: Option<&'static str>,
}

#[derive(Debug)]
struct TrustedSigner {
    signer: Signer,
    certificate: Certificate,
}

impl Trust {
    pub(super) fn of(signature: &Signature, digests: &DigestSet) -> Self {
        let parse = |der: &[u8]| Certificate::parse(der).ok();
        let pool = signature.certificates.iter().filter_map(|certificate| parse(&certificate.der)).collect();
        let mut trust = Self { signers: Vec::new(), pool, broken: None };
        if signature.signers.is_empty() {
            trust.broken = Some("it has no signer");
        }
        for signer in &signature.signers {
            trust.broken = trust.broken.or(match signature.coverage(signer, digests) {
                Coverage::Covers => None,
                Coverage::OtherImage => Some("it is about another image: this one was changed after signing"),
                Coverage::OtherContent => Some("its content was exchanged after signing"),
                Coverage::Unknown => Some("its hash algorithm is not known"),
            });
            let certificate = signer.certificate.and_then(|index| signature.certificates.get(index));
            match certificate.and_then(|certificate| parse(&certificate.der)) {
                Some(certificate) => {
                    trust.signers.push(TrustedSigner { signer: signer.clone(), certificate })
                }
                None => trust.broken = trust.broken.or(Some("it lacks its signer's certificate")),
            }
        }
        trust
    }

    /// `AuthenticodeVerify` with one trusted certificate: every signer's chain ends there.
    ///
    /// # Errors
    /// When a signature on the way can't be checked.
    pub(super) fn anchored_at(&self, anchor: &Certificate) -> Result<bool, KeyError> {
        if self.broken.is_some() {
            return Ok(false);
        }
        for signer in &self.signers {
            if !self.leads_to(&signer.certificate, anchor, MAX_DEPTH)? || !signer.is_genuine()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `X509_V_FLAG_PARTIAL_CHAIN`: the anchor may be any certificate of the chain, or the issuer of its last one.
    fn leads_to(&self, from: &Certificate, anchor: &Certificate, depth: usize) -> Result<bool, KeyError> {
        if from.der == anchor.der || anchor.issued(from)? {
            return Ok(true);
        }
        let Some(depth) = depth.checked_sub(1) else { return Ok(false) };
        for issuer in self.pool.iter().filter(|candidate| candidate.der != from.der) {
            if issuer.issued(from)? && self.leads_to(issuer, anchor, depth)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// There is one signer, and a time stamp of its signature.
    fn has_timestamp(&self) -> bool {
        matches!(self.signers.as_slice(), [one] if one.signer.has_timestamp)
    }

    fn describe(&self) -> String {
        let names: Vec<String> =
            self.signers.iter().map(|signer| format!("'{}'", signer.certificate.name())).collect();
        let by = format!("signed by {}", names.join(", "));
        match self.broken {
            Some(why) => format!("{by}, but {why}"),
            None => by,
        }
    }
}

impl TrustedSigner {
    /// The signature value is the certificate's key's, over what was signed.
    fn is_genuine(&self) -> Result<bool, KeyError> {
        let signer = &self.signer;
        let digest = signer.digest_algorithm.known();
        verify_signer(
            self.certificate.key(),
            signer.signature_algorithm,
            digest,
            &signer.signed,
            &signer.value,
        )
    }
}
