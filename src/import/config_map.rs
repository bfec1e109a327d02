//! Kubernetes ConfigMaps that hold reference values: in YAML or JSON, as `kubectl get` prints them and this program writes them.
//!
//! YAML is no format of ours: of a ConfigMap one member of `data` is read, as a block scalar or as a scalar of one line.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ImportError, content, json};

/// The text of a member of `data`; `None` when the bytes are no ConfigMap that has it.
pub(super) fn entry(bytes: &[u8], key: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct ConfigMap {
        kind: String,
        data: BTreeMap<String, String>,
    }
    if let Ok(mut map) = serde_json::from_slice::<ConfigMap>(bytes) {
        return map.data.remove(key).filter(|_| map.kind == "ConfigMap");
    }
    let text = std::str::from_utf8(bytes).ok()?;
    if !text.lines().any(|line| line.trim_end() == "kind: ConfigMap") {
        return None;
    }
    let mut lines = text.lines();
    let (depth, value) = lines.by_ref().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim().trim_matches(['"', '\'']) == key).then_some((depth(name), value.trim()))
    })?;
    if value.starts_with('|') {
        let block = lines.take_while(|line| line.trim().is_empty() || self::depth(line) > depth);
        return Some(block.map(|line| format!("{}\n", line.trim_start())).collect());
    }
    one_line(value)
}

fn depth(line: &str) -> usize {
    line.len().saturating_sub(line.trim_start().len())
}

/// A scalar that ends with its line; double-quoted ones have the escapes of JSON, as far as JSON needs them.
fn one_line(value: &str) -> Option<String> {
    if value.starts_with('"') {
        return serde_json::from_str(value).ok();
    }
    match value.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\'').map(|text| text.replace("''", "'")),
        None => Some(value.to_owned()),
    }
}

/// The member as JSON; an error where it is missing.
pub(super) fn json_entry<T: serde::de::DeserializeOwned>(
    format: &'static str,
    bytes: &[u8],
    key: &str,
) -> Result<T, ImportError> {
    let text = entry(bytes, key).ok_or_else(|| content(format, format!("data.{key}"), "is missing"))?;
    json(format, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms in which `kubectl get configmap` prints a member.
    #[test]
    fn scalars_of_every_form_are_read() {
        let yaml = |value: &str| format!("apiVersion: v1\ndata:\n  key: {value}\nkind: ConfigMap\n");
        for value in [
            "|\n    {\n      \"a\": 1\n    }",
            "|-\n    {\"a\": 1}",
            "'{\"a\": 1}'",
            "\"{\\\"a\\\": 1}\"",
            "{\"a\": 1}",
        ] {
            let text = entry(yaml(value).as_bytes(), "key").unwrap_or_else(|| panic!("{value}"));
            let read: BTreeMap<String, u8> =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(read.get("a"), Some(&1));
        }
        let json = br#"{"kind":"ConfigMap","data":{"key":"{\"a\": 1}"}}"#;
        assert_eq!(entry(json, "key").as_deref(), Some("{\"a\": 1}"));
        assert_eq!(entry(json, "other"), None);
        assert_eq!(entry(b"data:\n  key: 1\nkind: Secret\n", "key"), None);
    }
}
