//! Azure Attestation: the text of a version 1.2 policy, one rule for each boot.

use super::exporter::{Alternatives, BankRule, ExportError, Exporter, Output};
use super::release::{Export, Release};
use crate::tcg::HashAlgorithm;

/// Microsoft Azure Attestation.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "azure-maa",
    summary: "Azure Attestation policy, version 1.2, for TPM attestation",
    reader: "Microsoft Azure Attestation, TPM endpoint",
    fed: "az attestation policy set --policy-format Text --attestation-type Tpm --new-attestation-policy-file FILE",
    limits: &[
        "the service's documentation shows PCR digests in hexadecimal and in base64url: both are accepted",
        "confidential VMs with Linux are attested with other claims, which hold no PCRs",
        "no test against the service: it does not run offline",
    ],
    bank: BankRule::Fixed(HashAlgorithm::Sha256),
    alternatives: Alternatives::Joint,
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let releases = export.distinct();
    let mask = releases.iter().flat_map(|release| release.enforced(HashAlgorithm::Sha256));
    let mask = mask.fold(0_u32, |mask, (pcr, _)| mask | 1_u32.checked_shl(pcr.into()).unwrap_or(0));
    let mut text = format!(
        "version=1.2;\n\nconfigurationrules{{\n    => issueproperty(type=\"require_valid_aik_cert\", value=true);\n    => \
         issueproperty(type=\"required_pcr_mask\", value={mask});\n}};\n\nauthorizationrules{{\n"
    );
    for (number, release) in releases.iter().enumerate() {
        text.push_str(&rule(number, release));
    }
    for number in 0..releases.len() {
        // Without the issuer a claim that the client adds itself (issuer "CustomClaim") would permit.
        text.push_str(&format!(
            "    [type==\"boot{number}\", issuer==\"AttestationPolicy\", value==true] => permit();\n"
        ));
    }
    text.push_str("};\n\nissuancerules{\n};\n");
    Ok(Output::single("azure-attestation-policy.txt", text))
}

/// A claim that is true when all PCRs of the boot agree: as many entries fit as there are PCRs.
fn rule(number: usize, release: &Release<'_>) -> String {
    let conditions: Vec<String> = release
        .enforced(HashAlgorithm::Sha256)
        .map(|(pcr, hex)| {
            let bytes = hex::decode(hex).unwrap_or_default();
            let other = super::base64url(&bytes);
            format!("(Index == `{pcr}` && contains(['{hex}', '{other}'], Digests.SHA256))")
        })
        .collect();
    format!(
        "    c:[type==\"pcrs\", issuer==\"AttestationService\"] => add(type=\"boot{number}\", \
         value=JsonToClaimValue(JmesPath(c.value, \"length(PCRs[? {}]) == `{}`\")));\n",
        conditions.join(" || "),
        conditions.len()
    )
}
