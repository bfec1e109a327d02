//! Texts of systemd-boot's files: lines of key and value, paths, booleans.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

/// Most bytes of a configuration file that is read: far more than any real one has.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// Keys and values of a text, in order (systemd `line_get_key_value`): comments and lines without value are skipped, a
/// value in quotes loses them. What is not UTF-8 is replaced.
pub(super) fn assignments(text: &[u8], separators: &[char]) -> Vec<(String, String)> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let lines = text.split(['\n', '\r']).map(|line| line.trim_matches([' ', '\t']));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (key, value) = line.split_once(separators)?;
            let value = value.trim_start_matches(separators);
            Some((key.to_owned(), unquote(value).to_owned()))
        })
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn unquote(value: &str) -> &str {
    let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(value)
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
        let pairs = assignments(text, &[' ', '\t']);
        let expected = [("title", "Rig  type 1"), ("linux", "/rig/vmlinuz"), ("version", "1 2")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn paths_get_backslashes() {
        assert_eq!(efi_path("/rig//initrd.cpio"), "\\rig\\initrd.cpio");
        assert_eq!(efi_path("\\a/b"), "\\a\\b");
    }
}
