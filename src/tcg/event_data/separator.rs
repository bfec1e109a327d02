//! `EV_SEPARATOR` (PFP, section 3.3.2.2): the line between what firmware did before and after.

use super::field::{Field, Value, short_hex};
use crate::uefi::text;

/// What a separator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator<'a> {
    /// Four bytes 0x00 or 0xFF: all went well.
    Normal(u32),
    /// The number 1: firmware met an error and stopped measuring.
    Error,
    /// Something else: Windows writes `WBCL` in its own PCRs, Skiboot its name.
    Other(&'a [u8]),
}

impl<'a> Separator<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        match <[u8; 4]>::try_from(data).map(u32::from_le_bytes) {
            Ok(value @ (0 | u32::MAX)) => Self::Normal(value),
            Ok(1) => Self::Error,
            _ => Self::Other(data),
        }
    }

    pub(super) fn summary(self) -> String {
        match self {
            Self::Normal(0) => "separator".to_owned(),
            Self::Normal(_) => "separator (all ones)".to_owned(),
            Self::Error => "error separator: firmware met an error before this".to_owned(),
            Self::Other(data) => match text::guess(data) {
                Some(text) => format!("separator \"{text}\""),
                None => format!("separator {}", short_hex(data)),
            },
        }
    }

    pub(super) fn fields(self) -> Vec<Field> {
        let (value, length) = match self {
            Self::Normal(value) => (Value::Hex(value.into()), 4),
            Self::Error => (Value::Hex(1), 4),
            Self::Other(data) => match text::guess(data) {
                Some(text) => (Value::Text(text), data.len()),
                None => (Value::bytes(data), data.len()),
            },
        };
        vec![Field::new("Event", value, 0..length)]
    }
}
