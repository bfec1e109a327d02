//! Event data and digests belong together: a document whose event data says something else than what was hashed was altered.
//!
//! Most event data is what was hashed. Where it only names that (systemd's EFI programs, Linux, GRUB and shim log a label), the
//! name has to be the one that the measurement's other members say.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::document::MeasurementEntry;
use crate::tcg::{Digest, EventType, HashAlgorithm};

/// How the data of a rule's event belongs to its digest.
#[derive(Debug, Clone, Copy)]
enum Relation {
    /// It is what was hashed.
    Hashed,
    /// A name in UTF-16, of which ASCII with a final NUL was hashed; with a section as source it is the section's name.
    SectionName,
    /// What was hashed, behind a tag.
    Tagged(u32),
    /// What was hashed stands between a kind (`grub_cmd: `) and a final NUL.
    BehindKind,
    /// The label of a tag.
    Label(&'static [(u32, LabelText)]),
    /// The description in UTF-16, with a NUL.
    Description,
    /// A word in ASCII with a NUL; the description begins with it.
    Name,
    /// A path in ASCII with a NUL, which the description has behind `file `.
    Path,
}

/// The text behind a tag.
#[derive(Debug, Clone, Copy)]
enum LabelText {
    /// These bytes.
    Bytes(&'static [u8]),
    /// This text in UTF-16, with a NUL.
    Utf16(&'static str),
    /// The rest of the description behind these words, in UTF-16, with a NUL.
    Behind(&'static str),
}

/// By rule. Sources: systemd's `src/boot/measure.c` and `stub.c` (tags: `tpm2-pcr.h`), Linux' `efistub.h`, GRUB's
/// `grub_tpm_measure`, shim's `tpm_log_event`.
const RELATIONS: &[(&str, Relation)] = &[
    ("stub-section", Relation::SectionName),
    ("stub-profile", Relation::Tagged(0x13AE_D6DB)),
    ("stub-archive", Relation::Description),
    ("loader-extra", Relation::Description),
    ("loader-conf", Relation::Label(&[(0xF5BC_582A, LabelText::Utf16("loader.conf"))])),
    (
        "stub-addon-part",
        Relation::Label(&[
            (0x6C46_F751, LabelText::Behind("devicetree of ")),
            (0x49DF_FE0F, LabelText::Behind("initrd of ")),
            (0xDAC0_8E1A, LabelText::Behind("microcode of ")),
        ]),
    ),
    (
        "smbios-structures",
        Relation::Label(&[
            (0xD5CB_7CBC, LabelText::Utf16("smbios:type1")),
            (0xE0D4_7BC8, LabelText::Utf16("smbios:type2")),
            (0xC0B3_BD23, LabelText::Utf16("smbios:type11")),
        ]),
    ),
    (
        "kernel-load-options",
        Relation::Label(&[(0x8F3B_22ED, LabelText::Bytes(b"LOADED_IMAGE::LoadOptions\0"))]),
    ),
    ("kernel-initrd", Relation::Label(&[(0x8F3B_22EC, LabelText::Bytes(b"Linux initrd\0"))])),
    ("grub-command", Relation::BehindKind),
    ("grub-file", Relation::Path),
    ("shim-keys", Relation::Name),
];

/// Types whose data is what was hashed, under whatever rule (TCG PC Client Platform Firmware Profile, "Event Types").
const HASHED: &[EventType] = &[
    EventType::SEPARATOR,
    EventType::EFI_ACTION,
    EventType::S_CRTM_VERSION,
    EventType::EFI_GPT_EVENT,
    EventType::EFI_VARIABLE_DRIVER_CONFIG,
    EventType::EFI_VARIABLE_AUTHORITY,
];

/// Rules with types of general use, whose data is what was hashed.
const HASHED_RULES: &[&str] =
    &["loader-options", "stub-load-options", "stub-addon-cmdline", "stub-smbios-cmdline"];

/// Why the event data does not belong to the digests; `None` where it does, or where nothing is known of its kind (a newer
/// rule's).
pub(super) fn problem(measurement: &MeasurementEntry) -> Option<&'static str> {
    let text = measurement.event_data.as_deref()?;
    let Ok(data) = hex::decode(text) else { return Some("is not hexadecimal") };
    let hashed = |bytes: &[u8]| {
        let mut digests = measurement.digests.iter().flatten();
        digests.all(|(name, text)| {
            let bank = HashAlgorithm::ALL.into_iter().find(|bank| bank.name() == name);
            bank.is_none_or(|bank| Digest::of(bank, bytes).to_string() == *text)
        })
    };
    let (good, problem) = match relation(measurement)? {
        Relation::Hashed => (hashed(&data), "is not what was hashed"),
        Relation::Tagged(tag) => {
            (untagged(&data, tag).is_some_and(hashed), "is not what was hashed, behind its tag")
        }
        Relation::BehindKind => {
            (behind_kind(&data).is_some_and(hashed), "is not what was hashed, behind its kind")
        }
        Relation::SectionName => match (&measurement.source.section, utf16(&data)) {
            (Some(section), name) => {
                (name.is_some_and(|name| name == *section), "is not the name of the section")
            }
            (None, name) => (
                name.is_some_and(|name| hashed(&[name.as_bytes(), b"\0"].concat())),
                "is not the name that was hashed",
            ),
        },
        Relation::Label(labels) => {
            let fits = |(tag, label): &(u32, LabelText)| {
                untagged(&data, *tag).is_some_and(|text| label.is(text, &measurement.description))
            };
            (labels.iter().any(fits), "is not the label of such an event")
        }
        Relation::Description => (
            utf16(&data).is_some_and(|text| text == measurement.description),
            "is not what the description says",
        ),
        Relation::Name => {
            let name = ascii(&data).filter(|name| !name.is_empty());
            let begins =
                |name: &str| measurement.description.strip_prefix(name)?.strip_prefix(", ").map(drop);
            (name.and_then(begins).is_some(), "is not what the description says")
        }
        Relation::Path => {
            let path = measurement.description.strip_prefix("file ");
            (path.is_some() && ascii(&data) == path, "is not what the description says")
        }
    };
    (!good).then_some(problem)
}

fn relation(measurement: &MeasurementEntry) -> Option<Relation> {
    let rule = measurement.rule.as_str();
    let Some(kind) = &measurement.event_type else { return Some(Relation::Hashed) };
    let hashed = EventType::from_name(kind).is_some_and(|kind| HASHED.contains(&kind));
    if hashed || HASHED_RULES.contains(&rule) {
        return Some(Relation::Hashed);
    }
    RELATIONS.iter().find(|(known, _)| *known == rule).map(|(_, relation)| *relation)
}

impl LabelText {
    fn is(self, text: &[u8], description: &str) -> bool {
        match self {
            Self::Bytes(bytes) => text == bytes,
            Self::Utf16(label) => utf16(text).is_some_and(|text| text == label),
            Self::Behind(words) => {
                let name = description.strip_prefix(words);
                name.is_some() && utf16(text).as_deref() == name
            }
        }
    }
}

/// `TCG_PCClientTaggedEvent`: a tag and a length of 32 bits each, little-endian, then so many bytes.
fn untagged(data: &[u8], tag: u32) -> Option<&[u8]> {
    let (found, rest) = data.split_first_chunk::<4>()?;
    let (length, text) = rest.split_first_chunk::<4>()?;
    let whole = usize::try_from(u32::from_le_bytes(*length)).ok()? == text.len();
    (u32::from_le_bytes(*found) == tag && whole).then_some(text)
}

fn behind_kind(data: &[u8]) -> Option<&[u8]> {
    let text = data.strip_suffix(b"\0")?;
    [&b"grub_cmd: "[..], b"kernel_cmdline: "].iter().find_map(|kind| text.strip_prefix(*kind))
}

fn ascii(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data.strip_suffix(b"\0")?).ok()
}

/// A text in UTF-16 (little-endian) with a final NUL.
fn utf16(data: &[u8]) -> Option<String> {
    let text = data.strip_suffix(&[0, 0])?;
    let units: Vec<u16> =
        text.chunks(2).map(|unit| unit.try_into().map(u16::from_le_bytes)).collect::<Result<_, _>>().ok()?;
    String::from_utf16(&units).ok()
}
