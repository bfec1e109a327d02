//! From events that differ to causes: what each difference is about, and which differences follow from others.
//!
//! A changed section is in PCR 11, in the image digest in PCR 4, and through the initrd or the command line in PCR 9: that is
//! one cause. So the differences that can only follow from others (image of the UKI, kernel's command line, initrd) are
//! taken last, and go to a cause that is there already.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod follow;

use std::collections::{BTreeMap, BTreeSet};

use super::align::{AlignedEvent, EventStatus};
use super::causes::{Cause, Code};
use super::model::Event;
use super::nearest::Pair;
use super::topic::Topic;
use crate::tcg::PcrIndex;
use crate::tcg::event_data::{Context, EventData, VariableContent, decode};
use crate::uefi::gpt::GptData;

use follow::{initrd, kernel_options, options};

/// Most events that one cause names.
const MAX_NAMED: usize = 6;

/// A difference.
struct Row<'e> {
    pcr: PcrIndex,
    status: EventStatus,
    expected: Option<&'e Event>,
    observed: Option<&'e Event>,
}

impl<'e> Row<'e> {
    /// What it is about: as expected, or else as observed.
    fn topic(&self) -> Option<&'e Topic> {
        self.expected.or(self.observed).map(|event| &event.topic)
    }

    fn says(&self) -> String {
        let what = |event: Option<&Event>| event.map(|event| event.what.clone()).unwrap_or_default();
        match self.status {
            EventStatus::Missing => format!("{} is missing", what(self.expected)),
            EventStatus::Added => format!("{} was added", what(self.observed)),
            _ => match (self.expected, self.observed) {
                (Some(one), Some(other)) if one.topic != other.topic => {
                    format!("{} instead of {}", other.what, one.what)
                }
                _ => format!("{} has another digest", what(self.expected.or(self.observed))),
            },
        }
    }
}

/// A cause under way: its registers, what it names, and how much more there is.
#[derive(Default)]
struct Found {
    pcrs: BTreeSet<PcrIndex>,
    details: Vec<String>,
    more: usize,
}

/// Causes under way.
#[derive(Default)]
struct Causes {
    found: BTreeMap<Code, Found>,
}

impl Causes {
    fn add(&mut self, code: Code, pcr: PcrIndex, detail: String) {
        let found = self.found.entry(code).or_default();
        found.pcrs.insert(pcr);
        if found.details.contains(&detail) {
            return;
        }
        if found.details.len() < MAX_NAMED {
            found.details.push(detail);
        } else {
            found.more = found.more.saturating_add(1);
        }
    }

    /// Lets the row belong to those of `codes` that were found; false when there are none.
    fn follow(&mut self, codes: &[Code], pcr: PcrIndex) -> bool {
        let mut any = false;
        for code in codes {
            if let Some(found) = self.found.get_mut(code) {
                found.pcrs.insert(pcr);
                any = true;
            }
        }
        any
    }

    fn has(&self, code: Code) -> bool {
        self.found.contains_key(&code)
    }
}

/// The causes of the differences in `open` registers. All rows are looked at: a register that does not differ may tell what
/// a difference elsewhere means.
pub(super) fn causes(pair: &Pair<'_>, rows: &[AlignedEvent], open: &[PcrIndex]) -> Vec<Cause> {
    let (expected, observed) = pair.sides();
    let different = rows.iter().filter(|row| row.is_different());
    let different: Vec<Row<'_>> = different
        .map(|row| Row {
            pcr: row.pcr,
            status: row.status,
            expected: row.expected.and_then(|index| expected.get(index)),
            observed: row.observed.and_then(|index| observed.get(index)),
        })
        .collect();
    let mut causes = Causes::default();
    let keys_differ = different.iter().any(is_about_keys);
    let reordered = in_another_order(pair, (expected, observed));
    for row in &different {
        let code = match row.topic() {
            Some(Topic::SectionName(_) | Topic::Section(_)) if reordered => Some(Code::SectionOrder),
            Some(topic) if is_again(topic, row, expected) => Some(Code::Additional),
            Some(Topic::SecureBootVariable(name)) if name == "dbx" => Some(dbx(row, keys_differ)),
            topic => topic.and_then(|topic| primary(topic, row)),
        };
        if let Some(code) = code {
            causes.add(code, row.pcr, row.says());
        }
    }
    let has_sections = observed.iter().any(|event| matches!(event.topic, Topic::Section(_)));
    for row in &different {
        match row.topic() {
            Some(Topic::Kernel) => kernel_image(pair, row, observed, &mut causes),
            Some(Topic::Uki) => uki_image(row, has_sections, &mut causes),
            Some(Topic::Authority(_)) if !causes.follow(&[Code::SecureBoot], row.pcr) => {
                causes.add(Code::Authority, row.pcr, row.says());
            }
            Some(Topic::Options) => options(row, (expected, observed), &different, &mut causes),
            _ => {}
        }
    }
    for row in &different {
        match row.topic() {
            Some(Topic::KernelOptions) => kernel_options(row, (expected, observed), &mut causes),
            Some(Topic::Initrd) => initrd(row, &mut causes),
            _ => {}
        }
    }
    let found = causes.found.into_iter();
    found.filter_map(|(code, found)| cause(pair, code, &found, open)).collect()
}

fn cause(pair: &Pair<'_>, code: Code, found: &Found, open: &[PcrIndex]) -> Option<Cause> {
    let pcrs: Vec<PcrIndex> = found.pcrs.iter().filter(|pcr| open.contains(pcr)).copied().collect();
    if pcrs.is_empty() {
        return None;
    }
    let mut detail = found.details.join("; ");
    if found.more > 0 {
        detail.push_str(&format!("; and {} more", found.more));
    }
    let explains_exactly = pcrs.iter().all(|pcr| pair.log_leads_to_value(*pcr));
    Some(Cause { code, pcrs, explains_exactly, detail })
}

/// What a difference is in itself; `None` for those that follow from others.
fn primary(topic: &Topic, row: &Row<'_>) -> Option<Code> {
    Some(match topic {
        Topic::Separator => Code::Separator,
        Topic::OsSeparator | Topic::NvPcrSeparator => Code::Barrier,
        Topic::Phase(_) => Code::Phase,
        Topic::Action(text) if text.contains("EFI Application from Boot Option") => Code::BootAttempt,
        Topic::Action(text) if text.starts_with("Exit Boot Services") => Code::ExitBootServices,
        Topic::Loader => Code::Loader,
        Topic::Addon | Topic::AddonPart => Code::Addon,
        Topic::Driver => Code::Driver,
        Topic::Image(_) => Code::Image,
        Topic::SecureBootVariable(name) => match name.as_str() {
            "SecureBoot" => Code::SecureBoot,
            _ => Code::SecureBootKeys,
        },
        Topic::BootVariable(_) | Topic::Smbios => Code::FirmwareConfig,
        Topic::PartitionTable => partition_table(row),
        Topic::LoaderConf => Code::LoaderConf,
        Topic::SectionName(name) | Topic::Section(name) => section(name, row),
        Topic::Profile => Code::Profile,
        Topic::Archive(name) if name.to_lowercase().contains("credential") => Code::Credential,
        Topic::Archive(_) => Code::Extension,
        Topic::Identity(_) => Code::Identity,
        Topic::Grub => Code::Grub,
        Topic::Mok(_) => Code::Shim,
        Topic::FirmwareCode => Code::FirmwareCode,
        Topic::Other(pcr) => match (pcr.get(), row.status) {
            (0, _) => Code::FirmwareCode,
            (1 | 6, _) => Code::FirmwareConfig,
            (2 | 3, _) => Code::Driver,
            (_, EventStatus::Missing) => Code::NotMeasured,
            (_, EventStatus::Added) => Code::Additional,
            _ => Code::Other,
        },
        Topic::Ima | Topic::Action(_) => match row.status {
            EventStatus::Missing => Code::NotMeasured,
            _ => Code::Additional,
        },
        Topic::Kernel
        | Topic::Uki
        | Topic::Authority(_)
        | Topic::Options
        | Topic::KernelOptions
        | Topic::Initrd => return None,
    })
}

/// Variables that make up the keys, dbx aside.
fn is_about_keys(row: &Row<'_>) -> bool {
    matches!(row.topic(), Some(Topic::SecureBootVariable(name)) if !matches!(name.as_str(), "dbx" | "SecureBoot"))
}

/// A boot measures each variable and its partition table once: one more of them is no other one.
fn is_again(topic: &Topic, row: &Row<'_>, expected: &[Event]) -> bool {
    let once = matches!(
        topic,
        Topic::SecureBootVariable(_) | Topic::BootVariable(_) | Topic::PartitionTable | Topic::LoaderConf
    );
    let is_expected = |event: &Event| event.pcr == row.pcr && event.topic == *topic;
    once && row.status == EventStatus::Added && expected.iter().any(is_expected)
}

/// PCR 11 has the same measurements on both sides, in another order.
fn in_another_order(pair: &Pair<'_>, (expected, observed): (&[Event], &[Event])) -> bool {
    let of = |events: &[Event]| {
        let sections = events.iter().filter(|event| {
            event.pcr.get() == 11 && matches!(event.topic, Topic::SectionName(_) | Topic::Section(_))
        });
        sections.map(|event| event.digests.get(pair.bank)).collect::<Option<Vec<_>>>()
    };
    let (Some(mut ours), Some(mut theirs)) = (of(expected), of(observed)) else { return false };
    let differ = ours != theirs;
    ours.sort_unstable();
    theirs.sort_unstable();
    differ && ours == theirs
}

/// An empty dbx on one side while other keys differ: they are gone or there are first ones, which is more than an update.
fn dbx(row: &Row<'_>, keys_differ: bool) -> Code {
    let is_empty = |event: Option<&Event>| {
        let event = event?;
        let decoded = decode(event.event_type?, event.data.as_deref()?, Context::default()).data;
        match decoded {
            EventData::Variable(variable) => Some(matches!(variable.content, VariableContent::Empty)),
            _ => None,
        }
    };
    match (is_empty(row.expected), is_empty(row.observed)) {
        (Some(true), _) | (_, Some(true)) if keys_differ => Code::SecureBootKeys,
        _ => Code::Dbx,
    }
}

fn section(name: &str, row: &Row<'_>) -> Code {
    match (name, row.status) {
        (".linux", _) => Code::Kernel,
        (".initrd" | ".ucode", EventStatus::Changed) => Code::Initrd,
        (".cmdline", _) => Code::CommandLine,
        (".profile", EventStatus::Changed) => Code::Profile,
        _ => Code::Section,
    }
}

/// Only what growing a disk changes: the place of the backup table, and with it the end of the usable area and of the last
/// partition (UEFI, section 5.3.2).
fn partition_table(row: &Row<'_>) -> Code {
    let (Some(one), Some(other)) = (row.expected, row.observed) else { return Code::PartitionTable };
    let (Some(one), Some(other)) = (&one.data, &other.data) else { return Code::PartitionTable };
    match has_grown(one, other) {
        true => Code::PartitionTableGrown,
        false => Code::PartitionTable,
    }
}

/// The second `UEFI_GPT_DATA` is the first one on a larger disk.
pub(super) fn has_grown(one: &[u8], other: &[u8]) -> bool {
    let read = |data| GptData::read(crate::bytes::Reader::new(data)).ok();
    let (Some(one), Some(other)) = (read(one), read(other)) else { return false };
    let mut header = other.header.clone();
    header.alternate_lba = one.header.alternate_lba;
    header.last_usable_lba = one.header.last_usable_lba;
    let grew = other.header.alternate_lba > one.header.alternate_lba
        || other.header.last_usable_lba > one.header.last_usable_lba;
    let mut entries = other.entries.clone();
    let last = (0..entries.len()).max_by_key(|index| entries.get(*index).map(|entry| entry.starting_lba));
    if let Some(last) = last
        && let (Some(entry), Some(old)) = (entries.get_mut(last), one.entries.get(last))
        && entry.ending_lba > old.ending_lba
    {
        entry.ending_lba = old.ending_lba;
    }
    grew && header == one.header && entries == one.entries
}

/// A kernel that the firmware measured: another one, or measured where it is not expected to be, which Secure Boot and the
/// stub's version decide.
fn kernel_image(pair: &Pair<'_>, row: &Row<'_>, observed: &[Event], causes: &mut Causes) {
    match row.status {
        EventStatus::Changed => causes.add(Code::Kernel, row.pcr, row.says()),
        _ if causes.follow(&[Code::SecureBoot], row.pcr) => {}
        EventStatus::Missing if secure_boot_is_on(observed) && pair.candidate.secure_boot != Some(true) => {
            let detail = "Secure Boot is on: the stub starts its kernel without the firmware measuring it";
            causes.add(Code::SecureBoot, row.pcr, detail.to_owned());
        }
        EventStatus::Added if pair.candidate.secure_boot == Some(true) => {
            let detail = "Secure Boot is off: the firmware measures the kernel that the stub starts";
            causes.add(Code::SecureBoot, row.pcr, detail.to_owned());
        }
        EventStatus::Missing => {
            causes.add(
                Code::Stub,
                row.pcr,
                "the stub started its kernel without the firmware measuring it".to_owned(),
            );
        }
        _ => causes.add(Code::Stub, row.pcr, "the stub had the firmware measure its kernel".to_owned()),
    }
}

fn secure_boot_is_on(events: &[Event]) -> bool {
    events.iter().any(|event| {
        let is_variable = event.topic == Topic::SecureBootVariable("SecureBoot".to_owned());
        is_variable && event.data.as_deref().and_then(<[u8]>::last) == Some(&1) && event.what.ends_with('1')
    })
}

/// The image digest of a UKI covers all of its sections. If none of those in PCR 11 differs, it is what PCR 11 does not cover.
fn uki_image(row: &Row<'_>, has_sections: bool, causes: &mut Causes) {
    let contents = [Code::Kernel, Code::Initrd, Code::CommandLine, Code::Section, Code::Sbat];
    let section_differs = contents.iter().any(|code| causes.has(*code));
    match (row.status, section_differs) {
        (EventStatus::Changed, true) => {
            causes.follow(&contents, row.pcr);
            causes.add(Code::Uki, row.pcr, row.says());
        }
        (EventStatus::Changed, false) if has_sections && !causes.has(Code::Profile) => {
            let detail = "the image digest differs, but no section that PCR 11 covers does: the stub's code, .pcrsig or \
                          another section that is not measured by itself";
            causes.add(Code::Stub, row.pcr, detail.to_owned());
        }
        _ => causes.add(Code::Uki, row.pcr, row.says()),
    }
}
