//! GRUB's share of a recorded boot: what it ran and opened, in order. No part of a profile, since the image decides it.

use crate::tcg::event_data::{self, EventData};
use crate::tcg::eventlog::{Event, EventLog, RegisterKind};
use crate::tcg::{Digest, DigestSet, EventType, HashAlgorithm};

/// Most events that are taken: a long `grub.cfg` makes a few thousand.
const MAX_EVENTS: usize = 50_000;
const COMMAND: &str = "grub_cmd: ";
const COMMAND_LINE: &str = "kernel_cmdline: ";
/// `LOAD_OPTIONS_EVENT_TAG_ID` and `INITRD_EVENT_TAG_ID` of Linux `drivers/firmware/efi/libstub/efistub.h`.
const OPTIONS_TAG: u32 = 0x8F3B_22ED;
const INITRD_TAG: u32 = 0x8F3B_22EC;

/// A recorded boot by GRUB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedGrub {
    /// Banks that every event has a digest of.
    pub banks: Vec<HashAlgorithm>,
    /// Images that were started up to GRUB, itself last: PCR 4.
    pub images: Vec<DigestSet>,
    /// The file that the last of these was loaded from, with backslashes; `None` where the log does not say.
    pub file: Option<String>,
    /// What followed, in order.
    pub events: Vec<GrubEvent>,
    /// Secure Boot was on; `None` where the log does not show it.
    pub secure_boot: Option<bool>,
}

/// One event since GRUB ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrubEvent {
    /// Its number in the log.
    pub number: u32,
    /// What it is.
    pub kind: GrubEventKind,
    /// What was extended.
    pub digests: DigestSet,
}

/// Kinds of such events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrubEventKind {
    /// A command: its words after expansion. PCR 8.
    Command(String),
    /// The command line of a kernel, its path in front. PCR 8.
    CommandLine(String),
    /// A file was opened under this name. PCR 9.
    File(String),
    /// An image was measured. PCR 4.
    Image,
    /// The kernel's EFI stub measured its `LoadOptions`. PCR 9.
    LoadOptions,
    /// The kernel's EFI stub measured its initrd. PCR 9.
    Initrd,
}

impl RecordedGrub {
    /// Takes GRUB's events out of a log; `None` when no GRUB ran that measures what it does.
    ///
    /// # Errors
    /// Why it can't be used: events that are not as upstream's GRUB since 2.04 logs them, or of other programs.
    pub fn from_log(log: &EventLog<'_>, secure_boot: Option<bool>) -> Option<Result<Self, String>> {
        let starts =
            |event: &Event<'_>| event.register == 8 && event.data.starts_with(COMMAND.trim_end().as_bytes());
        if log.register_kind() != RegisterKind::Pcr || !log.events().any(|event| starts(&event)) {
            return None;
        }
        let banks: Vec<HashAlgorithm> = log.banks().collect();
        let mut found = Self { banks, images: Vec::new(), file: None, events: Vec::new(), secure_boot };
        for event in log.events().filter(|event| event.event_type != EventType::NO_ACTION) {
            if let Err(why) = found.take(&event) {
                return Some(Err(format!("event {}: {why}", event.number)));
            }
        }
        Some(Ok(found))
    }

    fn take(&mut self, event: &Event<'_>) -> Result<(), String> {
        let kind = match (event.register, event.event_type) {
            (4, EventType::EFI_BOOT_SERVICES_APPLICATION) => GrubEventKind::Image,
            (8 | 9, EventType::SEPARATOR) | (4, EventType::EFI_ACTION | EventType::SEPARATOR) => {
                return Ok(());
            }
            (4, other) => return Err(format!("{other} in PCR 4 is not followed")),
            (8, EventType::IPL) => text_kind(event)?,
            (9, EventType::IPL) => GrubEventKind::File(file_name(event)?),
            (9, EventType::EVENT_TAG) => tag_kind(event)?,
            (8 | 9 | 11 | 12 | 13, other) => {
                return Err(format!("{other} in PCR {} is no event of GRUB's", event.register));
            }
            _ => return Ok(()),
        };
        let digests: Option<DigestSet> = self.banks.iter().map(|bank| event.digest(*bank)).collect();
        let digests = digests.ok_or("lacks the digest of a bank")?;
        match &kind {
            GrubEventKind::Command(text) | GrubEventKind::CommandLine(text)
                if digests.iter().any(|digest| Digest::of(digest.algorithm(), text.as_bytes()) != digest) =>
            {
                return Err("its text is not what was measured".to_owned());
            }
            GrubEventKind::Image if self.events.is_empty() => {
                self.images.push(digests);
                let data =
                    event_data::decode(event.event_type, event.data, event_data::Context::default()).data;
                self.file = match data {
                    EventData::ImageLoad(image) => image.path.file(),
                    _ => None,
                };
                return Ok(());
            }
            _ => {}
        }
        if self.events.len() >= MAX_EVENTS {
            return Err(format!("there are more than {MAX_EVENTS} events of GRUB's"));
        }
        self.events.push(GrubEvent { number: event.number, kind, digests });
        Ok(())
    }
}

/// The text up to its NUL: where the log is made for a confidential guest, a byte of no meaning follows.
fn text(event: &Event<'_>) -> Result<String, String> {
    let bytes = event.data.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(bytes.to_vec()).map_err(|_| "its text is not UTF-8".to_owned())
}

fn text_kind(event: &Event<'_>) -> Result<GrubEventKind, String> {
    let text = text(event)?;
    if let Some(command) = text.strip_prefix(COMMAND) {
        return Ok(GrubEventKind::Command(command.to_owned()));
    }
    let line = text.strip_prefix(COMMAND_LINE);
    line.map(|line| GrubEventKind::CommandLine(line.to_owned()))
        .ok_or_else(|| "is neither a command nor the command line of a Linux kernel".to_owned())
}

fn file_name(event: &Event<'_>) -> Result<String, String> {
    let name = text(event)?;
    if name.starts_with(['/', '(']) { Ok(name) } else { Err("is not named as a file of GRUB's".to_owned()) }
}

fn tag_kind(event: &Event<'_>) -> Result<GrubEventKind, String> {
    match event.data.first_chunk().map(|id| u32::from_le_bytes(*id)) {
        Some(OPTIONS_TAG) => Ok(GrubEventKind::LoadOptions),
        Some(INITRD_TAG) => Ok(GrubEventKind::Initrd),
        _ => Err("is not one of the kernel's EFI stub".to_owned()),
    }
}
