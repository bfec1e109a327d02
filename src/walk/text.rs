//! Texts of systemd-boot's files: lines of key and value, paths, booleans.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

/// Most bytes of a configuration file that is read: far more than any real one has.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// Keys and values of a text, in order (systemd `line_get_key_value`): comments and lines without separator are skipped, a
/// value in one of the `quotes` loses them. A value may be empty, where it is quoted or the separator is no blank.
pub(super) fn assignments(text: &[u8], separators: &[u8], quotes: &[u8]) -> Vec<(String, String)> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut found = Vec::new();
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
        let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last.saturating_add(1));
        let line = line.get(start..end).unwrap_or_default();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let Some(at) = line.iter().position(|byte| separators.contains(byte)) else { continue };
        let (key, rest) = line.split_at(at);
        let value = rest.iter().position(|byte| !separators.contains(byte));
        let value = value.and_then(|first| rest.get(first..)).unwrap_or_default();
        found.push((decode(key), decode(unquote(value, quotes))));
    }
    found
}

/// A single quote character is both its own start and end.
fn unquote<'v>(value: &'v [u8], quotes: &[u8]) -> &'v [u8] {
    match value {
        [first, .., last] if first == last && quotes.contains(first) => {
            value.get(1..value.len().saturating_sub(1)).unwrap_or_default()
        }
        [only] if quotes.contains(only) => &[],
        other => other,
    }
}

/// A text as systemd's boot programs read it (systemd `xstrn8_to_16`): what is no valid sequence, or stands for more than a
/// UTF-16 unit can hold, is left out, together with as many bytes as its first byte announces.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let (length, bits) = match first {
            0x00..=0x7F => (1, u32::from(*first)),
            0xC0..=0xDF => (2, u32::from(first & 0x1F)),
            0xE0..=0xEF => (3, u32::from(first & 0x0F)),
            0xF0..=0xF7 => (4, u32::from(first & 0x07)),
            0xF8..=0xFB => (5, u32::from(first & 0x03)),
            0xFC..=0xFD => (6, u32::from(first & 0x01)),
            0x80..=0xBF | 0xFE..=0xFF => (1, u32::MAX),
        };
        let more = rest.get(1..length).filter(|more| more.iter().all(|byte| byte & 0xC0 == 0x80));
        let value =
            more.map(|more| more.iter().fold(bits, |value, byte| (value << 6) | u32::from(byte & 0x3F)));
        match value.filter(|value| *value <= 0xFFFF).and_then(char::from_u32) {
            // An overlong zero ends the text as a short one does.
            Some('\0') => break,
            Some(character) => text.push(character),
            None => {}
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    text
}

/// systemd `parse_boolean`; `None` for anything else.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// A path as systemd-boot hands it to the firmware (systemd `convert_efi_path`): backslashes, no doubled ones.
pub(super) fn efi_path(path: &str) -> String {
    let mut converted = String::with_capacity(path.len());
    for character in path.chars() {
        let character = if character == '/' { '\\' } else { character };
        if character != '\\' || !converted.ends_with('\\') {
            converted.push(character);
        }
    }
    converted
}

/// A name ends so, whatever its case.
pub(super) fn ends_with(name: &str, suffix: &str) -> bool {
    let start = name.len().checked_sub(suffix.len());
    start.and_then(|start| name.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// The last component of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart_as_systemd_boot_does() {
        let text = b"# comment\n\n title \t Rig  type 1 \r\nlinux\t/rig/vmlinuz\nempty\nversion \"1 2\"\n";
        let pairs = assignments(text, b" \t", b"\"'");
        let expected = [("title", "Rig  type 1"), ("linux", "/rig/vmlinuz"), ("version", "1 2")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    /// Read in `line_get_key_value` and `utf8_to_unichar`.
    #[test]
    fn quotes_and_odd_bytes_are_taken_as_systemd_boot_does() {
        let text = b"a \"\"\nb 'x y'\nc \"\nd a\xFFb\ne \xE2\x82z!\nf \xF0\x9F\x98\x80.\nID=\n=x\n";
        let pairs = |separators: &[u8], quotes: &[u8]| {
            let all = assignments(text, separators, quotes).into_iter();
            all.map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>()
        };
        assert_eq!(pairs(b" \t", b"\"'"), ["a:", "b:x y", "c:", "d:ab", "e:!", "f:."]);
        assert_eq!(pairs(b" \t", b"\"").get(1).map(String::as_str), Some("b:'x y'"));
        assert_eq!(pairs(b"=", b"\"'"), ["ID:", ":x"]);
    }

    #[test]
    fn paths_get_backslashes() {
        assert_eq!(efi_path("/rig//initrd.cpio"), "\\rig\\initrd.cpio");
        assert_eq!(efi_path("\\a/b"), "\\a\\b");
    }
}
