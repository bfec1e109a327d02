//! Formats that accept whole boots.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Boot, ImportError, PolicyValues, boots, content, digest_of, json, pcr};

/// NitroTPM measurements.
pub(super) fn aws(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct File {
        measurements: BTreeMap<String, String>,
    }
    let file: File = json("aws", bytes)?;
    let mut boot = Boot::default();
    let mut algorithm = false;
    for (name, value) in &file.measurements {
        if name == "HashAlgorithm" {
            // AWS's own pages show a longer text after the name.
            algorithm = value.starts_with("SHA384");
            continue;
        }
        let number = name.strip_prefix("PCR").ok_or_else(|| content("aws", name.as_str(), "is no PCR"))?;
        let digest = digest_of("aws", name, "sha384", value)?;
        boot.add("aws", name, (pcr("aws", name, number)?, digest))?;
    }
    if !algorithm {
        return Err(content("aws", "Measurements.HashAlgorithm", "expected SHA384"));
    }
    boots("aws", vec![boot])
}

/// A KMS key policy: each statement with conditions on NitroTPM PCRs is a boot. One with lists would accept mixtures and
/// is refused.
pub(super) fn aws_kms(bytes: &[u8]) -> Result<PolicyValues, ImportError> {
    const FORMAT: &str = "aws-kms";
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Policy {
        statement: Vec<Statement>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Statement {
        #[serde(default)]
        sid: String,
        #[serde(default)]
        condition: BTreeMap<String, BTreeMap<String, OneOrMore>>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    let policy: Policy = json(FORMAT, bytes)?;
    let mut list = Vec::new();
    for statement in policy.statement {
        let mut boot = Boot { name: statement.sid, ..Boot::default() };
        for (operator, conditions) in &statement.condition {
            for (key, value) in conditions {
                let Some(number) = key.strip_prefix("kms:RecipientAttestation:NitroTPMPCR") else { continue };
                if !operator.starts_with("StringEquals") {
                    return Err(content(
                        FORMAT,
                        key.as_str(),
                        format!("{operator}: only StringEquals and StringEqualsIgnoreCase are read"),
                    ));
                }
                let value = match value {
                    OneOrMore::One(value) => value,
                    OneOrMore::More(values) => match values.as_slice() {
                        [value] => value,
                        _ => {
                            return Err(content(
                                FORMAT,
                                key.as_str(),
                                "has a list, which accepts mixtures of boots; one statement for each boot is read",
                            ));
                        }
                    },
                };
                let digest = digest_of(FORMAT, key, "sha384", value)?;
                boot.add(FORMAT, key, (pcr(FORMAT, key, number)?, digest))?;
            }
        }
        if !boot.values.is_empty() {
            list.push(boot);
        }
    }
    boots(FORMAT, list)
}
