//! The document's JSON Schema, and checking against it.

use super::Finding;

/// `schemas/reference.schema.json`.
pub const SCHEMA: &str = include_str!("../../schemas/reference.schema.json");

/// Most findings that one document is worth.
const MAX_FINDINGS: usize = 100;

/// JSON values of a document whose errors are all listed.
const MAX_VALUES: usize = 200_000;

fn size_of_value(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(size_of_value).sum::<usize>(),
        serde_json::Value::Object(members) => 1 + members.values().map(size_of_value).sum::<usize>(),
        _ => 1,
    }
}

/// The schema that ships with this program does not load: a defect of the build.
#[derive(Debug, thiserror::Error)]
#[error("the built-in schema is unusable: {0}")]
pub struct SchemaError(String);

/// Checks a JSON value against the schema.
///
/// # Errors
/// [`SchemaError`] when the schema itself is unusable.
pub fn check_schema(document: &serde_json::Value) -> Result<Vec<Finding>, SchemaError> {
    let schema: serde_json::Value =
        serde_json::from_str(SCHEMA).map_err(|error| SchemaError(error.to_string()))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| SchemaError(error.to_string()))?;
    // Collecting errors can cost many times a document's size: what is large and wrong gets its first error only.
    let whole = size_of_value(document) <= MAX_VALUES;
    let limit = if whole { MAX_FINDINGS } else { 1 };
    let first = if whole { None } else { Some(validator.validate(document).err()) };
    let all = if whole { Some(validator.iter_errors(document)) } else { None };
    let errors = first.into_iter().flatten().chain(all.into_iter().flatten()).take(limit);
    Ok(errors
        .map(|error| {
            let place = error.instance_path().to_string();
            let mut problem = error.to_string();
            // A whole sub-document may be quoted; its start is enough to find it.
            if let Some((end, _)) = problem.char_indices().nth(200) {
                problem.truncate(end);
                problem.push('…');
            }
            Finding { place: if place.is_empty() { "document".to_owned() } else { place }, problem }
        })
        .collect())
}
