//! Kairos: the `SealedVolume` object of kcrypt-challenger (`keyserver.kairos.io/v1alpha1`).

use super::exporter::{BankRule, ExportError, Exporter, Output, StageRule};
use super::forms::Form;
use super::options::{NAMESPACE, OptionSpec};
use super::release::Export;
use crate::boot::Stage;
use crate::tcg::HashAlgorithm;

const TPM_HASH: OptionSpec = OptionSpec::text(
    "tpm-hash",
    "HEX",
    "hash of the machine's TPM, as kcrypt-discovery-challenger prints it",
)
.form(Form::Sha256)
.required();
const NAME: OptionSpec = OptionSpec::text("name", "NAME", "name of the object")
    .form(Form::ObjectName("-passphrase".len()))
    .default("premeasure");
const LABEL: OptionSpec = OptionSpec::text("partition-label", "LABEL", "label of the encrypted partition")
    .form(Form::PartitionLabel)
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
    let (label, name) = (export.option("partition-label")?, export.option("name")?);
    let namespace = export.option("namespace")?;
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
