//! Command lines: what the stub accepts, how it cleans them up, what it hands to the kernel.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::rules::{Mangle, MeasuredOptions, Printable, StubRules};
use crate::boot::Scenario;

const SPACE: u16 = 0x20;

/// LoadOptions as the stub takes them apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ParsedOptions {
    /// Profile selected by `@N`.
    pub(super) profile: Option<u32>,
    /// The text to measure into PCR 12 and to use, when it replaces `.cmdline`.
    pub(super) accepted: Option<AcceptedOptions>,
}

/// LoadOptions that replace `.cmdline`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AcceptedOptions {
    pub(super) measured: Vec<u16>,
    pub(super) used: Vec<u16>,
}

/// Decides about LoadOptions (systemd `process_arguments`, earlier `use_load_options`).
pub(super) fn parse_load_options(
    options: Option<&[u16]>,
    rules: &StubRules,
    scenario: &Scenario,
    has_command_line: bool,
) -> ParsedOptions {
    let nothing = ParsedOptions::default();
    let Some(options) = options else { return nothing };
    // A terminating NUL always follows, so even an empty text has a first unit: it is not printable.
    let text: Vec<u16> = options.iter().copied().take_while(|unit| *unit != 0).collect();
    let printable = match rules.printable {
        Printable::First => text.first().is_some_and(|unit| *unit > 0x1F),
        Printable::All => !text.is_empty() && text.iter().all(|unit| *unit > 0x1F),
    };
    if !printable {
        return nothing;
    }
    let (profile, text) = if rules.profiles { split_profile(&text) } else { (None, text.as_slice()) };
    let refused = scenario.secure_boot
        && (has_command_line || (rules.refuses_options_in_confidential_vm && scenario.confidential_vm));
    if refused {
        return ParsedOptions { profile, accepted: None };
    }
    let used = mangle(rules.mangle, text);
    // From 257 on an empty text is no command line at all; before, it replaces `.cmdline`.
    let accepted = (!used.is_empty() || !rules.profiles).then(|| AcceptedOptions {
        measured: if rules.measures_options == MeasuredOptions::Raw { text.to_vec() } else { used.clone() },
        used,
    });
    ParsedOptions { profile, accepted }
}

/// `@N` at the start, followed by the end or exactly one space, which goes with it.
fn split_profile(text: &[u16]) -> (Option<u32>, &[u16]) {
    let unchanged = (None, text);
    let Some((&at, rest)) = text.split_first() else { return unchanged };
    if at != u16::from(b'@') {
        return unchanged;
    }
    let digits = rest.iter().take_while(|unit| (0x30..=0x39).contains(*unit)).count();
    let (number, rest) = rest.split_at(digits);
    let number: String = number.iter().filter_map(|unit| char::from_u32(u32::from(*unit))).collect();
    let Ok(number) = number.parse() else { return unchanged };
    match rest.split_first() {
        None => (Some(number), rest),
        Some((&SPACE, [])) => (Some(number), &[]),
        Some((&SPACE, more)) => (Some(number), more),
        Some(_) => unchanged,
    }
}

/// Cleans up a command line that is not the one of `.cmdline`.
pub(in crate::boot) fn mangle(how: Mangle, text: &[u16]) -> Vec<u16> {
    let blank = |unit: u16| unit <= SPACE || unit == 0x7F;
    match how {
        Mangle::AsciiOnly => {
            text.iter().map(|unit| if (0x20..=0x7E).contains(unit) { *unit } else { SPACE }).collect()
        }
        Mangle::ControlToSpace => text.iter().map(|unit| if *unit <= 0x1F { SPACE } else { *unit }).collect(),
        Mangle::ControlToSpaceTrimEnd => {
            let mut text = mangle(Mangle::ControlToSpace, text);
            let end = text.iter().rposition(|unit| *unit != SPACE).map_or(0, |last| last.saturating_add(1));
            text.truncate(end);
            text
        }
        Mangle::TrimUnsafe | Mangle::Trim => {
            let start = text.iter().position(|unit| !blank(*unit)).unwrap_or(text.len());
            let end =
                text.iter().rposition(|unit| !blank(*unit)).map_or(start, |last| last.saturating_add(1));
            let inner = text.get(start..end).unwrap_or_default();
            inner.iter().map(|unit| if blank(*unit) { SPACE } else { *unit }).collect()
        }
    }
}

/// Why a section's text can't be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::boot) enum TextProblem {
    /// Bytes that are not UTF-8. systemd's decoder resynchronises in a way of its own.
    NotUtf8,
    /// All blank: 255 and 256 then read past the end of the text.
    Blank,
}

/// A section's text as UTF-16, up to the first NUL. Code points above U+FFFF are dropped, as systemd's decoder does
/// (`xstrn8_to_16`).
pub(in crate::boot) fn decode(bytes: &[u8]) -> Result<Vec<u16>, TextProblem> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|_| TextProblem::NotUtf8)?;
    Ok(text.chars().filter_map(|character| u16::try_from(u32::from(character)).ok()).collect())
}

/// `.cmdline` as the stub uses it: decoded and cleaned up.
pub(in crate::boot) fn section_command_line(bytes: &[u8], how: Mangle) -> Result<Vec<u16>, TextProblem> {
    let text = decode(bytes)?;
    match how {
        Mangle::AsciiOnly => Ok(text),
        Mangle::TrimUnsafe if mangle(how, &text).is_empty() => Err(TextProblem::Blank),
        _ => Ok(mangle(how, &text)),
    }
}

/// Appends `more` with one space between, unless one of both is empty.
pub(super) fn append(base: &mut Option<Vec<u16>>, more: &[u16]) {
    if more.is_empty() {
        return;
    }
    let text = base.get_or_insert_default();
    if !text.is_empty() {
        text.push(SPACE);
    }
    text.extend_from_slice(more);
}

/// Joins texts with one space.
pub(super) fn join(parts: &[Vec<u16>]) -> Vec<u16> {
    parts.join(&SPACE)
}

/// A word of the command line begins with `prefix`.
pub(in crate::boot) fn has_word(text: &[u16], prefix: &str) -> bool {
    let prefix: Vec<u16> = prefix.encode_utf16().collect();
    text.split(|unit| *unit <= SPACE).any(|word| word.starts_with(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::utf16_units;
    use crate::uki::SystemdVersion;

    fn rules(version: &str) -> &'static StubRules {
        let version: SystemdVersion = version.parse().expect("a version");
        StubRules::of(&version).expect("rules")
    }

    fn parse(version: &str, options: &str, secure_boot: bool, has_command_line: bool) -> ParsedOptions {
        let scenario = Scenario { secure_boot, ..Scenario::default() };
        parse_load_options(Some(&utf16_units(options)), rules(version), &scenario, has_command_line)
    }

    fn used(version: &str, options: &str) -> Option<String> {
        let accepted = parse(version, options, false, true).accepted?;
        Some(String::from_utf16_lossy(&accepted.used))
    }

    #[test]
    fn the_clean_up_depends_on_the_version() {
        let text = " a\tb  c \n";
        assert_eq!(used("252.1", text).as_deref(), Some(" a b  c  "));
        assert_eq!(used("252.4", text).as_deref(), Some(" a b  c  "));
        assert_eq!(used("252.6", text).as_deref(), Some(" a b  c"));
        assert_eq!(used("254", text).as_deref(), Some(" a b  c"));
        assert_eq!(used("255", text).as_deref(), Some("a b  c"));
        assert_eq!(used("257", text).as_deref(), Some("a b  c"));
        // From 259 on a control character anywhere refuses the whole.
        assert_eq!(used("259", text), None);
        assert_eq!(used("259", " a b ").as_deref(), Some("a b"));
    }

    #[test]
    fn what_252_measures_changed_in_its_third_point_release() {
        let measured =
            |version| parse(version, "a\u{e9}\n", false, true).accepted.expect("accepted").measured;
        assert_eq!(measured("252.2"), utf16_units("a\u{e9}\n"));
        assert_eq!(measured("252.3"), utf16_units("a\u{e9} "));
    }

    #[test]
    fn secure_boot_refuses_options_but_not_profiles() {
        assert_eq!(parse("257", "@2 quiet", true, true), ParsedOptions { profile: Some(2), accepted: None });
        assert!(parse("257", "quiet", true, false).accepted.is_some());
        assert_eq!(parse("254", "quiet", true, true).accepted, None);
        assert!(parse("254", "quiet", false, true).accepted.is_some());
    }

    #[test]
    fn a_profile_selector_is_strict() {
        let profile = |text| parse("257", text, false, true).profile;
        assert_eq!(profile("@1"), Some(1));
        assert_eq!(profile("@1 x"), Some(1));
        for text in ["@", "@1x", " @1", "@1\tx", "@99999999999", "1"] {
            assert_eq!(profile(text), None, "{text}");
        }
        // Exactly one space goes with the selector; what is left is cleaned up as any command line.
        let accepted = parse("257", "@1  x", false, true).accepted.expect("accepted");
        assert_eq!(accepted.used, utf16_units("x"));
        assert_eq!(parse("257", "@1 ", false, true).accepted, None);
        assert_eq!(parse("256", "@1", false, true).profile, None);
    }
}
