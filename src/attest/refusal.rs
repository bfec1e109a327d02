//! Why evidence is refused: a closed list of codes.

use serde::Serialize;

use crate::tcg::PcrIndex;

/// A reason to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which rule was broken.
    pub code: Code,
    /// The PCR that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "pcr_number")]
    pub pcr: Option<PcrIndex>,
    /// What was found, and what was expected.
    pub detail: String,
}

impl Refusal {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, pcr: None, detail: detail.into() }
    }

    pub(super) fn of_pcr(code: Code, pcr: PcrIndex, detail: impl Into<String>) -> Self {
        Self { code, pcr: Some(pcr), detail: detail.into() }
    }
}

// serde hands the field over by reference.
#[allow(clippy::ref_option)]
fn pcr_number<S: serde::Serializer>(pcr: &Option<PcrIndex>, serializer: S) -> Result<S::Ok, S::Error> {
    pcr.map(PcrIndex::get).serialize(serializer)
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// The rule that evidence broke. `docs/verify.md` lists them with what to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable word.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

codes! {
    /// The evidence as a whole can't be read.
    EvidenceMalformed = "evidence-malformed",
    /// Parts of the evidence that must be tied together are not.
    EvidenceUnbound = "evidence-unbound",
    /// There is no quote in the evidence.
    QuoteMissing = "quote-missing",
    /// The signed message is not a well-formed `TPMS_ATTEST`.
    QuoteMalformed = "quote-malformed",
    /// The magic number is not `TPM_GENERATED_VALUE`.
    QuoteNotGenerated = "quote-not-generated",
    /// The message is another kind of attestation.
    QuoteType = "quote-type",
    /// The signature can't be read.
    SignatureMalformed = "signature-malformed",
    /// The signature's scheme or hash is not accepted, or not that of the key.
    SignatureAlgorithm = "signature-algorithm",
    /// The signature is not of this key over this message.
    SignatureInvalid = "signature-invalid",
    /// No key is there that the trust anchors vouch for.
    KeyUntrusted = "key-untrusted",
    /// A certificate on the way is not valid at the time of the appraisal.
    CertificateExpired = "certificate-expired",
    /// The key's attributes are not those of an attestation key.
    KeyAttributes = "key-attributes",
    /// The nonce is not the one that was sent.
    NonceMismatch = "nonce-mismatch",
    /// The PCR values can't be read.
    PcrsMalformed = "pcrs-malformed",
    /// There are neither PCR values nor a log for a quoted PCR.
    PcrsMissing = "pcrs-missing",
    /// The PCR values are not those that were quoted.
    PcrDigestMismatch = "pcr-digest-mismatch",
    /// Only banks are quoted that are too weak to decide anything (SHA-1).
    BankWeak = "bank-weak",
    /// No quoted bank has values in the policy.
    BankNotInPolicy = "bank-not-in-policy",
    /// An enforced PCR was not quoted.
    PcrNotQuoted = "pcr-not-quoted",
    /// A PCR's value is none that the policy accepts.
    PcrMismatch = "pcr-mismatch",
    /// Every PCR is that of some boot in the policy, but not all of the same.
    BootsMixed = "boots-mixed",
    /// A log is broken, cut off, or of other registers.
    LogMalformed = "log-malformed",
    /// The log does not replay to the quoted value.
    LogMismatch = "log-mismatch",
    /// An event is not the one that the policy has at this place.
    EventMismatch = "event-mismatch",
    /// An event has the digest that the policy has at this place, but says that it is something else.
    EventRelabelled = "event-relabelled",
    /// An event's data contradicts its digest, or it stands where no firmware writes it.
    EventContradicts = "event-contradicts",
    /// The policy is made of events, and there is no log.
    LogMissing = "log-missing",
}
