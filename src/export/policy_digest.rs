//! Digests of TPM policies: `TPM2_PolicyPCR` over predicted values.

use super::exporter::{Alternatives, ExportError, Exporter, Output, StageRule};
use super::json::{list, object};
use super::phases::{DEFAULT_PHASES, KERNEL_BOOT, phases};
use super::release::Export;
use crate::tcg::{Digest, HashAlgorithm};

/// `TPM_CC_PolicyPCR` (Library part 2, table "TPM_CC").
const POLICY_PCR: u32 = 0x0000_017F;

/// Policy digests.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "policy-digest",
    summary: "TPM2_PolicyPCR digests, as systemd-measure policy-digest prints them for an offline signer",
    reader: "ukify and systemd-measure (offline signing), tpm2_policyauthorize, tpm2_create -L",
    fed: "sign each digest and give the signatures to --format pcrsig --signatures, or seal to a digest",
    limits: &[
        "a digest is of exactly one set of values: alternatives are separate digests (PolicyOR or PolicyAuthorize)",
        "PCR 11 in each phase unless PCRs or a stage are chosen",
        "which boot and stage a digest is of stands in the report only",
    ],
    stage: StageRule::Several(DEFAULT_PHASES),
    pcrs: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23],
    default_pcrs: &[KERNEL_BOOT],
    alternatives: Alternatives::Joint,
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let banks = export.banks.iter().map(|bank| {
        let digests = digests(export, *bank)?;
        let entries = digests.iter().map(|policy| {
            let digest = policy.digest.to_string();
            object([
                ("pcrs", list(policy.pcrs.iter().copied())),
                ("pol", digest.as_str().into()),
                // What is signed: systemd would append a policyref here, which nothing of ours has.
                ("tbs", digest.into()),
            ])
        });
        Ok((bank.name(), list(entries)))
    });
    let banks: Vec<_> = banks.collect::<Result<_, ExportError>>()?;
    Ok(Output::single("policy-digest.json", object(banks).pretty()))
}

/// A policy over some PCRs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) pcrs: Vec<u8>,
    pub(super) digest: Digest,
}

/// The policies of all boots in one bank, each once. Chosen PCRs are taken together at the last stage; otherwise it is
/// PCR 11 in each phase.
fn digests(export: &Export<'_>, bank: HashAlgorithm) -> Result<Vec<Policy>, ExportError> {
    if !export.chosen_pcrs || export.pcrs.iter().eq([&KERNEL_BOOT]) {
        return phase_policies(export, bank);
    }
    if export.stages.len() > 1 {
        return Err(export.inexpressible("several PCRs change at different moments: choose one with --stage"));
    }
    let mut policies = Vec::new();
    for release in &export.releases {
        for pcr in &export.pcrs {
            release.need(export.exporter.name, *pcr, bank)?;
        }
        let values: Vec<(u8, Digest)> =
            export.pcrs.iter().filter_map(|pcr| Some((*pcr, release.digest(*pcr, bank)?))).collect();
        add(&mut policies, bank, &values);
    }
    Ok(policies)
}

/// PCR 11 of all boots in each phase.
pub(super) fn phase_policies(export: &Export<'_>, bank: HashAlgorithm) -> Result<Vec<Policy>, ExportError> {
    let mut policies = Vec::new();
    for release in &export.releases {
        for phase in phases(export, release)? {
            let value = phase.digests.get(bank.name()).and_then(|hex| super::release::digest(bank, hex));
            if let Some(value) = value {
                add(&mut policies, bank, &[(KERNEL_BOOT, value)]);
            }
        }
    }
    Ok(policies)
}

fn add(policies: &mut Vec<Policy>, bank: HashAlgorithm, values: &[(u8, Digest)]) {
    let policy =
        Policy { pcrs: values.iter().map(|(pcr, _)| *pcr).collect(), digest: policy_pcr(bank, values) };
    if !policies.contains(&policy) {
        policies.push(policy);
    }
}

/// The policy digest after `TPM2_PolicyPCR` in a fresh SHA-256 session (Library part 3, section "TPM2_PolicyPCR"):
/// `H(zeros || TPM_CC_PolicyPCR || TPML_PCR_SELECTION || H(values))`, big-endian. `values` are of one bank, ascending.
#[must_use]
pub fn policy_pcr(bank: HashAlgorithm, values: &[(u8, Digest)]) -> Digest {
    let mut bitmap = [0_u8; 3];
    let mut concatenated = Vec::new();
    for (pcr, value) in values {
        if let Some(byte) = bitmap.get_mut(usize::from(pcr / 8)) {
            *byte |= 1 << (pcr % 8);
        }
        concatenated.extend_from_slice(value.as_bytes());
    }
    let mut message = vec![0_u8; HashAlgorithm::Sha256.size()];
    message.extend_from_slice(&POLICY_PCR.to_be_bytes());
    message.extend_from_slice(&1_u32.to_be_bytes());
    message.extend_from_slice(&bank.id().0.to_be_bytes());
    message.push(3);
    message.extend_from_slice(&bitmap);
    message.extend_from_slice(Digest::of(HashAlgorithm::Sha256, &concatenated).as_bytes());
    Digest::of(HashAlgorithm::Sha256, &message)
}
