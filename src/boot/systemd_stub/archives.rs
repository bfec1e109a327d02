//! Credentials and extensions beside the UKI: one archive of each kind, into PCR 12 or 13.

use super::Stub;
use super::addons::is_candidate;
use super::rules::{self, Step};
use crate::boot::cpio::{Archive, Target};
use crate::boot::measurement::Source;
use crate::boot::recorder::{Event, Recorder};
use crate::boot::replay::BootError;
use crate::boot::text::{utf16_nul, utf16_units};
use crate::boot::{CompanionFile, InputId, Scope};
use crate::hashing::Segment;
use crate::tcg::{EventType, PcrIndex};

/// An archive's bytes, and the files in it.
pub(super) type PackedArchive = (Vec<Segment>, Vec<InputId>);

/// One kind of archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArchiveKind {
    step: Step,
    /// The event's text.
    description: &'static str,
    pcr: PcrIndex,
    target: Target,
    scope: Scope,
    files: Files,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    /// `*.cred`.
    Credentials,
    /// `*.raw`; from 256 on without `*.confext.raw`.
    SystemExtensions,
    /// `*.confext.raw`.
    ConfigurationExtensions,
}

const CREDENTIALS: Target = Target { folder: ".extra/credentials", folder_mode: 0o500, file_mode: 0o400 };
const GLOBAL_CREDENTIALS: Target =
    Target { folder: ".extra/global_credentials", folder_mode: 0o500, file_mode: 0o400 };
const SYSEXT: Target = Target { folder: ".extra/sysext", folder_mode: 0o555, file_mode: 0o444 };
const GLOBAL_SYSEXT: Target = Target { folder: ".extra/global_sysext", folder_mode: 0o555, file_mode: 0o444 };
const CONFEXT: Target = Target { folder: ".extra/confext", folder_mode: 0o555, file_mode: 0o444 };
const GLOBAL_CONFEXT: Target =
    Target { folder: ".extra/global_confext", folder_mode: 0o555, file_mode: 0o444 };

/// systemd `stub.c`, the calls of `pack_cpio`.
const KINDS: &[ArchiveKind] = &[
    ArchiveKind {
        step: Step::Credentials,
        description: "Credentials initrd",
        pcr: PcrIndex::new(12),
        target: CREDENTIALS,
        scope: Scope::Local,
        files: Files::Credentials,
    },
    ArchiveKind {
        step: Step::GlobalCredentials,
        description: "Global credentials initrd",
        pcr: PcrIndex::new(12),
        target: GLOBAL_CREDENTIALS,
        scope: Scope::Global,
        files: Files::Credentials,
    },
    ArchiveKind {
        step: Step::SystemExtensions,
        description: "System extension initrd",
        pcr: PcrIndex::new(13),
        target: SYSEXT,
        scope: Scope::Local,
        files: Files::SystemExtensions,
    },
    ArchiveKind {
        step: Step::GlobalSystemExtensions,
        description: "Global system extension initrd",
        pcr: PcrIndex::new(13),
        target: GLOBAL_SYSEXT,
        scope: Scope::Global,
        files: Files::SystemExtensions,
    },
    ArchiveKind {
        step: Step::ConfigurationExtensions,
        description: "Configuration extension initrd",
        pcr: PcrIndex::new(12),
        target: CONFEXT,
        scope: Scope::Local,
        files: Files::ConfigurationExtensions,
    },
    ArchiveKind {
        step: Step::GlobalConfigurationExtensions,
        description: "Global configuration extension initrd",
        pcr: PcrIndex::new(12),
        target: GLOBAL_CONFEXT,
        scope: Scope::Global,
        files: Files::ConfigurationExtensions,
    },
];

impl Stub<'_> {
    /// Measures the archive of a step; without files there is none.
    pub(super) fn measure_archive(
        &mut self,
        step: Step,
        recorder: &mut Recorder<'_>,
    ) -> Result<(), BootError> {
        let Some(kind) = KINDS.iter().find(|kind| kind.step == step) else { return Ok(()) };
        let Some((segments, inputs)) = self.archive(step)? else { return Ok(()) };
        self.used_inputs.extend(&inputs);
        let event = Event {
            pcr: kind.pcr,
            event_type: Some(EventType::IPL),
            data: Some(utf16_nul(&utf16_units(kind.description))),
            description: kind.description.to_owned(),
            source: Source::Derived(inputs),
            rule: &rules::ARCHIVE,
        };
        recorder.measure(event, segments);
        Ok(())
    }

    /// The archive that a step makes, and the files in it; `None` when there are none, or this stub has no such step.
    pub(super) fn archive(&self, step: Step) -> Result<Option<PackedArchive>, BootError> {
        let kind = KINDS.iter().find(|kind| kind.step == step && self.rules.steps.contains(&step));
        let Some(kind) = kind else { return Ok(None) };
        let files = self.companions(kind);
        if files.is_empty() {
            return Ok(None);
        }
        let mut archive = Archive::new(kind.target);
        for file in &files {
            archive.file(&file.name, vec![Segment::Range(file.file.clone())])?;
        }
        Ok(Some((archive.finish(), files.iter().map(|file| file.input).collect())))
    }

    fn companions(&self, kind: &ArchiveKind) -> Vec<&CompanionFile> {
        let all = match kind.files {
            Files::Credentials => &self.chain.credentials,
            Files::SystemExtensions | Files::ConfigurationExtensions => &self.chain.extensions,
        };
        let knows_confext = self.rules.steps.contains(&Step::ConfigurationExtensions);
        let mut files: Vec<&CompanionFile> = all
            .iter()
            .filter(|file| file.scope == kind.scope && kind.files.matches(&file.name, knows_confext))
            .collect();
        files.sort_by_key(|file| utf16_units(&file.name));
        files
    }

    /// Companions that no archive of this stub takes.
    pub(super) fn warn_of_unused_companions(&self, recorder: &mut Recorder<'_>) {
        let kinds = || KINDS.iter().filter(|kind| self.rules.steps.contains(&kind.step));
        for file in self.chain.credentials.iter().chain(&self.chain.extensions) {
            if !kinds().any(|kind| self.companions(kind).iter().any(|used| used.input == file.input)) {
                recorder.warn(format!(
                    "{}: this stub does not take it: credentials are *.cred, system extensions *.raw, configuration \
                     extensions *.confext.raw (from 256 on), global extensions from 258 on",
                    file.name
                ));
            }
        }
        if self.rules.addons == super::rules::Addons::None && !self.chain.addons.is_empty() {
            recorder.warn("stubs before 254 know no addons; those given are left out");
        }
    }
}

impl Files {
    fn matches(self, name: &str, knows_confext: bool) -> bool {
        match self {
            Self::Credentials => is_candidate(name, ".cred"),
            Self::ConfigurationExtensions => is_candidate(name, ".confext.raw"),
            Self::SystemExtensions => {
                is_candidate(name, ".raw") && !(knows_confext && is_candidate(name, ".confext.raw"))
            }
        }
    }
}
