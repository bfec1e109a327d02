//! Text in firmware structures: UTF-16LE and 8-bit, terminated or not.

/// UTF-16LE bytes as text. Lone surrogates and an odd last byte become U+FFFD: what firmware wrote is shown, not
/// judged.
#[must_use]
pub fn utf16(bytes: &[u8]) -> String {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
    let mut text: String =
        char::decode_utf16(units).map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    if !odd.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text
}

/// UTF-16LE bytes as text, up to the first NUL.
#[must_use]
pub fn utf16_to_nul(bytes: &[u8]) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    let end = pairs.iter().position(|pair| *pair == [0, 0]);
    match end.and_then(|end| bytes.get(..end.saturating_mul(2))) {
        Some(text) => utf16(text),
        None => utf16(bytes),
    }
}

/// 8-bit text up to the first NUL.
#[must_use]
pub fn ascii_to_nul(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// Text of either width, if the bytes look like one: printable, terminated by NULs at most.
#[must_use]
pub fn guess(bytes: &[u8]) -> Option<String> {
    let stripped = trim_nuls(bytes);
    if !stripped.is_empty() && stripped.iter().all(|byte| is_text(char::from(*byte)) && byte.is_ascii()) {
        return String::from_utf8(stripped.to_vec()).ok();
    }
    // systemd-boot before 251 cut the terminator in half.
    let bytes = match bytes.split_last() {
        Some((0, rest)) if bytes.len() % 2 != 0 => rest,
        _ => bytes,
    };
    if bytes.len() < 4 || bytes.len() % 2 != 0 {
        return None;
    }
    let text = utf16(bytes);
    let text = text.trim_end_matches('\0');
    // Text of another script would pass for any bytes: demand what logs have, mostly Latin.
    let latin = text.chars().filter(|character| (*character as u32) < 0x250).count();
    let plain = text.chars().all(is_text) && latin.saturating_mul(2) > text.chars().count();
    (plain && !text.is_empty()).then(|| text.to_owned())
}

fn is_text(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\t')
        || !(character.is_control() || character == char::REPLACEMENT_CHARACTER)
}

fn trim_nuls(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    bytes.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_bytes() {
        assert_eq!(guess(b"ACPI DATA").as_deref(), Some("ACPI DATA"));
        assert_eq!(guess(b"a\0b\0\0\0").as_deref(), Some("ab"));
        assert_eq!(guess(&[0, 0, 0, 0]), None);
        assert_eq!(guess(&[1, 0, 0, 0]), None);
        assert_eq!(guess(&[0xE0, 0x2E, 0x99, 0x5F]), None);
        assert_eq!(guess(&[]), None);
    }

    #[test]
    fn a_lone_surrogate_and_an_odd_byte_are_shown_as_replacement() {
        assert_eq!(utf16(&[0x00, 0xD8, b'a', 0, 9]), "\u{FFFD}a\u{FFFD}");
        assert_eq!(utf16_to_nul(&[b'a', 0, 0, 0, b'b', 0]), "a");
    }
}
