//! What systemd-boot from 261 on brings along for a UKI: the files of an entry's `extra` lines, packed and measured, and its
//! `initrd` lines. Both become an initrd that the stub finds and puts before its own.

use super::cpio::{Archive, Target};
use super::measurement::{Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::text::{utf16_nul, utf16_units};
use super::{CompanionFile, EntryFile, InputId};
use crate::hashing::Segment;
use crate::tcg::{EventType, PcrIndex};

const EXTRA: Rule = Rule {
    id: "loader-extra",
    statement: "systemd-boot packs the files of an entry's extra lines, credentials, system and configuration extensions each \
                by themselves, and measures these archives",
    source: "systemd src/boot/boot.c; from 261",
};

/// A kind of file, by the end of its name.
struct Kind {
    suffix: &'static str,
    /// The event's text.
    description: &'static str,
    pcr: u8,
    target: Target,
}

const CREDENTIALS: Target = Target { folder: ".extra/credentials", folder_mode: 0o500, file_mode: 0o400 };
const SYSEXT: Target = Target { folder: ".extra/sysext", folder_mode: 0o555, file_mode: 0o444 };
const CONFEXT: Target = Target { folder: ".extra/confext", folder_mode: 0o555, file_mode: 0o444 };

/// In the order in which they are measured.
const KINDS: [Kind; 3] = [
    Kind { suffix: ".cred", description: "Entry credentials initrd", pcr: 12, target: CREDENTIALS },
    Kind { suffix: ".sysext.raw", description: "Entry system extension initrd", pcr: 13, target: SYSEXT },
    Kind {
        suffix: ".confext.raw",
        description: "Entry configuration extension initrd",
        pcr: 12,
        target: CONFEXT,
    },
];

/// Measures the archives of an entry.
pub(super) fn measure(entry: &EntryFile, recorder: &mut Recorder<'_>) -> Result<(), BootError> {
    for file in entry.extras.iter().filter(|file| kind_of(file).is_none()) {
        recorder.warn(format!(
            "{}: systemd-boot takes no such file as extra: credentials are *.cred, extensions *.sysext.raw and *.confext.raw",
            file.name
        ));
    }
    for (kind, segments, inputs) in archives(entry)? {
        let event = Event {
            pcr: PcrIndex::new(kind.pcr),
            event_type: Some(EventType::IPL),
            data: Some(utf16_nul(&utf16_units(kind.description))),
            description: kind.description.to_owned(),
            source: Source::Derived(inputs),
            rule: &EXTRA,
        };
        recorder.measure(event, segments);
    }
    Ok(())
}

/// The initrd that the stub finds; `None` without one, an error where its order is not known. `pads` says that this boot loader
/// pads files but the last to 4 bytes.
pub(super) fn previous(
    entry: &EntryFile,
    pads: bool,
) -> Result<Option<(Vec<Segment>, Vec<InputId>)>, Unknown> {
    let mut segments = Vec::new();
    let mut inputs = Vec::new();
    let archives = archives(entry).map_err(|_| Unknown)?;
    let initrds: Vec<&CompanionFile> = entry.initrds.iter().filter(|file| !file.file.is_empty()).collect();
    if !archives.is_empty() && !initrds.is_empty() {
        return Err(Unknown);
    }
    for (_, part, files) in archives {
        segments.extend(part);
        inputs.extend(files);
    }
    for (index, file) in initrds.iter().enumerate() {
        let length = file.file.len();
        segments.push(Segment::Range(file.file.clone()));
        if pads && index.saturating_add(1) < initrds.len() {
            segments.push(Segment::Zeros(length.next_multiple_of(4).saturating_sub(length)));
        }
        inputs.push(file.input);
    }
    Ok((!segments.is_empty()).then_some((segments, inputs)))
}

/// An entry with both `extra` and `initrd` lines: which comes first is not known.
pub(super) struct Unknown;

type Packed = (&'static Kind, Vec<Segment>, Vec<InputId>);

/// The archives, in order. One counter of inodes runs through all of them, and each file brings its folders along.
fn archives(entry: &EntryFile) -> Result<Vec<Packed>, BootError> {
    let mut packed = Vec::new();
    let mut inode = 0;
    for kind in &KINDS {
        let of_kind = |file: &&CompanionFile| kind_of(file).is_some_and(|of| of.suffix == kind.suffix);
        let files: Vec<&CompanionFile> = entry.extras.iter().filter(of_kind).collect();
        if files.is_empty() {
            continue;
        }
        let mut archive = Archive::of_entry(kind.target, inode);
        for file in &files {
            let name = file.name.rsplit('\\').next().unwrap_or(&file.name);
            archive.file(name, vec![Segment::Range(file.file.clone())])?;
        }
        inode = archive.inode();
        packed.push((kind, archive.finish(), files.iter().map(|file| file.input).collect()));
    }
    Ok(packed)
}

fn kind_of(file: &CompanionFile) -> Option<&'static Kind> {
    let ends = |suffix: &str| {
        let start = file.name.len().checked_sub(suffix.len());
        start.and_then(|start| file.name.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    KINDS.iter().find(|kind| ends(kind.suffix))
}
