//! The document's JSON Schema, and checking against it.

use super::Finding;

/// `schemas/reference.schema.json`.
pub const SCHEMA: &str = include_str!("../../schemas/reference.schema.json");

/// Most findings that one document is worth.
const MAX_FINDINGS: usize = 100;

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
    let errors = validator.iter_errors(document).take(MAX_FINDINGS);
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
