//! The order of an appraisal: whose key, its signature, the structure, the nonce, the values, the policy.

use subtle::ConstantTimeEq as _;

use super::chain::{Anchors, valid_at};
use super::evidence::nitro::Document;
use super::evidence::{Evidence, QuoteEvidence};
use super::judge::{Judgement, PcrVerdict, judge};
use super::key::AttestationKey;
use super::log::Replayed;
use super::policy::{Assumption, Policy};
use super::public_area::PublicArea;
use super::quote::{ClockInfo, PcrSelection, Quote, QuoteError};
use super::refusal::{Code, Refusal};
use super::signature::{QuoteSignature, SignatureScheme, ecdsa_der};
use super::time::Timestamp;
use crate::tcg::{AlgorithmId, Digest, HashAlgorithm, Hasher, PcrValues};

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

/// The result.
#[derive(Debug, Clone)]
pub struct Appraisal {
    /// Every reason to refuse; empty when the evidence is accepted.
    pub refusals: Vec<Refusal>,
    /// Deviations in PCRs that are only warned about.
    pub warnings: Vec<Refusal>,
    /// For each PCR that was quoted or that counts.
    pub pcrs: Vec<PcrVerdict>,
    /// The boot of the policy that it is, when it is one.
    pub boot: Option<String>,
    /// The banks that decided.
    pub banks: Vec<HashAlgorithm>,
    /// Whose signature it is, when the signature is good and the key trusted.
    pub signer: Option<SignerSummary>,
    /// The quotes, once their signature was verified.
    pub quotes: Vec<QuoteSummary>,
    /// The nonce that was asked for.
    pub nonce: Vec<u8>,
    /// When certificates had to be valid.
    pub at: Timestamp,
    /// The kind of evidence.
    pub evidence: &'static str,
    /// How many logs were compared.
    pub logs: usize,
    /// What was found about the evidence, for people.
    pub notes: Vec<String>,
    /// [`Policy::id`].
    pub policy: Digest,
    /// [`Policy::source`].
    pub policy_source: Digest,
    /// [`Policy::format`].
    pub policy_format: String,
    /// [`Policy::assumptions`].
    pub assumptions: Vec<Assumption>,
}

/// Whose signature it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerSummary {
    /// The kind of key.
    pub kind: String,
    /// [`AttestationKey::fingerprint`].
    pub fingerprint: Digest,
    /// Names from the key's certificate to the trusted one; empty for a pinned key.
    pub chain: Vec<String>,
    /// The key's name, when its public area is known.
    pub name: Option<Vec<u8>>,
    /// Whether its attributes could be checked.
    pub attributes_checked: bool,
    /// The hierarchy that it is a primary key of, when the quote proves it.
    pub primary_of: Option<&'static str>,
}

/// What a verified quote says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteSummary {
    /// `clockInfo`.
    pub clock: ClockInfo,
    /// `firmwareVersion`.
    pub firmware_version: u64,
    /// `pcrSelect`.
    pub selection: Vec<PcrSelection>,
    /// Scheme and hash of the signature.
    pub signed_with: String,
}

impl Appraisal {
    /// Nothing speaks against the evidence.
    #[must_use]
    pub fn is_affirming(&self) -> bool {
        self.refusals.is_empty()
    }

    /// There is a refusal with this code.
    #[must_use]
    pub fn has(&self, code: Code) -> bool {
        self.refusals.iter().any(|refusal| refusal.code == code)
    }
}

impl Verifier {
    /// Appraises evidence that was asked for with `nonce`.
    #[must_use]
    pub fn appraise(&self, evidence: &Evidence<'_>, nonce: &[u8]) -> Appraisal {
        let mut appraisal = self.blank(evidence, nonce);
        match self.prove(evidence, nonce, &mut appraisal) {
            Ok(proven) => {
                let logs: Vec<&[u8]> = evidence.logs.iter().map(AsRef::as_ref).collect();
                appraisal.take(judge(&self.policy, &proven, &logs));
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
        let chain = self.anchors.chain(&document.certificate, &document.bundle, self.at)?;
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
            chain = self.anchors.chain(certificate, &evidence.intermediates, self.at)?;
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

fn prove_quote(
    evidence: &QuoteEvidence<'_>,
    key: &AttestationKey,
    nonce: &[u8],
    logs: &[std::borrow::Cow<'_, [u8]>],
    proven: &mut PcrValues,
) -> Result<(QuoteSummary, Option<&'static str>), Refusal> {
    let quote =
        Quote::read(&evidence.message).map_err(|error| Refusal::new(code_of(&error), error.to_string()))?;
    let signature = QuoteSignature::read(&evidence.signature)
        .map_err(|error| Refusal::new(Code::SignatureMalformed, error.to_string()))?;
    let (scheme, hash) = key.verify(&evidence.message, &signature, quote.pcr_digest.len())?;
    // From here on the quote is what the key's holder signed.
    require_nonce(quote.extra_data, nonce, "the quote")?;
    let values = match &evidence.values {
        Some(values) => values.clone(),
        None => replayed_values(logs, &quote.selection)?,
    };
    let from_log = evidence.values.is_none();
    let digest = digest_of_selection(&quote.selection, &values, hash)?;
    if !bool::from(digest.as_bytes().ct_eq(quote.pcr_digest)) {
        let (code, what) = if from_log {
            (
                Code::LogMismatch,
                "the log does not replay to the quoted PCRs; with --pcrs the PCRs that differ can be named",
            )
        } else {
            (Code::PcrDigestMismatch, "the PCR values are not those that were quoted")
        };
        return Err(Refusal::new(code, what));
    }
    for selection in &quote.selection {
        let Some(bank) = selection.bank.known() else { continue };
        for pcr in &selection.pcrs {
            if let Some(value) = values.get(bank, *pcr) {
                proven.set(*pcr, value);
            }
        }
    }
    let hierarchy = key.public_area.as_ref().and_then(|area| primary_of(area, quote.qualified_signer));
    let summary = QuoteSummary {
        clock: quote.clock,
        firmware_version: quote.firmware_version,
        signed_with: format!("{} with {hash}", scheme.name()),
        selection: quote.selection,
    };
    Ok((summary, hierarchy))
}

/// Compared in constant time; an empty nonce is none.
fn require_nonce(found: &[u8], nonce: &[u8], what: &str) -> Result<(), Refusal> {
    if bool::from(found.ct_eq(nonce)) && !nonce.is_empty() {
        return Ok(());
    }
    let detail = format!("{what} is over {}, asked for was {}", hex_or_none(found), hex_or_none(nonce));
    Err(Refusal::new(Code::NonceMismatch, detail))
}

fn code_of(error: &QuoteError) -> Code {
    match error {
        QuoteError::NotGenerated(_) => Code::QuoteNotGenerated,
        QuoteError::NotAQuote(_) => Code::QuoteType,
        QuoteError::Parse(_) => Code::QuoteMalformed,
    }
}

fn hex_or_none(bytes: &[u8]) -> String {
    if bytes.is_empty() { "no nonce".to_owned() } else { hex::encode(bytes) }
}

/// What the logs say about the quoted PCRs.
fn replayed_values(
    logs: &[std::borrow::Cow<'_, [u8]>],
    selection: &[PcrSelection],
) -> Result<PcrValues, Refusal> {
    if logs.is_empty() {
        return Err(Refusal::new(Code::PcrsMissing, "there are neither PCR values nor a log"));
    }
    let banks: Vec<HashAlgorithm> = selection.iter().filter_map(|bank| bank.bank.known()).collect();
    let logs: Vec<&[u8]> = logs.iter().map(AsRef::as_ref).collect();
    let log = Replayed::read(&logs, &banks)?;
    let mut values = PcrValues::default();
    for (bank, pcrs) in selection.iter().filter_map(|entry| Some((entry.bank.known()?, &entry.pcrs))) {
        for pcr in pcrs {
            if let Some(value) = log.value(bank, *pcr) {
                values.set(*pcr, value);
            }
        }
    }
    Ok(values)
}

/// The hash over the selected values, one after another in the quote's order.
fn digest_of_selection(
    selection: &[PcrSelection],
    values: &PcrValues,
    hash: HashAlgorithm,
) -> Result<Digest, Refusal> {
    let mut hasher = Hasher::new(hash);
    for PcrSelection { bank, pcrs } in selection {
        for pcr in pcrs {
            let value = bank.known().and_then(|bank| values.get(bank, *pcr));
            let missing = || {
                Refusal::of_pcr(
                    Code::PcrsMissing,
                    *pcr,
                    format!("its {bank} value was quoted, but is not there"),
                )
            };
            hasher.update(value.ok_or_else(missing)?.as_bytes());
        }
    }
    Ok(hasher.finish())
}

/// The hierarchy whose primary key this is: then `qualifiedSigner` is `H(handle || name)` (Library part 1, section 16),
/// which proves that the public area, with its attributes, is that of the key that signed.
fn primary_of(area: &PublicArea, qualified_signer: &[u8]) -> Option<&'static str> {
    const HIERARCHIES: [(u32, &str); 4] = [
        (0x4000_000B, "endorsement"),
        (0x4000_0001, "owner"),
        (0x4000_000C, "platform"),
        (0x4000_0007, "null"),
    ];
    let algorithm: AlgorithmId = area.name_algorithm;
    let hash = algorithm.known()?;
    let name = area.name()?;
    HIERARCHIES.into_iter().find_map(|(handle, hierarchy)| {
        let mut hasher = Hasher::new(hash);
        hasher.update(&handle.to_be_bytes());
        hasher.update(&name);
        let mut qualified = algorithm.0.to_be_bytes().to_vec();
        qualified.extend_from_slice(hasher.finish().as_bytes());
        (qualified == qualified_signer).then_some(hierarchy)
    })
}

impl Appraisal {
    fn take(&mut self, judgement: Judgement) {
        self.pcrs = judgement.pcrs;
        self.refusals = judgement.refusals;
        self.warnings = judgement.warnings;
        self.boot = judgement.boot.filter(|_| self.refusals.is_empty());
        self.banks = judgement.banks;
    }
}
