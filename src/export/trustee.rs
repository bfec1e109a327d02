//! Trustee (Confidential Containers): reference values for RVPS, the operator's ConfigMap, and the policies without which
//! reference values enforce nothing.
//!
//! Formats as in Trustee's `rvps` (`extractors/sample`, `storage/local_json`), `kbs` (`attestation-policy` route) and
//! trustee-operator (`kbsRvpsRefValuesConfigMapName`).

use super::exporter::{Alternatives, BankRule, ExportError, Exporter, Output, part_of};
use super::forms::Form;
use super::json::{Json, list, object};
use super::options::{NAMESPACE, OptionSpec};
use super::release::Export;
use crate::tcg::HashAlgorithm;

const POLICY: &str = include_str!("trustee.rego");
const RESOURCE_POLICY: &str = include_str!("trustee-resource.rego");

/// Version of RVPS messages and records; it accepts no other.
const RVPS_VERSION: &str = "0.1.0";

const NAME: OptionSpec = OptionSpec::text(
    "name",
    "NAME",
    "name of the reference values: lower case letters, digits, _ (or - in Kubernetes names)",
)
.form(Form::ValuesName("-reference-values".len()))
.default("premeasure");
const EXPIRATION: OptionSpec = OptionSpec::text(
    "expiration",
    "TIME",
    "expiration in stored records (RFC 3339); RVPS keeps it but does not check it",
)
.form(Form::Time)
.default("2100-01-01T00:00:00Z");

/// Trustee.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "trustee",
    summary: "RVPS reference values, KBS requests, operator ConfigMap and Rego policies",
    reader: "Trustee's reference value provider, attestation service and KBS",
    fed: "rvps-tool register, POST /kbs/v0/reference-value, or the operator's ConfigMap; policies by kbs-client or POST",
    limits: &[
        "reference values alone enforce nothing: both policies have to be installed",
        "registering a name replaces its values: export the union of the releases each time",
        "kbs-client's set-sample-reference-value stores one value for a name: several boots have to go as the message",
        "the default policy looks at PCR 11 only and at no tuples; ours compares whole boots",
        "the quote has to select all 24 PCRs, as claims are numbered by position",
        "nothing expires: RVPS does not look at the date",
        "PCR 8 is left out: guest components extend their init data into it",
        "TEE reference values (measurement, tcb_..., mr_td) and trusted_aks have to come from elsewhere",
    ],
    bank: BankRule::Fixed(HashAlgorithm::Sha256),
    pcrs: &[0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15],
    alternatives: Alternatives::Joint,
    options: &[NAME, NAMESPACE, EXPIRATION],
    parts: &[
        "payload",
        "message",
        "policy",
        "policy-request",
        "resource-policy",
        "resource-policy-request",
        "configmap",
        "coverage",
    ],
    owner: |file| part_of(FILES, file),
    write,
    ..Exporter::BASE
};

/// Part and file.
const FILES: &[(&str, &str)] = &[
    ("payload", "rvps-payload.json"),
    ("message", "rvps-message.json"),
    ("policy", "attestation-policy.rego"),
    ("policy-request", "attestation-policy-request.json"),
    ("resource-policy", "resource-policy.rego"),
    ("resource-policy-request", "resource-policy-request.json"),
    ("configmap", "reference-values-configmap.yaml"),
    ("coverage", "coverage.md"),
];

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let name = export.option("name")?;
    let values = reference_values(export, &name.replace('-', "_"));
    let policy = POLICY.replace("@NAME@", &name.replace('-', "_"));
    let payload = object(values.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let message = object([
        ("version", RVPS_VERSION.into()),
        ("type", "sample".into()),
        ("payload", super::base64(payload.compact().as_bytes()).into()),
    ]);
    let mut output = Output::default();
    output.add("payload", "rvps-payload.json", payload.pretty());
    output.add("message", "rvps-message.json", message.pretty());
    output.add("policy", "attestation-policy.rego", policy.clone());
    let request = object([
        ("type", "rego".into()),
        ("policy_id", "default_cpu".into()),
        ("policy", super::base64url(policy.as_bytes()).into()),
    ]);
    output.add("policy-request", "attestation-policy-request.json", request.pretty());
    output.add("resource-policy", "resource-policy.rego", RESOURCE_POLICY);
    let request = object([("policy", super::base64url(RESOURCE_POLICY.as_bytes()).into())]);
    output.add("resource-policy-request", "resource-policy-request.json", request.pretty());
    output.add("configmap", "reference-values-configmap.yaml", config_map(export, name, &values)?);
    output.add("coverage", "coverage.md", coverage(export, &values));
    output.warnings = warnings(export);
    if let Some(without) = without_eleven(export) {
        output.dropped.push(without);
    }
    Ok(output)
}

/// Names of the default policy that hold PCR 11.
const OF_PCR_11: [&str; 3] = ["tpm_pcr11", "snp_pcr11", "tdx_pcr11"];

/// Boots that the names of the default policy don't speak of.
fn without_eleven(export: &Export<'_>) -> Option<String> {
    let without: Vec<&str> = export
        .distinct()
        .iter()
        .filter(|release| !release.measured(11))
        .map(|release| release.id.as_str())
        .collect();
    (!without.is_empty()).then(|| {
        format!(
            "{} have no value of {}: nothing is known to extend PCR 11 there, or its value is not known",
            OF_PCR_11.join(", "),
            without.join(", ")
        )
    })
}

/// The names that our policy and the default policies ask for.
fn reference_values(export: &Export<'_>, name: &str) -> Vec<(String, Json)> {
    let releases = export.distinct();
    let boots = releases.iter().map(|release| {
        object(release.enforced(HashAlgorithm::Sha256).map(|(pcr, hex)| (format!("pcr{pcr:02}"), hex.into())))
    });
    let mut values = vec![(format!("{name}_boot"), list(boots))];
    // The default policy affirms executables on these names alone: a start value would affirm whatever has no stub.
    let measured = releases.iter().filter(|release| release.measured(11));
    let mut eleven: Vec<&str> =
        measured.filter_map(|release| release.hex(11, HashAlgorithm::Sha256)).collect();
    eleven.sort_unstable();
    eleven.dedup();
    if !eleven.is_empty() {
        for name in OF_PCR_11 {
            values.push((name.to_owned(), list(eleven.iter().copied())));
        }
    }
    values
}

/// `kbsRvpsRefValuesConfigMapName`: the file of RVPS' LocalJson storage, each value a base64url record.
fn config_map(export: &Export<'_>, name: &str, values: &[(String, Json)]) -> Result<String, ExportError> {
    let expiration = export.option("expiration")?;
    let records = values.iter().map(|(name, value)| {
        let record = object([
            ("version", RVPS_VERSION.into()),
            ("name", name.into()),
            ("expiration", expiration.into()),
            ("value", value.clone()),
        ]);
        (name.as_str(), super::base64url_padded(record.compact().as_bytes()).into())
    });
    let storage = super::indent(&object(records).pretty(), 4);
    let name = name.replace('_', "-");
    let namespace = export.option("namespace")?;
    Ok(format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: \"{name}-reference-values\"\n  namespace: \"{namespace}\"\ndata:\n  \
         reference_value: |\n{storage}"
    ))
}

fn warnings(export: &Export<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if export.distinct().len() > 1 {
        warnings.push(
            "kbs-client's set-sample-reference-value stores one value for a name: register the message, which has all boots"
                .to_owned(),
        );
    }
    let lacks = |pcr: u8| export.releases.iter().any(|release| !release.values.contains_key(&pcr));
    if lacks(12) || lacks(13) {
        warnings.push(
            "PCR 12 and 13 are not in every boot: the policy will not affirm the configuration, so no status is affirming"
                .to_owned(),
        );
    }
    if lacks(4) && lacks(11) {
        warnings
            .push("neither PCR 4 nor PCR 11 is there: the policy will not affirm the executables".to_owned());
    }
    warnings
}

/// What the default policy asks for, for each kind of evidence that has PCRs.
const DEFAULT_POLICY: &[(&str, &str, &[&str])] = &[
    ("TPM", "executables", &["tpm_pcr11"]),
    ("TPM", "hardware", &["trusted_aks"]),
    ("az-snp-vtpm", "executables", &["measurement", "snp_pcr11"]),
    ("az-snp-vtpm", "hardware", &["tcb_bootloader", "tcb_microcode", "tcb_snp", "tcb_tee"]),
    (
        "az-snp-vtpm",
        "configuration",
        &["smt_enabled", "tsme_enabled", "abi_major", "abi_minor", "single_socket", "smt_allowed"],
    ),
    ("az-tdx-vtpm", "executables", &["tdx_pcr11"]),
    ("az-tdx-vtpm", "hardware", &["mr_td"]),
    ("az-tdx-vtpm", "configuration", &["xfam"]),
];

fn coverage(export: &Export<'_>, values: &[(String, Json)]) -> String {
    let mut text = String::from(
        "# What is filled, and what is not\n\nReference values that Trustee's default policy asks for:\n\n\
         | evidence | claim | reference value | from here |\n|---|---|---|---|\n",
    );
    for (evidence, claim, names) in DEFAULT_POLICY {
        for name in *names {
            let filled = if values.iter().any(|(known, _)| known == name) { "yes" } else { "no" };
            text.push_str(&format!("| {evidence} | {claim} | `{name}` | {filled} |\n"));
        }
    }
    let boot = values.first().map(|(name, _)| name.as_str()).unwrap_or_default();
    text.push_str(&format!("\nThe policy delivered here asks for `{boot}` instead of single PCRs:\n\n| boot | PCRs |\n|---|---|\n"));
    for release in export.distinct() {
        let pcrs: Vec<String> =
            release.enforced(HashAlgorithm::Sha256).map(|(pcr, _)| pcr.to_string()).collect();
        let id = release.id.replace(|c: char| c == '|' || c.is_control(), " ");
        text.push_str(&format!("| {id} | {} |\n", pcrs.join(", ")));
    }
    text
}
