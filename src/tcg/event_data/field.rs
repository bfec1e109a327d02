//! Decoded data as a tree of named values, for tables and JSON.

use std::borrow::Cow;
use std::ops::Range;

use crate::uefi::guid::{self, Guid};

/// A named value, and where it stands in the event's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The specification's name.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub value: Value,
    /// Its bytes in the event's data. What lies inside of a covered range is verified.
    pub range: Range<usize>,
}

/// A decoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text from the log: not safe for a terminal as it is.
    Text(String),
    /// A number, best read in decimal.
    Number(u64),
    /// A number, best read in hexadecimal: addresses, masks.
    Hex(u64),
    /// Bytes, in hexadecimal.
    Bytes(String),
    /// A structure or a list.
    Fields(Vec<Field>),
}

impl Field {
    /// A field of the event's data.
    pub fn new(name: impl Into<Cow<'static, str>>, value: Value, range: Range<usize>) -> Self {
        Self { name: name.into(), value, range }
    }

    /// A part of another field: it shares its place.
    pub fn part(name: impl Into<Cow<'static, str>>, value: Value) -> Self {
        Self::new(name, value, 0..0)
    }

    /// The same field, and all parts of it, at one place.
    #[must_use]
    pub fn at(mut self, range: Range<usize>) -> Self {
        if let Value::Fields(parts) = self.value {
            self.value = Value::Fields(parts.into_iter().map(|part| part.at(range.clone())).collect());
        }
        Self { range, ..self }
    }
}

impl Value {
    /// Bytes, in hexadecimal.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::Bytes(hex::encode(bytes))
    }

    /// A GUID with its name, if it has one.
    #[must_use]
    pub fn guid(guid: Guid) -> Self {
        Self::Text(guid::describe(guid))
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// The beginning of some bytes, for one line.
pub(super) fn short_hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 24;
    match bytes.get(..SHOWN) {
        Some(start) if bytes.len() > SHOWN => format!("{}… ({} bytes)", hex::encode(start), bytes.len()),
        _ => hex::encode(bytes),
    }
}

/// The beginning of some text, for one line.
pub(super) fn short_text(text: &str) -> String {
    const SHOWN: usize = 160;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}
