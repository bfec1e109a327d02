//! Differences that follow from others: command lines, and the initrd.

use std::collections::BTreeSet;

use super::{Causes, Row};
use crate::compare::align::EventStatus;
use crate::compare::causes::Code;
use crate::compare::changes::{command_line_text, command_lines, is_text};
use crate::compare::model::{Author, Event, is_selector};
use crate::compare::topic::Topic;
use crate::tcg::event_data::{Context, EventData, decode};

/// A command line in PCR 12: whose it is the expected side says; of an observed one it shows by what else is in the log, and
/// by what the kernel's own command line became.
pub(super) fn options(row: &Row<'_>, sides: (&[Event], &[Event]), all: &[Row<'_>], causes: &mut Causes) {
    let command_line_differs =
        all.iter().any(|row| matches!(row.topic(), Some(Topic::Section(name)) if name == ".cmdline"));
    let loader_differs = causes.has(Code::Loader) || causes.has(Code::Uki);
    let passed_on = |event: &Event, side: &[Event]| {
        let text = text_of(Some(event)).unwrap_or_default();
        loader_differs && kernel_options_of(side).is_some_and(|kernel| is_text(kernel, &text))
    };
    let expected = row.expected.map(|event| match event.author() {
        Some(Author::Addons) => Code::Addon,
        Some(Author::Smbios) => Code::Smbios,
        Some(Author::Profile) => Code::Profile,
        // The embedded command line was passed on, or is passed on no more: boot loaders up to 254 do.
        _ if passed_on(event, sides.0) => Code::Loader,
        _ => Code::Options,
    });
    let observed = row.observed.map(|event| {
        let text = text_of(Some(event)).unwrap_or_default();
        let kernel = kernel_options_of(sides.1);
        if sides.1.iter().any(|event| event.topic == Topic::Addon) {
            Code::Addon
        } else if is_selector(&text) {
            Code::Profile
        } else if passed_on(event, sides.1) {
            Code::Loader
        } else if kernel.is_some_and(|kernel| !is_text(kernel, &text)) {
            // LoadOptions replace the embedded text; what comes on top of it is what SMBIOS has.
            Code::Smbios
        } else {
            Code::Options
        }
    });
    let both_passed = expected == Some(Code::Loader) && observed == Some(Code::Loader);
    if both_passed && command_line_differs {
        return causes.add(Code::CommandLine, row.pcr, row.says());
    }
    let codes: BTreeSet<Code> = expected.into_iter().chain(observed).collect();
    codes.into_iter().for_each(|code| causes.add(code, row.pcr, row.says()));
}

fn kernel_options_of(events: &[Event]) -> Option<&Event> {
    events.iter().find(|event| event.topic == Topic::KernelOptions)
}

fn text_of(event: Option<&Event>) -> Option<String> {
    let event = event?;
    match decode(event.event_type?, event.data.as_deref()?, Context::default()).data {
        EventData::Text(text) => Some(text.text.into_owned()),
        _ => None,
    }
}

/// The kernel's command line follows from all that makes one.
pub(super) fn kernel_options(row: &Row<'_>, (expected, observed): (&[Event], &[Event]), causes: &mut Causes) {
    let makers = [Code::CommandLine, Code::Options, Code::Smbios, Code::Addon, Code::Profile];
    if causes.follow(&makers, row.pcr) {
        return;
    }
    let ours = row.expected.and_then(command_line_text);
    let lines = command_lines(Some(expected), observed);
    let found = row.observed.and_then(|event| lines.iter().find(|text| is_text(event, text)));
    let detail = match (row.status, ours, found) {
        (EventStatus::Changed, Some(ours), Some(found)) => {
            format!("the kernel's command line is \"{found}\", expected \"{ours}\"")
        }
        (EventStatus::Changed, Some(ours), None) => {
            format!("the kernel's command line is not \"{ours}\"")
        }
        _ => row.says(),
    };
    let code = match row.status {
        EventStatus::Changed => Code::CommandLine,
        EventStatus::Missing => Code::NotMeasured,
        _ => Code::Additional,
    };
    if code == Code::CommandLine || !causes.follow(&[Code::Kernel, Code::Loader, Code::Grub], row.pcr) {
        causes.add(code, row.pcr, detail);
    }
}

/// The initrd that the kernel gets is made of sections, credentials, extensions and addons.
pub(super) fn initrd(row: &Row<'_>, causes: &mut Causes) {
    let makers = [Code::Initrd, Code::Credential, Code::Extension, Code::Section, Code::Sbat, Code::Profile];
    if causes.follow(&makers, row.pcr) {
        return;
    }
    match row.status {
        EventStatus::Changed => causes.add(Code::Initrd, row.pcr, row.says()),
        _ if causes.follow(&[Code::Kernel, Code::Loader, Code::Grub], row.pcr) => {}
        EventStatus::Missing => causes.add(Code::NotMeasured, row.pcr, row.says()),
        _ => causes.add(Code::Additional, row.pcr, row.says()),
    }
}
