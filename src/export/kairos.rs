//! Kairos: the `SealedVolume` object of kcrypt-challenger (`keyserver.kairos.io/v1alpha1`).

use super::exporter::{BankRule, ExportError, Exporter, Output, StageRule};
use super::options::{NAMESPACE, OptionError, OptionSpec};
use super::release::Export;
use crate::boot::Stage;
use crate::tcg::HashAlgorithm;

const TPM_HASH: OptionSpec = OptionSpec::text(
    "tpm-hash",
    "HEX",
    "hash of the machine's TPM, as kcrypt-discovery-challenger prints it",
)
.required();
const NAME: OptionSpec = OptionSpec::text("name", "NAME", "name of the object").default("premeasure");
const LABEL: OptionSpec = OptionSpec::text("partition-label", "LABEL", "label of the encrypted partition")
    .default("COS_PERSISTENT");

/// Kairos.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "kairos",
    summary: "SealedVolume with PCR 7 and 11 for one machine",
    reader: "kcrypt-challenger of Kairos",
    fed: "kubectl apply",
    limits: &[
        "one boot: around an update the value has to be emptied, which makes the server learn the next one",
        "PCR 0, 7 and 11 only: the client quotes no others, and one that is not quoted fails",
        "one object for each machine, whose endorsement key is learnt at the first contact",
        "the bank is the client's; SHA-256 is assumed",
    ],
    stage: StageRule::One(Stage::EnterInitrd),
    bank: BankRule::Fixed(HashAlgorithm::Sha256),
    pcrs: &[0, 7, 11],
    options: &[TPM_HASH, NAME, NAMESPACE, LABEL],
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let release = export.one()?;
    let hash = export.option("tpm-hash")?.to_ascii_lowercase();
    if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let problem = "expected 64 hexadecimal digits".to_owned();
        return Err(OptionError::Bad { name: "tpm-hash", value: hash, problem }.into());
    }
    let label = export.option("partition-label")?;
    if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
        let problem = "expected letters, digits, _, - and .".to_owned();
        return Err(OptionError::Bad { name: "partition-label", value: label.to_owned(), problem }.into());
    }
    let (name, namespace) =
        (super::kubernetes_name(export, "name")?, super::kubernetes_name(export, "namespace")?);
    let pcrs: String = release
        .enforced(HashAlgorithm::Sha256)
        .map(|(pcr, hex)| format!("        \"{pcr}\": \"{hex}\"\n"))
        .collect();
    Ok(Output::single(
        "sealedvolume.yaml",
        format!(
            "apiVersion: keyserver.kairos.io/v1alpha1\nkind: SealedVolume\nmetadata:\n  name: \"{name}\"\n  namespace: \
             \"{namespace}\"\nspec:\n  TPMHash: \"{hash}\"\n  partitions:\n    - label: \"{label}\"\n      secret:\n        name: \
             \"{name}-passphrase\"\n        path: passphrase\n  attestation:\n    ekPublicKey: \"\"\n    pcrValues:\n      \
             pcrs:\n{pcrs}"
        ),
    ))
}
