//! Bills of materials: what a release is made of, linked from its reference values.
//!
//! A file is recognised by its content, its own name for itself is read, and its digest is recorded; what it lists is its
//! own business. Sources: SPDX 2.3 and 3.0, CycloneDX 1.6, mkosi `mkosi/manifest.py`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use serde::Deserialize;

use crate::tcg::{Digest, HashAlgorithm};

/// Most bytes of such a file: those of whole distributions have some tens of MiB.
pub const MAX_SIZE: u64 = 256 << 20;

/// A bill of materials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// File name.
    pub name: String,
    /// What it is: `mkosi-manifest`, `spdx-json`, `spdx-tag-value`, `spdx-3-json`, `cyclonedx-json` or `cyclonedx-xml`.
    pub format: &'static str,
    /// Its name for itself: `documentNamespace`, `serialNumber`, or name and version of the image.
    pub identifier: Option<String>,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Packages or components that it lists, where they are easily counted.
    pub packages: Option<u64>,
}

/// A file that is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not recognised: neither SPDX (JSON, tag-value) nor CycloneDX (JSON, XML) nor a manifest of mkosi")]
pub struct NotRecognised;

/// The members that tell the JSON formats apart.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Members {
    spdx_version: Option<String>,
    document_namespace: Option<String>,
    packages: Option<Vec<serde::de::IgnoredAny>>,
    bom_format: Option<String>,
    serial_number: Option<String>,
    version: Option<serde_json::Value>,
    components: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(rename = "@context")]
    context: Option<serde_json::Value>,
    #[serde(rename = "@graph")]
    graph: Option<Vec<Element>>,
    #[serde(rename = "manifest_version")]
    manifest_version: Option<u64>,
    config: Option<Config>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    name: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Element {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "spdxId")]
    id: Option<String>,
}

/// Recognises a file.
///
/// # Errors
/// [`NotRecognised`].
pub fn recognise(name: &str, bytes: &[u8]) -> Result<Material, NotRecognised> {
    let (format, identifier, packages) = by_content(bytes).ok_or(NotRecognised)?;
    let sha256 = Digest::of(HashAlgorithm::Sha256, bytes).to_string();
    Ok(Material { name: name.to_owned(), format, identifier, sha256, packages })
}

type Recognised = (&'static str, Option<String>, Option<u64>);

fn by_content(bytes: &[u8]) -> Option<Recognised> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    match bytes.trim_ascii_start().first()? {
        b'{' => json(&serde_json::from_slice(bytes).ok()?),
        b'<' => xml(&String::from_utf8_lossy(bytes)),
        _ => tag_value(&String::from_utf8_lossy(bytes)),
    }
}

fn json(members: &Members) -> Option<Recognised> {
    let count = |all: &Option<Vec<serde::de::IgnoredAny>>| all.as_ref().map(|all| all.len() as u64);
    if members.bom_format.as_deref() == Some("CycloneDX") {
        let version = members.version.as_ref().and_then(serde_json::Value::as_u64);
        // BOM-Link: urn:cdx:SERIAL/VERSION names one version of a document.
        let link = |serial: &String| match (serial.strip_prefix("urn:uuid:"), version) {
            (Some(uuid), Some(version)) => format!("urn:cdx:{uuid}/{version}"),
            _ => serial.clone(),
        };
        return Some((
            "cyclonedx-json",
            members.serial_number.as_ref().map(link),
            count(&members.components),
        ));
    }
    if members.spdx_version.as_deref().is_some_and(|version| version.starts_with("SPDX-")) {
        return Some(("spdx-json", members.document_namespace.clone(), count(&members.packages)));
    }
    let context = members.context.as_ref().map(ToString::to_string).unwrap_or_default();
    if let Some(graph) = members.graph.as_ref().filter(|_| context.contains("spdx.org/rdf/3")) {
        let of = |kind: &'static str| {
            graph.iter().filter(move |element| element.kind.as_deref().is_some_and(|is| is.ends_with(kind)))
        };
        let identifier = of("SpdxDocument").find_map(|element| element.id.clone());
        return Some(("spdx-3-json", identifier, Some(of("software_Package").count() as u64)));
    }
    let config = members.config.as_ref().filter(|_| members.manifest_version.is_some())?;
    let identifier = config.name.as_ref().map(|name| match &config.version {
        Some(version) => format!("{name} {version}"),
        None => name.clone(),
    });
    Some(("mkosi-manifest", identifier, count(&members.packages)))
}

fn xml(text: &str) -> Option<Recognised> {
    let (_, rest) = text.split_once("<bom")?;
    let (tag, _) = rest.split_once('>')?;
    if !tag.contains("http://cyclonedx.org/schema/bom/") {
        return None;
    }
    let serial = tag.split_once("serialNumber=\"").and_then(|(_, rest)| rest.split_once('"'));
    let components = text.matches("<component ").count() as u64;
    Some(("cyclonedx-xml", serial.map(|(serial, _)| serial.to_owned()), Some(components)))
}

fn tag_value(text: &str) -> Option<Recognised> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next()?.strip_prefix("SPDXVersion:").filter(|version| version.trim().starts_with("SPDX-"))?;
    let value = |line: &str, key: &str| line.strip_prefix(key).map(|value| value.trim().to_owned());
    let namespace = text.lines().find_map(|line| value(line, "DocumentNamespace:"));
    let packages = text.lines().filter(|line| line.starts_with("PackageName:")).count() as u64;
    Some(("spdx-tag-value", namespace, Some(packages)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        let cases: [(&str, &str, Option<&str>, Option<u64>); 7] = [
            (
                r#"{"spdxVersion":"SPDX-2.3","documentNamespace":"https://x/1","packages":[{},{}]}"#,
                "spdx-json",
                Some("https://x/1"),
                Some(2),
            ),
            (
                "SPDXVersion: SPDX-2.3\nDocumentNamespace: https://x/2\nPackageName: a\n",
                "spdx-tag-value",
                Some("https://x/2"),
                Some(1),
            ),
            (
                r#"{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[{"type":"SpdxDocument","spdxId":"https://x/3"},{"type":"software_Package"}]}"#,
                "spdx-3-json",
                Some("https://x/3"),
                Some(1),
            ),
            (
                r#"{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"urn:uuid:00000000-0000-4000-8000-000000000000","version":3,"components":[{}]}"#,
                "cyclonedx-json",
                Some("urn:cdx:00000000-0000-4000-8000-000000000000/3"),
                Some(1),
            ),
            (
                "<?xml version=\"1.0\"?>\n<bom xmlns=\"http://cyclonedx.org/schema/bom/1.6\" serialNumber=\"urn:uuid:1\"><components><component type=\"library\"/></components></bom>",
                "cyclonedx-xml",
                Some("urn:uuid:1"),
                Some(1),
            ),
            (
                r#"{"manifest_version":1,"config":{"name":"rig","version":"1","distribution":"debian"},"packages":[{},{},{}]}"#,
                "mkosi-manifest",
                Some("rig 1"),
                Some(3),
            ),
            (r#"{"bomFormat":"CycloneDX"}"#, "cyclonedx-json", None, None),
        ];
        for (text, format, identifier, packages) in cases {
            let material = recognise("x", text.as_bytes()).expect(format);
            let found = (material.format, material.identifier.as_deref(), material.packages);
            assert_eq!(found, (format, identifier, packages));
        }
        for other in ["", "{}", "[]", "<html></html>", "hello", "{\"packages\":[]}", "\u{1}"] {
            assert_eq!(recognise("x", other.as_bytes()), Err(NotRecognised), "{other}");
        }
    }
}
