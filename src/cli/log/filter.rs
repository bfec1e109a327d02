//! What `log show` leaves out, and banks that were asked for. A filter that nothing can pass is a mistake, and is said to be one:
//! an empty table looks like nothing to see.

use crate::cli::output::hinted;
use crate::tcg::cel::Record;
use crate::tcg::timeline::{self, BootLog};
use crate::tcg::{EventType, HashAlgorithm};

/// Content types that canonical logs have (CEL 1.1, section 4.2), and those of their writers.
const CONTENT_TYPES: [&str; 5] = ["systemd", "ima_template", "ima_tlv", "cel", "cos"];

/// A record is of a type that was asked for.
pub(super) fn is_of_type(record: &Record<'_>, wanted: &str) -> bool {
    match record.event_type() {
        Some(event_type) => is_type(event_type, wanted),
        None => record.content_type() == wanted,
    }
}

fn is_type(event_type: EventType, wanted: &str) -> bool {
    let is_named = |name: &str| forms(name).any(|form| form.eq_ignore_ascii_case(wanted));
    number(wanted) == Some(event_type.0) || event_type.name().is_some_and(is_named)
}

fn number(wanted: &str) -> Option<u32> {
    match wanted.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => wanted.parse().ok(),
    }
}

/// A type's name as the specification has it, and as people and the table shorten it.
fn forms(name: &str) -> impl Iterator<Item = &str> {
    [Some(name), name.strip_prefix("EV_"), name.strip_prefix("EV_EFI_")].into_iter().flatten()
}

fn names() -> impl Iterator<Item = &'static str> {
    EventType::all().filter_map(EventType::name)
}

/// Refuses types that neither the specification nor a log has.
pub(super) fn known_types(logs: &[BootLog<'_>], wanted: &[String]) -> anyhow::Result<()> {
    let is_known = |wanted: &String| {
        number(wanted).is_some()
            || CONTENT_TYPES.contains(&wanted.as_str())
            || EventType::all().any(|event_type| is_type(event_type, wanted))
            // Canonical logs may name content types of their own.
            || logs.iter().flat_map(BootLog::held).flatten().any(|record| is_of_type(record, wanted))
    };
    let Some(unknown) = wanted.iter().find(|wanted| !is_known(wanted)) else { return Ok(()) };
    let accepted = format!(
        "names as EV_SEPARATOR, also without EV_ or EV_EFI_, numbers as 0x80000001, and {}",
        CONTENT_TYPES.join(", ")
    );
    let hint = match nearest(unknown).as_slice() {
        [] => accepted,
        near => format!("did you mean {}? Accepted are {accepted}", near.join(" or ")),
    };
    Err(hinted(format!("--type {unknown}: there is no such type"), hint))
}

/// Up to three names that are written much like this, the most alike first.
fn nearest(unknown: &str) -> Vec<&'static str> {
    // Below this, words only share some letters.
    const ALIKE: f64 = 0.75;
    let unknown = unknown.to_ascii_uppercase();
    let likeness = |name: &'static str| {
        forms(name).map(|form| strsim::normalized_damerau_levenshtein(form, &unknown)).fold(0.0, f64::max)
    };
    let mut near: Vec<(f64, &'static str)> = names().map(|name| (likeness(name), name)).collect();
    near.retain(|(likeness, _)| *likeness >= ALIKE);
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().map(|(_, name)| name).take(3).collect()
}

/// Refuses banks that no log has.
pub(super) fn known_banks(logs: &[BootLog<'_>], wanted: &[HashAlgorithm]) -> anyhow::Result<()> {
    // Of one boot: what is computed for IMA's log is no bank of its own.
    let known = timeline::banks(logs);
    match wanted.iter().find(|bank| !known.contains(bank)) {
        Some(bank) => Err(unknown_bank(*bank, &known)),
        None => Ok(()),
    }
}

pub(super) fn unknown_bank(bank: HashAlgorithm, known: &[HashAlgorithm]) -> anyhow::Error {
    let names: Vec<&str> = known.iter().map(|bank| bank.name()).collect();
    let hint = format!("banks of the logs: {}", names.join(", "));
    hinted(format!("--bank {bank}: no log has digests of it"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_are_offered() {
        assert_eq!(nearest("EV_SEPERATOR"), ["EV_SEPARATOR"]);
        assert_eq!(nearest("efi_varible_boot").first(), Some(&"EV_EFI_VARIABLE_BOOT"));
        assert!(nearest("grub").is_empty());
    }

    #[test]
    fn the_forms_of_the_table_are_accepted() {
        for wanted in ["EV_EFI_GPT_EVENT", "efi_gpt_event", "GPT_EVENT", "0x80000006", "2147483654"] {
            assert!(is_type(EventType::EFI_GPT_EVENT, wanted), "{wanted}");
        }
        assert!(!is_type(EventType::EFI_GPT_EVENT2, "GPT_EVENT"));
    }
}
