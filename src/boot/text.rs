//! UTF-16 texts as EFI programs pass and measure them.

/// The UTF-16 code units of `text`, without a terminator.
#[must_use]
pub fn utf16_units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// Code units as bytes, little-endian, with a terminating NUL: `U16Z`.
#[must_use]
pub fn utf16_nul(units: &[u16]) -> Vec<u8> {
    units.iter().chain([&0]).flat_map(|unit| unit.to_le_bytes()).collect()
}

/// Units as text for people.
pub(super) fn utf16_text(units: &[u16]) -> String {
    String::from_utf16_lossy(units)
}
