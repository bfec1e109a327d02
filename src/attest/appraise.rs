//! The order of an appraisal: whose key, its signature, the structure, the nonce, the values, the policy.

use super::appraisal::{Appraisal, SignerSummary};
use super::chain::{Anchors, Purpose, valid_at};
use super::evidence::Evidence;
use super::evidence::nitro::Document;
use super::judge::{Judgement, judge};
use super::key::AttestationKey;
use super::policy::Policy;
use super::proof::{prove_quote, require_nonce};
use super::public_area::PublicArea;
use super::refusal::{Code, Refusal};
use super::signature::{QuoteSignature, SignatureScheme, ecdsa_der};
use super::time::Timestamp;
use crate::tcg::{AlgorithmId, HashAlgorithm, PcrValues};

/// Quotes in one piece of evidence: one for each bank.
const MAX_QUOTES: usize = 8;

/// What is trusted: set up once, used for any number of machines.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// What is accepted.
    pub policy: Policy,
    /// The key that has to have signed, if it is known beforehand.
    pub pinned: Option<AttestationKey>,
    /// Those who may vouch for a key.
    pub anchors: Anchors,
    /// When certificates have to be valid.
    pub at: Timestamp,
}

impl Verifier {
    /// Appraises evidence that was asked for with `nonce`.
    #[must_use]
    pub fn appraise(&self, evidence: &Evidence<'_>, nonce: &[u8]) -> Appraisal {
        let mut appraisal = self.blank(evidence, nonce);
        match self.prove(evidence, nonce, &mut appraisal) {
            Ok(proven) => {
                let logs: Vec<&[u8]> = evidence.logs.iter().map(AsRef::as_ref).collect();
                appraisal.take(judge(&self.policy, &proven, &logs, &evidence.masked_events));
            }
            Err(refusal) => appraisal.take(Judgement::unchecked(&self.policy, refusal)),
        }
        appraisal
    }

    /// The result for something that could not even be read as evidence.
    #[must_use]
    pub fn refuse(&self, refusal: Refusal, nonce: &[u8]) -> Appraisal {
        let mut appraisal = self.blank(&Evidence { kind: "unreadable", ..Evidence::default() }, nonce);
        appraisal.take(Judgement::unchecked(&self.policy, refusal));
        appraisal
    }

    fn blank(&self, evidence: &Evidence<'_>, nonce: &[u8]) -> Appraisal {
        Appraisal {
            refusals: Vec::new(),
            warnings: Vec::new(),
            pcrs: Vec::new(),
            boot: None,
            banks: Vec::new(),
            signer: None,
            quotes: Vec::new(),
            nonce: nonce.to_vec(),
            at: self.at,
            evidence: evidence.kind,
            logs: evidence.logs.len(),
            notes: evidence.notes.clone(),
            policy: self.policy.id,
            policy_source: self.policy.source,
            policy_format: self.policy.format.clone(),
            assumptions: self.policy.assumptions.clone(),
        }
    }

    /// The PCR values that verified quotes cover. Stops at the first refusal: what comes after rests on it.
    fn prove(
        &self,
        evidence: &Evidence<'_>,
        nonce: &[u8],
        appraisal: &mut Appraisal,
    ) -> Result<PcrValues, Refusal> {
        if evidence.quotes.is_empty() && evidence.nitro.is_none() {
            return Err(Refusal::new(Code::QuoteMissing, "there is no quote in the evidence"));
        }
        if evidence.quotes.len() > MAX_QUOTES {
            let detail = format!("{} quotes, the limit is {MAX_QUOTES}", evidence.quotes.len());
            return Err(Refusal::new(Code::EvidenceMalformed, detail));
        }
        let mut proven = PcrValues::default();
        let (key, mut signer) = match &evidence.nitro {
            Some(document) => {
                self.prove_nitro(document, evidence, nonce, &mut proven, &mut appraisal.notes)?
            }
            None => self.key(evidence)?,
        };
        for quote in &evidence.quotes {
            let (summary, hierarchy) = prove_quote(quote, &key, nonce, &evidence.logs, &mut proven)?;
            signer.primary_of = hierarchy;
            appraisal.quotes.push(summary);
        }
        appraisal.signer = Some(signer);
        Ok(proven)
    }

    /// The values of an AWS NitroTPM document, and the key that it binds.
    fn prove_nitro(
        &self,
        document: &[u8],
        evidence: &Evidence<'_>,
        nonce: &[u8],
        proven: &mut PcrValues,
        notes: &mut Vec<String>,
    ) -> Result<(AttestationKey, SignerSummary), Refusal> {
        let untrusted = |detail: &str| Refusal::new(Code::KeyUntrusted, detail);
        let document =
            Document::read(document).map_err(|problem| Refusal::new(Code::EvidenceMalformed, problem))?;
        if self.anchors.is_empty() {
            return Err(untrusted(
                "a NitroTPM document is signed under a certificate: --ca has to name AWS' root",
            ));
        }
        let chain =
            self.anchors.chain(&document.certificate, &document.bundle, self.at, Purpose::Document)?;
        let leaf = AttestationKey::from_certificate(&document.certificate)
            .map_err(|error| untrusted(&error.to_string()))?;
        let (r, s) = &document.signature;
        let signature = QuoteSignature {
            scheme: Some(SignatureScheme::Ecdsa),
            hash: Some(AlgorithmId::SHA384),
            value: ecdsa_der(r, s)
                .ok_or_else(|| Refusal::new(Code::SignatureMalformed, "r or s is no number"))?,
        };
        leaf.verify(&document.signed, &signature, HashAlgorithm::Sha384.size())?;
        require_nonce(document.nonce.as_deref().unwrap_or_default(), nonce, "the document")?;
        for (_, values) in document.values.banks() {
            values.iter().for_each(|(pcr, value)| proven.set(*pcr, *value));
        }
        notes.push(format!(
            "document of {} made at {}",
            document.module,
            Timestamp(document.timestamp.checked_div(1000).unwrap_or_default())
        ));
        let mut key = leaf;
        if !evidence.quotes.is_empty() {
            // A quote beside it counts only under the key that the document names.
            let bound = document.public_key.as_deref().and_then(AttestationKey::from_point);
            let unbound = || {
                Refusal::new(
                    Code::EvidenceUnbound,
                    "the document names no key that could have signed the quote",
                )
            };
            key = bound.ok_or_else(unbound)?;
        }
        if self.pinned.as_ref().is_some_and(|pinned| !pinned.is_same_key(&key)) {
            return Err(untrusted("the key is another one than the one that is pinned"));
        }
        let signer = SignerSummary {
            kind: key.kind(),
            fingerprint: key.fingerprint(),
            chain,
            name: None,
            attributes_checked: false,
            primary_of: None,
        };
        Ok((key, signer))
    }

    /// The key that has to have signed. Comes from the pinned one or from a certificate that an anchor vouches for.
    fn key(&self, evidence: &Evidence<'_>) -> Result<(AttestationKey, SignerSummary), Refusal> {
        let untrusted = |detail: &str| Refusal::new(Code::KeyUntrusted, detail);
        let pinned_certificate = self.pinned.as_ref().and_then(|key| key.certificate.as_ref());
        let mut chain = Vec::new();
        let mut key = if self.anchors.is_empty() {
            let pinned = self.pinned.clone();
            let pinned = pinned
                .ok_or_else(|| untrusted("neither a key nor anybody who vouches for one is trusted"))?;
            if let Some(certificate) = &pinned.certificate {
                valid_at(certificate, self.at)?;
            }
            pinned
        } else {
            let certificate = pinned_certificate.or(evidence.certificate.as_ref());
            let certificate = certificate.ok_or_else(|| {
                untrusted("there is no certificate of the key that a trusted one could vouch for")
            })?;
            chain =
                self.anchors.chain(certificate, &evidence.intermediates, self.at, Purpose::AttestationKey)?;
            let key = AttestationKey::from_certificate(certificate)
                .map_err(|error| untrusted(&error.to_string()))?;
            if self.pinned.as_ref().is_some_and(|pinned| !pinned.is_same_key(&key)) {
                return Err(untrusted("the certificate is of another key than the one that is pinned"));
            }
            match &self.pinned {
                Some(pinned) if pinned.public_area.is_some() => pinned.clone(),
                _ => key,
            }
        };
        if evidence.claimed_key.as_ref().is_some_and(|claimed| !claimed.is_same_key(&key)) {
            let detail = "the evidence is about another key than the trusted one";
            return Err(Refusal::new(Code::EvidenceUnbound, detail));
        }
        if key.public_area.is_none() {
            key.public_area = claimed_area(evidence, &key)?;
        }
        let objections = key.public_area.as_ref().map(PublicArea::objections);
        if let Some(objections) = objections.as_ref().filter(|objections| !objections.is_empty()) {
            let detail =
                format!("it could sign anything, not only what the TPM states: {}", objections.join(", "));
            return Err(Refusal::new(Code::KeyAttributes, detail));
        }
        let signer = SignerSummary {
            kind: key.kind(),
            fingerprint: key.fingerprint(),
            chain,
            name: key.public_area.as_ref().and_then(PublicArea::name),
            attributes_checked: objections.is_some(),
            primary_of: None,
        };
        Ok((key, signer))
    }
}

/// The public area that evidence gives for the key: it must at least be of that key.
fn claimed_area(evidence: &Evidence<'_>, key: &AttestationKey) -> Result<Option<PublicArea>, Refusal> {
    let Some(bytes) = &evidence.public_area else { return Ok(None) };
    let unbound = |detail: String| Refusal::new(Code::EvidenceUnbound, detail);
    let area = PublicArea::read(bytes).map_err(|error| unbound(format!("public area: {error}")))?;
    let claimed =
        AttestationKey::from_public_area(area.clone()).map_err(|error| unbound(error.to_string()))?;
    if !claimed.is_same_key(key) {
        return Err(unbound(
            "the public area in the evidence is of another key than the trusted one".to_owned(),
        ));
    }
    Ok(Some(area))
}
