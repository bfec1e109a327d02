//! AWS NitroTPM: the measurements file, and a KMS key policy that demands them.
//!
//! AWS attests PCRs in SHA-384 and documents 4, 7 and 12 as condition keys
//! (`kms:RecipientAttestation:NitroTPMPCR<n>`).

use super::exporter::{Alternatives, BankRule, ExportError, Exporter, Output};
use super::forms::Form;
use super::json::{Json, list, object};
use super::options::{OptionKind, OptionSpec};
use super::release::{Export, Release};
use crate::tcg::HashAlgorithm;

/// NitroTPM measurements.
pub(super) const MEASUREMENTS: Exporter = Exporter {
    name: "aws",
    summary: "NitroTPM measurements, as nitro-tpm-pcr-compute prints them",
    reader: "people and scripts that write IAM and KMS policies for EC2",
    fed: "a file beside the AMI",
    limits: &[
        "one boot",
        "SHA-384 only: predict with that bank",
        "PCR 4, 7 and 12 only",
        "PCR 7 without PCR 4 is refused unless the document says that Secure Boot is on",
        "nitro-tpm-pcr-compute computes exit-boot-services; from systemd 261 on these PCRs change later",
    ],
    bank: BankRule::Fixed(HashAlgorithm::Sha384),
    pcrs: &[4, 7, 12],
    write: measurements,
    ..Exporter::BASE
};

const PRINCIPAL: OptionSpec = OptionSpec::text(
    "principal",
    "ARN",
    "who may use the key from an attested instance, such as the instance's role",
)
.form(Form::Principal)
.required();
const ADMIN: OptionSpec = OptionSpec::text(
    "admin",
    "ARN",
    "who administers the key; without it the policy has no administrator, and AWS refuses it as a key policy",
)
.form(Form::Principal);
const KEY_ARN: OptionSpec =
    OptionSpec::text("key-arn", "ARN", "the key, for a policy that is not the key's own")
        .form(Form::KmsKey)
        .default("*");
const ACTION: OptionSpec = OptionSpec::text(
    "action",
    "NAME",
    "what is allowed, repeatable [default: kms:Decrypt, kms:GenerateDataKey]",
)
.kind(OptionKind::Texts);

/// A key policy.
pub(super) const KMS: Exporter = Exporter {
    name: "aws-kms",
    summary: "KMS key policy with one statement for each boot",
    reader: "AWS KMS",
    fed: "aws kms put-key-policy --policy file://FILE --policy-name default",
    limits: &[
        "SHA-384 only: predict with that bank",
        "PCR 4, 7 and 12 only: nothing about PCR 11",
        "a key policy has at most 32 KiB, so some fifty boots: more are refused",
        "whoever administers the key can change the policy",
        "only requests that carry an attestation document are governed: other statements must not allow the same",
    ],
    alternatives: Alternatives::Joint,
    options: &[PRINCIPAL, ADMIN, KEY_ARN, ACTION],
    write: key_policy,
    ..MEASUREMENTS
};

/// Actions whose request can carry an attestation document.
const ATTESTED_ACTIONS: &[&str] = &[
    "kms:Decrypt",
    "kms:DeriveSharedSecret",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:GenerateRandom",
];

/// What an administrator needs, and nothing that uses the key. A grant (`kms:CreateGrant`, also under `kms:Create*`) would let
/// somebody use it whose request carries no attestation document, and imported key material is known to whoever imports it.
/// That whoever may change the policy can allow anything remains.
const ADMIN_ACTIONS: &[&str] = &[
    "kms:CreateAlias",
    "kms:UpdateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:UpdateKeyDescription",
    "kms:EnableKey",
    "kms:DisableKey",
    "kms:EnableKeyRotation",
    "kms:DisableKeyRotation",
    "kms:GetKeyRotationStatus",
    "kms:ListKeyRotations",
    "kms:GetKeyPolicy",
    "kms:ListKeyPolicies",
    "kms:PutKeyPolicy",
    "kms:ListGrants",
    "kms:RevokeGrant",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:ListResourceTags",
    "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion",
];

/// Longest key policy in bytes (AWS KMS resource quotas, "key policy document size").
const MAX_KEY_POLICY: usize = 32 * 1024;

fn measurements(export: &Export<'_>) -> Result<Output, ExportError> {
    let text = measurements_json(export.one()?);
    demand_kernel(export)?;
    Ok(Output { warnings: advice(export), ..Output::single("nitrotpm-measurements.json", text.pretty()) })
}

/// The file of `nitro-tpm-pcr-compute`.
pub(super) fn measurements_json(release: &Release<'_>) -> Json {
    let algorithm = [("HashAlgorithm".to_owned(), "SHA384".into())];
    let values = release.enforced(HashAlgorithm::Sha384).filter(|(pcr, _)| MEASUREMENTS.pcrs.contains(pcr));
    let values = values.map(|(pcr, hex)| (format!("PCR{pcr}"), hex.into()));
    object([("Measurements", object(algorithm.into_iter().chain(values)))])
}

fn key_policy(export: &Export<'_>) -> Result<Output, ExportError> {
    let (principal, key) = (export.option("principal")?, export.option("key-arn")?);
    let actions = actions(export)?;
    demand_kernel(export)?;
    let mut statements = Vec::new();
    if let Some(admin) = export.options.get("admin") {
        statements.push(object([
            ("Sid", "Administration".into()),
            ("Effect", "Allow".into()),
            ("Principal", object([("AWS", admin.into())])),
            ("Action", list(ADMIN_ACTIONS.iter().copied())),
            ("Resource", key.into()),
        ]));
    }
    for (number, release) in export.distinct().into_iter().enumerate() {
        let conditions = release
            .enforced(HashAlgorithm::Sha384)
            .map(|(pcr, hex)| (format!("kms:RecipientAttestation:NitroTPMPCR{pcr}"), hex.into()));
        statements.push(object([
            ("Sid", statement_id(&release.id, number).into()),
            ("Effect", "Allow".into()),
            ("Principal", object([("AWS", principal.into())])),
            ("Action", list(actions.iter().copied())),
            ("Resource", key.into()),
            ("Condition", object([("StringEqualsIgnoreCase", object(conditions))])),
        ]));
    }
    let policy = object([("Version", "2012-10-17".into()), ("Statement", list(statements))]);
    Ok(Output {
        warnings: advice(export),
        ..Output::single("key-policy.json", within_limit(export, &policy)?)
    })
}

/// The policy in a readable form where that fits, or else in one line: KMS counts every byte.
fn within_limit(export: &Export<'_>, policy: &Json) -> Result<String, ExportError> {
    let fits = |text: &String| text.len() <= MAX_KEY_POLICY;
    let compact = || policy.compact() + "\n";
    Some(policy.pretty()).filter(fits).or_else(|| Some(compact()).filter(fits)).ok_or_else(|| {
        export.inexpressible(format!(
            "the policy of {} boots has {} bytes, KMS takes {MAX_KEY_POLICY}: choose boots with --variant",
            export.distinct().len(),
            compact().len()
        ))
    })
}

fn actions<'d>(export: &Export<'d>) -> Result<Vec<&'d str>, ExportError> {
    let given: Vec<&str> = export.options.values("action").iter().map(|value| value.text.as_str()).collect();
    if let Some(other) = given.iter().find(|action| !ATTESTED_ACTIONS.contains(action)) {
        let problem = format!(
            "expected one of {}: other requests carry no attestation document",
            ATTESTED_ACTIONS.join(", ")
        );
        return Err(super::OptionError::Bad { name: "action", value: (*other).to_owned(), problem }.into());
    }
    Ok(if given.is_empty() { vec!["kms:Decrypt", "kms:GenerateDataKey"] } else { given })
}

/// Letters and digits only; the number keeps names apart that differ in other characters.
fn statement_id(id: &str, number: usize) -> String {
    let plain: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("Boot{number}{plain}")
}

/// PCR 7 vouches for what was started only where Secure Boot checks it; otherwise any image has the same value.
fn demand_kernel(export: &Export<'_>) -> Result<(), ExportError> {
    for release in &export.releases {
        if !release.measured(4) && release.scenario.secure_boot != Some(true) {
            let reasons = vec![
                format!("PCR 4: {}", release.why_not(4)),
                "PCR 7: it says nothing of the image that is started unless Secure Boot is on".to_owned(),
            ];
            return Err(ExportError::NothingEnforced { variant: release.id.clone(), reasons });
        }
    }
    Ok(())
}

/// AWS: without Secure Boot check at least PCR 4 and 12, with it PCR 7.
fn advice(export: &Export<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for release in export.distinct() {
        let has = |pcr: u8| release.values.contains_key(&pcr);
        let secure_boot = release.scenario.secure_boot == Some(true);
        if !(has(7) && secure_boot || has(4) && has(12)) {
            warnings.push(format!(
                "{}: AWS advises to check at least PCR 4 and 12, or PCR 7 with Secure Boot; there is neither",
                release.id
            ));
        }
    }
    warnings
}
