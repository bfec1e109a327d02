//! Patterns for entry ids (systemd `efi_fnmatch`): `*`, `?`, `[...]` with ranges, and `\` for what follows literally.
//! A set can't be negated.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

/// Whether `pattern` matches all of `text`. Linear but for the product of both lengths, which are file names.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let mut rest_pattern = pattern.as_slice();
    let mut rest = text.as_slice();
    // Where to try again: behind the last star, one character further.
    let mut again: Option<(&[char], &[char])> = None;
    loop {
        if let Some(('*', after)) = rest_pattern.split_first().map(|(first, after)| (*first, after)) {
            again = Some((after, rest));
            rest_pattern = after;
            continue;
        }
        if rest_pattern.is_empty() && rest.is_empty() {
            return true;
        }
        if let Some((after_pattern, after)) = step(rest_pattern, rest) {
            rest_pattern = after_pattern;
            rest = after;
            continue;
        }
        match again.and_then(|(after, from)| Some((after, from.split_first()?.1))) {
            Some((after, from)) => {
                again = Some((after, from));
                rest_pattern = after;
                rest = from;
            }
            None => return false,
        }
    }
}

/// Matches one character against the start of the pattern.
fn step<'p, 't>(pattern: &'p [char], text: &'t [char]) -> Option<(&'p [char], &'t [char])> {
    let (first, pattern) = pattern.split_first()?;
    let (character, text) = text.split_first()?;
    match first {
        '?' => Some((pattern, text)),
        '\\' => {
            let (literal, pattern) = pattern.split_first()?;
            (literal == character).then_some((pattern, text))
        }
        '[' => set(pattern, *character).map(|pattern| (pattern, text)),
        literal => (literal == character).then_some((pattern, text)),
    }
}

/// `[...]`, its bracket consumed; what follows the set if it has the character.
fn set(pattern: &[char], character: char) -> Option<&[char]> {
    let mut rest = pattern;
    let mut hit = false;
    let mut previous: Option<char> = None;
    // The end of a range does not begin another one: [a-c-f] is [-abcf].
    let mut can_range = true;
    loop {
        let (next, after) = rest.split_first()?;
        match (next, previous, after.split_first()) {
            (']', Some(_), _) => return hit.then_some(after),
            ('-', Some(low), Some((high, after))) if can_range && *high != ']' => {
                let (high, after) = if *high == '\\' { after.split_first()? } else { (high, after) };
                hit |= (low..=*high).contains(&character);
                previous = Some(*high);
                can_range = false;
                rest = after;
            }
            ('\\', _, following) => {
                let (literal, after) = following?;
                hit |= *literal == character;
                previous = Some(*literal);
                can_range = true;
                rest = after;
            }
            _ => {
                hit |= *next == character;
                previous = Some(*next);
                can_range = true;
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases of systemd's `test-efi-string.c`, as far as they concern these features.
    #[test]
    fn patterns_match_as_in_systemd_boot() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("abcd", "abcd"),
            ("a?c", "abc"),
            ("aäb", "aäb"),
            ("*a*", "cbaabc"),
            ("a*b*c", "abbbc"),
            ("a[b-d]e", "ace"),
            ("a[]]b", "a]b"),
            ("a\\*b", "a*b"),
            ("[a-c-f]", "-"),
            ("[a-c-f]", "f"),
            ("[A-\\]]", "]"),
            ("[a-]", "-"),
            ("arch-*", "arch-6.1.conf"),
            ("*.efi", "x.efi"),
            ("**.efi", "x.efi"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("?", ""),
            ("abc", "abcd"),
            ("a?c", "ac"),
            ("a[b-d]e", "afe"),
            ("[a-c-f]", "d"),
            ("[", "["),
            ("a\\", "a"),
            ("*b", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
