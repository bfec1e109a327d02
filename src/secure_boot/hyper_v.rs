//! Hyper-V's templates of Secure Boot keys: the JSON that Azure puts into a new machine and that a disk's `uefiSettings` hold
//! (microsoft/openvmm `vm/devices/firmware/hyperv_secure_boot_templates`, `firmware_uefi/src/service/nvram`; Azure REST API,
//! `Microsoft.Compute/disks`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::database::{certificate_list, digest_list};
use super::variables::{Content, SecureBootVariables};
use crate::uefi::guid::{Guid, guid};

/// Owner of all that a template holds.
const MICROSOFT: Guid = guid!("77fa9abd-0359-4d32-bd60-28f4e78f784b");

/// A text that is no such template.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Not JSON, or not of this structure.
    #[error("not a template of Hyper-V's: {0}")]
    Json(#[from] serde_json::Error),
    /// An entry that is not base64.
    #[error("{variable}: an entry is not base64")]
    Base64 {
        /// Name of the variable.
        variable: &'static str,
    },
    /// An entry of another kind.
    #[error("{variable}: an entry is {found}, expected x509 or sha256 with 32 bytes")]
    Kind {
        /// Name of the variable.
        variable: &'static str,
        /// What it says.
        found: String,
    },
    /// Keys beside those that the machine has.
    #[error("signatureMode is {0}, expected Replace: what is appended to is not part of the template")]
    Mode(String),
}

#[derive(Deserialize)]
struct Document {
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    uefi_settings: Settings,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    signature_mode: String,
    signatures: Signatures,
}

#[derive(Deserialize)]
struct Signatures {
    #[serde(rename = "PK")]
    pk: Entries,
    #[serde(rename = "KEK")]
    kek: Entries,
    #[serde(default)]
    db: Entries,
    #[serde(default)]
    dbx: Entries,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entries {
    One(Entry),
    Several(Vec<Entry>),
}

impl Default for Entries {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    value: Vec<String>,
}

/// It looks like a template.
#[must_use]
pub fn is_template(text: &[u8]) -> bool {
    text.windows(14).any(|window| window == b"\"uefiSettings\"")
}

/// Reads the variables that a template becomes: a list for each certificate, one for all digests of an entry. Whether Secure
/// Boot is on is not part of it.
///
/// # Errors
/// [`TemplateError`].
pub fn read_template(text: &[u8]) -> Result<SecureBootVariables, TemplateError> {
    let document: Document = serde_json::from_slice(text)?;
    let Settings { signature_mode, signatures } = document.properties.uefi_settings;
    if signature_mode != "Replace" {
        return Err(TemplateError::Mode(signature_mode));
    }
    Ok(SecureBootVariables {
        pk: content("PK", signatures.pk)?,
        kek: content("KEK", signatures.kek)?,
        db: content("db", signatures.db)?,
        dbx: content("dbx", signatures.dbx)?,
        dbt: Content::Absent,
        dbr: Content::Absent,
        ..SecureBootVariables::default()
    })
}

fn content(variable: &'static str, entries: Entries) -> Result<Content, TemplateError> {
    let entries = match entries {
        Entries::One(entry) => vec![entry],
        Entries::Several(entries) => entries,
    };
    let mut content = Vec::new();
    for Entry { kind, value } in entries {
        let decoded = value.iter().map(|text| STANDARD.decode(text)).collect::<Result<Vec<_>, _>>();
        let values = decoded.map_err(|_| TemplateError::Base64 { variable })?;
        let digests: Option<Vec<[u8; 32]>> =
            values.iter().map(|value| value.as_slice().try_into().ok()).collect();
        match (kind.as_str(), digests) {
            ("x509", _) => {
                content.extend(values.iter().flat_map(|der| certificate_list(MICROSOFT, der)));
            }
            ("sha256", Some(digests)) => content.extend(digest_list(MICROSOFT, &digests)),
            _ => return Err(TemplateError::Kind { variable, found: kind }),
        }
    }
    Ok(content.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_template_is_an_error_that_names_the_entry() {
        let with = |mode: &str, entry: &str| {
            let pk = r#"{"type":"x509","value":["MAA="]}"#;
            let text = format!(
                r#"{{"properties":{{"uefiSettings":{{"signatureMode":"{mode}","signatures":{{"PK":{pk},"KEK":[],"db":[{entry}]}}}}}}}}"#
            );
            read_template(text.as_bytes()).map_err(|error| error.to_string())
        };
        let variables = with("Replace", r#"{"type":"sha256","value":[]}"#).expect("a template");
        assert_eq!((variables.kek, variables.dbx), (Content::Absent, Content::Absent));
        for (mode, entry, says) in [
            ("Append", "", "signatureMode is Append"),
            ("Replace", r#"{"type":"x509","value":["?"]}"#, "db: an entry is not base64"),
            ("Replace", r#"{"type":"sha256","value":["MAA="]}"#, "db: an entry is sha256"),
            ("Replace", r#"{"type":"rsa2048","value":[]}"#, "db: an entry is rsa2048"),
            ("Replace", r#"{"type":"x509"}"#, "not a template of Hyper-V's"),
        ] {
            let error = with(mode, entry).expect_err("no template");
            assert!(error.contains(says), "{error}");
        }
    }
}
