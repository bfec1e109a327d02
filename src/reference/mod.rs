//! The reference document: one canonical format for what is predicted, and everything that follows from it.
//!
//! The *tuple* is primary. A document holds variants, each one way in which one image boots, with all its PCRs: a list
//! of values for each PCR would also accept PCR 4 of one release with PCR 11 of another. The format is described by
//! `schemas/reference.schema.json`; what a schema can't say is checked by [`check`].

mod build;
mod check;
mod combine;
mod document;
mod event_data;
mod schema;

pub use build::document;
pub use check::{Finding, ParseDocumentError, check, parse};
pub use combine::combine;
pub use document::*;
pub use schema::{SCHEMA, SchemaError, check_schema};
