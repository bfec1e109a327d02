//! A live TPM, through tpm2-tss (feature `tpm`): PCRs are read and quoted, and never extended.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::str::FromStr;

use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::CapabilityType;
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::structures::{
    CapabilityData, Data, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, PcrSelectionList,
    PcrSelectionListBuilder, PcrSlot, Public, PublicBuilder, PublicEccParametersBuilder, PublicKeyRsa,
    PublicRsaParametersBuilder, RsaExponent, RsaScheme, SignatureScheme,
};
use tss_esapi::traits::Marshall;
use tss_esapi::{Context, TctiNameConf};

use crate::tcg::{Digest, HashAlgorithm, PcrIndex, PcrValues};

/// PCRs by bank.
pub type Selection = [(HashAlgorithm, Vec<PcrIndex>)];

/// Times that PCRs are read and quoted anew when they change in between.
const ATTEMPTS: usize = 5;
/// `HASH_COUNT`: banks that a TPM may have.
const MAX_BANKS: u32 = 16;

/// A connection to a TPM.
#[derive(Debug)]
pub struct LiveTpm {
    context: Context,
}

/// The kind of a throw-away attestation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveKey {
    /// RSA 2048, RSASSA with SHA-256.
    Rsa,
    /// ECDSA P-256 with SHA-256.
    Ecc,
}

/// What a TPM stated, in the forms that [`crate::attest`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveQuote {
    /// `TPMS_ATTEST`.
    pub message: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
    /// `TPMT_PUBLIC` of the key, which is gone when the machine restarts.
    pub public_area: Vec<u8>,
    /// The values under the quote.
    pub values: PcrValues,
}

/// Why a TPM can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// tpm2-tss's reason.
    #[error("TPM: {what}: {error}")]
    Tss {
        /// What was asked for.
        what: &'static str,
        /// The answer.
        #[source]
        error: tss_esapi::Error,
    },
    /// A bank or PCR that this TPM does not have.
    #[error("the TPM has no value for PCR {pcr} in bank {bank}")]
    Missing {
        /// The bank.
        bank: HashAlgorithm,
        /// The register.
        pcr: PcrIndex,
    },
    /// PCRs were extended again and again between reading and quoting.
    #[error("the PCRs changed {ATTEMPTS} times while they were quoted")]
    Restless,
}

fn tss(what: &'static str) -> impl Fn(tss_esapi::Error) -> LiveError {
    move |error| LiveError::Tss { what, error }
}

impl LiveTpm {
    /// Connects: `device:/dev/tpmrm0`, `swtpm:host=localhost,port=2321`, `mssim:...`, `tabrmd:...`.
    ///
    /// # Errors
    /// [`LiveError::Tss`].
    pub fn open(tcti: &str) -> Result<Self, LiveError> {
        let name = TctiNameConf::from_str(tcti).map_err(tss("the name of the TCTI"))?;
        let context = Context::new(name).map_err(tss("opening it"))?;
        Ok(Self { context })
    }

    /// Reads PCRs.
    ///
    /// # Errors
    /// [`LiveError`], also when the TPM lacks one.
    pub fn read(&mut self, selection: &Selection) -> Result<PcrValues, LiveError> {
        let mut values = PcrValues::default();
        for (bank, pcrs) in selection {
            // A TPM gives at most eight values at a time.
            for chunk in pcrs.chunks(8) {
                let wanted = list(&[(*bank, chunk.to_vec())])?;
                let (_, _, digests) = self.context.pcr_read(wanted).map_err(tss("TPM2_PCR_Read"))?;
                let mut digests = digests.value().iter();
                for pcr in chunk {
                    let value = digests.next().and_then(|digest| Digest::from_bytes(*bank, digest.value()));
                    values.set(*pcr, value.ok_or(LiveError::Missing { bank: *bank, pcr: *pcr })?);
                }
            }
        }
        Ok(values)
    }

    /// Reads all PCRs of all banks that the TPM has.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn read_all(&mut self) -> Result<PcrValues, LiveError> {
        let selection = self.assigned()?;
        self.read(&selection)
    }

    /// The PCRs of each bank: `TPM_CAP_PCRS`. A bank that is switched off has none.
    fn assigned(&mut self) -> Result<Vec<(HashAlgorithm, Vec<PcrIndex>)>, LiveError> {
        let (data, _) = self
            .context
            .get_capability(CapabilityType::AssignedPcr, 0, MAX_BANKS)
            .map_err(tss("TPM2_GetCapability"))?;
        let CapabilityData::AssignedPcr(list) = data else { return Ok(Vec::new()) };
        let mut banks = Vec::new();
        for selection in list.get_selections() {
            let bank =
                HashAlgorithm::ALL.into_iter().find(|bank| bank_of(*bank) == selection.hashing_algorithm());
            let slots = selection.selected();
            let numbers = slots.into_iter().map(|slot| u32::from(slot).trailing_zeros());
            let pcrs: Vec<PcrIndex> = numbers.filter_map(|number| PcrIndex::try_from(number).ok()).collect();
            if let (Some(bank), false) = (bank, pcrs.is_empty()) {
                banks.push((bank, pcrs));
            }
        }
        Ok(banks)
    }

    /// Quotes PCRs with a key made for it: a primary key of the null hierarchy, which nobody else has vouched for.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn quote(
        &mut self,
        nonce: &[u8],
        selection: &Selection,
        kind: LiveKey,
    ) -> Result<LiveQuote, LiveError> {
        let template = template(kind).map_err(tss("the template of the key"))?;
        let made = self
            .context
            .execute_with_nullauth_session(|context| {
                context.create_primary(Hierarchy::Null, template, None, None, None, None)
            })
            .map_err(tss("TPM2_CreatePrimary"))?;
        let quote = self.quote_with(made.key_handle, nonce, selection);
        let flushed = self.context.flush_context(ObjectHandle::from(made.key_handle));
        let (message, signature, values) = quote?;
        flushed.map_err(tss("TPM2_FlushContext"))?;
        let public_area = made.out_public.marshall().map_err(tss("TPMT_PUBLIC"))?;
        Ok(LiveQuote { message, signature, public_area, values })
    }

    fn quote_with(
        &mut self,
        key: KeyHandle,
        nonce: &[u8],
        selection: &Selection,
    ) -> Result<(Vec<u8>, Vec<u8>, PcrValues), LiveError> {
        let mut before = self.read(selection)?;
        for _ in 0..ATTEMPTS {
            let nonce = Data::try_from(nonce.to_vec()).map_err(tss("the nonce"))?;
            let wanted = list(selection)?;
            let (attest, signature) = self
                .context
                .execute_with_nullauth_session(|context| {
                    context.quote(key, nonce, SignatureScheme::Null, wanted)
                })
                .map_err(tss("TPM2_Quote"))?;
            let after = self.read(selection)?;
            if after == before {
                let message = attest.marshall().map_err(tss("TPMS_ATTEST"))?;
                let signature = signature.marshall().map_err(tss("TPMT_SIGNATURE"))?;
                return Ok((message, signature, after));
            }
            before = after;
        }
        Err(LiveError::Restless)
    }
}

fn list(selection: &Selection) -> Result<PcrSelectionList, LiveError> {
    let mut builder = PcrSelectionListBuilder::new();
    for (bank, pcrs) in selection {
        let slots: Result<Vec<PcrSlot>, _> = pcrs
            .iter()
            .map(|pcr| PcrSlot::try_from(1_u32.checked_shl(pcr.get().into()).unwrap_or(0)))
            .collect();
        builder = builder.with_selection(bank_of(*bank), &slots.map_err(tss("the selection"))?);
    }
    builder.build().map_err(tss("the selection"))
}

fn bank_of(bank: HashAlgorithm) -> HashingAlgorithm {
    match bank {
        HashAlgorithm::Sha1 => HashingAlgorithm::Sha1,
        HashAlgorithm::Sha256 => HashingAlgorithm::Sha256,
        HashAlgorithm::Sha384 => HashingAlgorithm::Sha384,
        HashAlgorithm::Sha512 => HashingAlgorithm::Sha512,
        HashAlgorithm::Sm3_256 => HashingAlgorithm::Sm3_256,
    }
}

/// A restricted signing key: it signs what the TPM states, and nothing else.
fn template(kind: LiveKey) -> Result<Public, tss_esapi::Error> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_restricted(true)
        .with_sign_encrypt(true)
        .build()?;
    let builder = PublicBuilder::new()
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes);
    let sha256 = HashScheme::new(HashingAlgorithm::Sha256);
    match kind {
        LiveKey::Rsa => {
            let parameters = PublicRsaParametersBuilder::new()
                .with_scheme(RsaScheme::RsaSsa(sha256))
                .with_key_bits(RsaKeyBits::Rsa2048)
                .with_exponent(RsaExponent::default())
                .with_is_signing_key(true)
                .with_restricted(true)
                .build()?;
            let builder = builder.with_public_algorithm(PublicAlgorithm::Rsa).with_rsa_parameters(parameters);
            builder.with_rsa_unique_identifier(PublicKeyRsa::default()).build()
        }
        LiveKey::Ecc => {
            let parameters = PublicEccParametersBuilder::new()
                .with_ecc_scheme(EccScheme::EcDsa(sha256))
                .with_curve(EccCurve::NistP256)
                .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
                .with_is_signing_key(true)
                .with_restricted(true)
                .build()?;
            let builder = builder.with_public_algorithm(PublicAlgorithm::Ecc).with_ecc_parameters(parameters);
            builder.with_ecc_unique_identifier(EccPoint::default()).build()
        }
    }
}
