//! A bounded cursor over bytes that may come from an attacker.
//!
//! Every binary parser of this crate reads through [`Reader`]. It knows the absolute offset of what it
//! reads, so an error names the place in the file, and each length-prefixed thing is read through a
//! *sub-reader* that can't leave it. Nothing here allocates.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::fmt;

/// Why some bytes are not what the specification wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at offset {offset:#x}: {kind}")]
pub struct ParseError {
    /// Absolute offset in the file or blob that is being read, in bytes.
    pub offset: u64,
    /// The specification's own name of the field.
    pub what: &'static str,
    /// What is wrong with it.
    pub kind: ParseErrorKind,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The field needs more bytes than are left.
    Truncated {
        /// Bytes that the field needs.
        needed: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// The field has a value that the specification does not allow here.
    Unexpected {
        /// The value found.
        found: u64,
        /// What is allowed, in words.
        expected: &'static str,
    },
    /// The field asks for more than this program is willing to handle.
    TooLarge {
        /// The value found.
        found: u64,
        /// The largest value accepted.
        limit: u64,
    },
    /// Bytes are left where the structure should have ended.
    Trailing {
        /// How many.
        left: u64,
    },
    /// The bytes break a rule that the text names.
    Invalid(&'static str),
}

impl fmt::Display for ParseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, left } => write!(f, "needs {needed} bytes, {left} left"),
            Self::Unexpected { found, expected } => write!(f, "is {found:#x}, expected {expected}"),
            Self::TooLarge { found, limit } => write!(f, "is {found}, the limit is {limit}"),
            Self::Trailing { left } => write!(f, "{left} bytes are left over"),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}

/// A little-endian cursor over a byte slice; see the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// Absolute offset of the next byte.
    offset: u64,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` whose first byte stands at offset 0.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// Reads `bytes` whose first byte stands at `offset` of a larger whole.
    #[must_use]
    pub fn at(bytes: &'a [u8], offset: u64) -> Self {
        Self { bytes, offset }
    }

    /// Absolute offset of the next byte.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is left, without consuming it.
    #[must_use]
    pub fn peek(&self) -> &'a [u8] {
        self.bytes
    }

    /// Consumes what is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes;
        self.advance(rest.len());
        rest
    }

    /// Consumes `length` bytes of the field `what`.
    ///
    /// # Errors
    /// [`ParseErrorKind::Truncated`] when fewer are left.
    pub fn take(&mut self, length: u64, what: &'static str) -> Result<&'a [u8], ParseError> {
        let taken = usize::try_from(length).ok().and_then(|length| self.bytes.get(..length));
        match taken {
            Some(taken) => {
                self.advance(taken.len());
                Ok(taken)
            }
            None => {
                let kind = ParseErrorKind::Truncated { needed: length, left: self.bytes.len() as u64 };
                Err(self.error(what, kind))
            }
        }
    }

    /// A reader over the next `length` bytes, which are consumed here.
    ///
    /// # Errors
    /// [`ParseErrorKind::Truncated`] when fewer are left.
    pub fn sub(&mut self, length: u64, what: &'static str) -> Result<Reader<'a>, ParseError> {
        let offset = self.offset;
        Ok(Reader { bytes: self.take(length, what)?, offset })
    }

    /// Consumes an array of `N` bytes.
    ///
    /// # Errors
    /// [`ParseErrorKind::Truncated`] when fewer are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ParseError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    /// Consumes one byte.
    ///
    /// # Errors
    /// [`ParseErrorKind::Truncated`] when none is left.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, ParseError> {
        self.array::<1>(what).map(u8::from_le_bytes)
    }

    /// Consumes a little-endian 16-bit number.
    ///
    /// # Errors
    /// [`ParseErrorKind::Truncated`] when fewer than 2 bytes are left.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, ParseError> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// Consumes a little-endian 32-bit number.
    ///
    /// # Errors
    /// [`ParseErrorKind::Truncated`] when fewer than 4 bytes are left.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, ParseError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Consumes a little-endian 64-bit number.
    ///
    /// # Errors
    /// [`ParseErrorKind::Truncated`] when fewer than 8 bytes are left.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, ParseError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Consumes a big-endian 16-bit number (TPM structures).
    ///
    /// # Errors
    /// [`ParseErrorKind::Truncated`] when fewer than 2 bytes are left.
    pub fn u16_be(&mut self, what: &'static str) -> Result<u16, ParseError> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Consumes a big-endian 32-bit number (TPM structures).
    ///
    /// # Errors
    /// [`ParseErrorKind::Truncated`] when fewer than 4 bytes are left.
    pub fn u32_be(&mut self, what: &'static str) -> Result<u32, ParseError> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Consumes a big-endian 64-bit number (TPM structures).
    ///
    /// # Errors
    /// [`ParseErrorKind::Truncated`] when fewer than 8 bytes are left.
    pub fn u64_be(&mut self, what: &'static str) -> Result<u64, ParseError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Nothing may be left of the structure `what`.
    ///
    /// # Errors
    /// [`ParseErrorKind::Trailing`] when something is.
    pub fn expect_end(&self, what: &'static str) -> Result<(), ParseError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(self.error(what, ParseErrorKind::Trailing { left: self.bytes.len() as u64 }))
    }

    /// An error about the field that starts at the current offset.
    #[must_use]
    pub fn error(&self, what: &'static str, kind: ParseErrorKind) -> ParseError {
        ParseError { offset: self.offset, what, kind }
    }

    fn advance(&mut self, count: usize) {
        self.bytes = self.bytes.get(count..).unwrap_or_default();
        self.offset = self.offset.saturating_add(count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_reader_keeps_absolute_offsets_and_can_not_leave_its_length() {
        let mut reader = Reader::at(&[1, 2, 0, 3, 0, 0, 0, 9], 0x100);
        assert_eq!(reader.u8("a"), Ok(1));
        let mut sub = reader.sub(6, "body").expect("six bytes are there");
        assert_eq!(sub.u16("b"), Ok(2));
        assert_eq!(sub.u32("c"), Ok(3));
        let error = sub.u8("d").expect_err("the sub-reader is used up");
        assert_eq!(error.to_string(), "d at offset 0x107: needs 1 bytes, 0 left");
        assert_eq!(reader.u8("e"), Ok(9));
        assert!(reader.expect_end("all").is_ok());
    }

    #[test]
    fn a_huge_length_is_an_error_and_consumes_nothing() {
        let mut reader = Reader::new(&[0; 4]);
        assert!(reader.take(u64::MAX, "eventSize").is_err());
        assert_eq!(reader.remaining(), 4);
    }
}
