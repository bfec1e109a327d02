//! Text from files that people read: nothing in it drives a terminal, reorders a line or hides.

use std::borrow::Cow;
use std::fmt;

/// Characters of one text on a page. What is longer is in the page's JSON only: a megabyte in one line helps nobody.
const MAX_CHARACTERS: usize = 4096;

/// Text on a page. Control characters and those that can't be seen are escaped, and what is very long is cut. The template escapes
/// markup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text(String);

impl Text {
    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: AsRef<str>> From<T> for Text {
    fn from(text: T) -> Self {
        let text = text.as_ref();
        let Some((cut, _)) = text.char_indices().nth(MAX_CHARACTERS) else { return Self(printable(text)) };
        let start = printable(text.get(..cut).unwrap_or_default());
        Self(format!("{start}… ({} characters; --json prints all of them)", text.chars().count()))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text from a file, made safe for a terminal: control characters (also those of Unicode that reorder text)
/// are shown as escapes, so that no input can drive the terminal or hide itself.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            hidden if is_hidden(hidden) => safe.extend(hidden.escape_unicode()),
            control if control.is_control() => safe.extend(control.escape_default()),
            plain => safe.push(plain),
        }
    }
    safe
}

/// JSON without characters that could drive a terminal: JSON itself only escapes those below U+0020. It means the same
/// as before, since such characters can stand in strings only.
#[must_use]
pub fn plain_json(json: &str) -> Cow<'_, str> {
    escape_json(json, |character| character != '\n' && (character.is_control() || is_hidden(character)))
}

/// JSON that can stand inside a page: nothing in it ends the element that holds it, or starts a comment in it. It means the
/// same as before.
pub(super) fn json_for_page(json: &str) -> Cow<'_, str> {
    escape_json(json, |character| {
        matches!(character, '<' | '>' | '&')
            || (character != '\n' && (character.is_control() || is_hidden(character)))
    })
}

fn escape_json(json: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !json.contains(&is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(json.len());
    for character in json.chars() {
        if is_unsafe(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                plain.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            plain.push(character);
        }
    }
    Cow::Owned(plain)
}

/// Characters that reorder text or are not seen: Unicode's `Cf` and `Default_Ignorable_Code_Point`.
fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{AD}' | '\u{34F}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}' | '\u{890}' | '\u{891}'
        | '\u{8E2}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{110BD}' | '\u{110CD}'
        | '\u{13430}'..='\u{1343F}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning_without_control_characters() {
        let value =
            serde_json::json!({ "a\u{9b}\u{7f}": ["\u{202e}\u{e0041}\u{ad}", "plain ü", "\u{1b}\n"] });
        let text = serde_json::to_string_pretty(&value).expect("JSON");
        let plain = plain_json(&text);
        assert!(
            plain
                .chars()
                .all(|c| c == '\n' || !(c.is_control() || matches!(c, '\u{202e}' | '\u{e0041}' | '\u{ad}'))),
            "{plain}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).expect("JSON"), value);
    }

    #[test]
    fn json_in_a_page_ends_no_element() {
        let value = serde_json::json!(["</script><!--<script>", "&amp;]]>", "\u{2028}"]);
        let text = json_for_page(&value.to_string()).into_owned();
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\u{9b}d"), "a\\u{1b}[2Jb\\u{202e}c\\u{9b}d");
        assert_eq!(printable("grüße, 日本"), "grüße, 日本");
    }

    #[test]
    fn what_is_very_long_is_cut_and_says_so() {
        let text = Text::from("ü".repeat(10_000)).to_string();
        assert!(text.starts_with(&"ü".repeat(4096)) && text.len() < 9_000);
        assert!(text.ends_with("(10000 characters; --json prints all of them)"), "{text}");
    }
}
