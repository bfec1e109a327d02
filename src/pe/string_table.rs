//! Section names that exceed 8 bytes: the header holds `/N`, an offset into the COFF string table (PE, "Section
//! Table"). Images should not have one, but linkers leave it in place (shim, GNU-EFI programs).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::io;

use super::{PeImage, Section};
use crate::bytes::Reader;

/// Most bytes of the string table that are read.
const MAX_TABLE: u64 = 64 << 10;
/// Longest name that is shown.
const MAX_NAME: usize = 256;
/// Bytes of a symbol.
const SYMBOL_SIZE: u64 = 18;

/// The long name of each section, in the order of the section table; `None` where the header holds the name itself,
/// or the string table does not have it.
///
/// # Errors
/// When the file can't be read.
pub fn long_names(image: &PeImage) -> io::Result<Vec<Option<String>>> {
    if !image.sections.iter().any(|section| offset(section).is_some()) {
        return Ok(vec![None; image.sections.len()]);
    }
    let strings = read_table(image)?;
    let name = |section: &Section| {
        let text = strings.get(offset(section)?..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text.get(..text.len().min(MAX_NAME))?).into_owned())
    };
    Ok(image.sections.iter().map(name).collect())
}

/// N of `/N`.
fn offset(section: &Section) -> Option<usize> {
    std::str::from_utf8(section.name.as_bytes().strip_prefix(b"/")?).ok()?.parse().ok()
}

/// The string table; empty when there is none. It follows the symbols.
fn read_table(image: &PeImage) -> io::Result<Vec<u8>> {
    // The optional header's CheckSum stands 0x40 bytes into it, the file header of 20 bytes before it; in that,
    // PointerToSymbolTable and NumberOfSymbols at 8 and 12.
    let fields = image.checksum_offset.saturating_sub(0x40 + 20).saturating_add(8);
    let Some(fields) = image.file.slice(fields, 8) else { return Ok(Vec::new()) };
    let fields = fields.read(8)?;
    let mut reader = Reader::new(&fields);
    let (Ok(pointer), Ok(count)) = (reader.u32("PointerToSymbolTable"), reader.u32("NumberOfSymbols")) else {
        return Ok(Vec::new());
    };
    let start = u64::from(pointer).saturating_add(u64::from(count).saturating_mul(SYMBOL_SIZE));
    let length = image.file.len().saturating_sub(start);
    match image.file.slice(start, length) {
        Some(table) if pointer != 0 => table.read_prefix(MAX_TABLE),
        _ => Ok(Vec::new()),
    }
}
