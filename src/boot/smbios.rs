//! SMBIOS: the strings that stub and boot loader read from the machine, and the structures that they measure.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use crate::bytes::{ParseError, ParseErrorKind, Reader};

/// Most structures that a table may have: handles are 16 bits wide.
const MAX_STRUCTURES: usize = 1 << 16;

/// SMBIOS tables as far as they matter for measurements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Smbios {
    /// Strings of the first structure of type 11 ("OEM Strings").
    pub oem_strings: Vec<Vec<u8>>,
    /// Structures in table order; `None` when no table was given.
    pub structures: Option<Vec<Structure>>,
    /// Somebody declared what there is; otherwise its absence is an assumption.
    pub declared: bool,
}

/// One structure, formatted area and strings (DSP0134, section 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    /// `Type`.
    pub kind: u8,
    /// All its bytes, with the double NUL behind the strings.
    pub bytes: Vec<u8>,
    /// Length of the formatted area.
    pub formatted_length: usize,
}

impl Structure {
    /// The strings of the structure, in order.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let strings = self.bytes.get(self.formatted_length..).unwrap_or_default();
        strings.split(|byte| *byte == 0).take_while(|string| !string.is_empty())
    }
}

impl Smbios {
    /// Reads a raw table as in `/sys/firmware/dmi/tables/DMI`.
    ///
    /// # Errors
    /// When a structure is cut off, or shorter than its own header.
    pub fn parse(table: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(table);
        let mut structures = Vec::new();
        while !reader.is_empty() && structures.len() < MAX_STRUCTURES {
            let structure = read_structure(&mut reader)?;
            let last = structure.kind == 127;
            structures.push(structure);
            if last {
                break;
            }
        }
        let oem = structures.iter().find(|structure| structure.kind == 11);
        let oem_strings = oem.into_iter().flat_map(Structure::strings);
        let oem_strings = oem_strings.map(<[u8]>::to_vec).collect();
        Ok(Self { oem_strings, structures: Some(structures), declared: true })
    }

    /// The text behind the first OEM string that starts with `NAME=`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        let value = |string: &'_ [u8]| -> Option<usize> {
            string.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(<[u8]>::len)
        };
        let (string, length) = self.oem_strings.iter().find_map(|string| Some((string, value(string)?)))?;
        string.get(string.len().checked_sub(length)?..)
    }
}

fn read_structure(reader: &mut Reader<'_>) -> Result<Structure, ParseError> {
    let start = *reader;
    let kind = reader.u8("Type")?;
    let length = reader.u8("Length")?;
    if length < 4 {
        let kind = ParseErrorKind::Unexpected {
            found: length.into(),
            expected: "at least 4, the header's own length",
        };
        return Err(start.error("Length", kind));
    }
    reader.take(u64::from(length).saturating_sub(2), "formatted area")?;
    let strings = reader.peek();
    let end = strings.windows(2).position(|pair| pair == [0, 0]);
    let Some(end) = end.and_then(|end| end.checked_add(2)) else {
        let left = strings.len() as u64;
        return Err(
            reader.error("strings", ParseErrorKind::Truncated { needed: left.saturating_add(1), left })
        );
    };
    reader.take(end as u64, "strings")?;
    let total = usize::from(length).saturating_add(end);
    let bytes = start.peek().get(..total).unwrap_or_default().to_vec();
    Ok(Structure { kind, bytes, formatted_length: length.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strings_of_the_first_type_11_structure_are_found() {
        let table = [
            &[1, 5, 0, 0, 9][..], // type 1, length 5, handle, one byte
            b"\0\0",              // no strings
            &[11, 5, 1, 0, 2],    // type 11, count 2
            b"a=1\0io.systemd.stub.kernel-cmdline-extra=x y\0\0",
            &[11, 5, 2, 0, 1],
            b"a=2\0\0",
            &[127, 4, 3, 0],
            b"\0\0",
        ]
        .concat();
        let smbios = Smbios::parse(&table).expect("a sound table");
        assert_eq!(smbios.value("io.systemd.stub.kernel-cmdline-extra"), Some(&b"x y"[..]));
        assert_eq!(smbios.value("a"), Some(&b"1"[..]));
        assert_eq!(smbios.structures.map(|all| all.len()), Some(4));
    }

    #[test]
    fn a_table_cut_anywhere_is_an_error_or_a_shorter_table() {
        let table = [&[11, 5, 1, 0, 1][..], b"a=1\0\0", &[127, 4, 3, 0], b"\0\0"].concat();
        for length in 1..table.len() {
            let result = Smbios::parse(table.get(..length).expect("a prefix"));
            assert_eq!(result.is_ok(), length == 10, "{length}");
        }
    }
}
