//! The kernel's EFI stub: PCR 9.

use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::systemd_stub::{Handover, Initrd, KernelOptions, has_word};
use super::text::{utf16_nul, utf16_text};
use super::{InputId, Scenario, cc};
use crate::hashing::Segment;
use crate::tcg::{EventType, PcrIndex};
use crate::uki::KernelVersion;

/// What a range of kernel versions measures.
#[derive(Debug, Clone, Copy)]
pub struct KernelRules {
    /// First version that behaves so.
    pub from: KernelVersion,
    /// LoadOptions go into PCR 9; `None` where that is not known.
    pub measures_options: Option<bool>,
    /// The initrd goes into PCR 9.
    pub measures_initrd: bool,
}

impl KernelRules {
    /// All rows, ascending. The initrd is measured from 5.17 on (Linux commit f046fff8bc4c), LoadOptions certainly from
    /// 6.1 on; observed: 6.1, 6.12, 7.2, 7.3.
    pub const ROWS: &[Self] = &[
        Self {
            from: KernelVersion { major: 0, minor: 0 },
            measures_options: Some(false),
            measures_initrd: false,
        },
        Self { from: KernelVersion { major: 5, minor: 17 }, measures_options: None, measures_initrd: true },
        Self {
            from: KernelVersion { major: 6, minor: 1 },
            measures_options: Some(true),
            measures_initrd: true,
        },
    ];

    /// The last version that the rules were checked with.
    pub const NEWEST: KernelVersion = KernelVersion { major: 7, minor: 3 };

    /// The rules of a version.
    #[must_use]
    pub fn of(version: KernelVersion) -> Option<&'static Self> {
        Self::ROWS.iter().rfind(|row| row.from <= version)
    }
}

const OPTIONS: Rule = Rule {
    id: "kernel-load-options",
    statement: "the kernel's EFI stub measures its LoadOptions, the whole buffer as it got it",
    source: "Linux libstub efi_convert_cmdline, efi_measure_tagged_event; 6.1, 6.12, 7.2",
};
const INITRD: Rule = Rule {
    id: "kernel-initrd",
    statement: "the kernel's EFI stub measures the initrd that it loads through LoadFile2",
    source: "Linux libstub efi_load_initrd, efi_measure_tagged_event; from 5.17",
};

const OPTIONS_TAG: u32 = 0x8F3B_22ED;
const INITRD_TAG: u32 = 0x8F3B_22EC;
const PCR: PcrIndex = PcrIndex::new(9);
/// The last version seen that measures an initrd only when it comes through LoadFile2.
const INITRD_BY_LOAD_FILE_ONLY: KernelVersion = KernelVersion { major: 6, minor: 12 };

/// Runs the kernel's EFI stub.
pub(super) fn run(handover: &Handover, scenario: &Scenario, recorder: &mut Recorder<'_>) {
    if !cc::linux_begins(version(handover, scenario), scenario, recorder) {
        return;
    }
    let Some(kernel) = &handover.kernel else {
        let reason = "the kernel is not one that is known to measure anything";
        recorder.gap(
            PCR,
            GapCode::UnknownKernel,
            &INITRD,
            reason,
            "an image with a Linux kernel that has an EFI stub",
        );
        return;
    };
    if !kernel.enters_efi_stub {
        // Kernels before 5.8 are entered through the EFI handover protocol: their stub gets the initrd in memory.
        return;
    }
    let Some((version, rules)) =
        version(handover, scenario).and_then(|version| Some((version, KernelRules::of(version)?)))
    else {
        let reason = "the kernel's version is not known, and what a kernel measures depends on it";
        recorder.gap(PCR, GapCode::UnknownKernel, &INITRD, reason, "--kernel-version, or a .uname section");
        return;
    };
    if version > KernelRules::NEWEST {
        recorder.warn(format!(
            "kernel {version} is newer than {}, the newest version known; its rules are used",
            KernelRules::NEWEST
        ));
        recorder.assume(
            "kernel-rules-nearest",
            format!("Linux {version} measures as {} does", KernelRules::NEWEST),
            &[9],
            "",
        );
    }
    let no_initrd = measure_options(handover, rules, recorder);
    if !no_initrd && rules.measures_initrd {
        measure_initrd(handover, version, recorder);
    }
}

/// The kernel's version, as declared or found.
fn version(handover: &Handover, scenario: &Scenario) -> Option<KernelVersion> {
    scenario.kernel_version.or_else(|| {
        let kernel = handover.kernel.as_ref()?;
        let text = kernel.facts.version_text.as_deref();
        text.and_then(KernelVersion::parse).or_else(|| KernelVersion::parse(kernel.uname.as_deref()?))
    })
}

/// PCR 9: the command line. Says whether it has the word `noinitrd`.
fn measure_options(handover: &Handover, rules: &KernelRules, recorder: &mut Recorder<'_>) -> bool {
    let event = |what: String| Event {
        pcr: PCR,
        event_type: Some(EventType::EVENT_TAG),
        data: Some(tagged(OPTIONS_TAG, b"LOADED_IMAGE::LoadOptions\0")),
        description: format!("command line{what}"),
        source: Source::Derived(handover.options_from.clone()),
        rule: &OPTIONS,
    };
    match (&handover.options, rules.measures_options) {
        (KernelOptions::None, _) | (_, Some(false)) => {}
        (_, None) => recorder.gap(
            PCR,
            GapCode::UnknownKernel,
            &OPTIONS,
            "whether a kernel between 5.17 and 6.0 measures its command line is not known",
            "a kernel of version 6.1 or later",
        ),
        (KernelOptions::Unknown(code, reason, remedy), _) => {
            recorder.unknown(event(String::new()), *code, reason.clone(), *remedy);
        }
        (KernelOptions::Text(text), _) => {
            let bytes = handover.raw_options.clone().unwrap_or_else(|| utf16_nul(text));
            recorder.measure(event(format!(": {}", utf16_text(text))), [Segment::bytes(bytes)]);
        }
    }
    let KernelOptions::Text(text) = &handover.options else { return false };
    let word: Vec<u16> = "noinitrd".encode_utf16().collect();
    text.split(|unit| *unit <= 0x20).any(|candidate| candidate == word)
}

/// PCR 9: the initrd.
fn measure_initrd(handover: &Handover, version: KernelVersion, recorder: &mut Recorder<'_>) {
    let event = |inputs: &[InputId]| Event {
        pcr: PCR,
        event_type: Some(EventType::EVENT_TAG),
        data: Some(tagged(INITRD_TAG, b"Linux initrd\0")),
        description: "initrd".to_owned(),
        source: Source::Derived(inputs.to_vec()),
        rule: &INITRD,
    };
    match &handover.initrd {
        // Kernels after 6.12 measure an initrd= file too, which the stub does not serve.
        Initrd::None if names_initrd(handover) && version > INITRD_BY_LOAD_FILE_ONLY => recorder.unknown(
            event(&handover.options_from),
            GapCode::UnknownKernel,
            "the command line names an initrd= file, which the kernel may load and measure",
            "a command line without initrd=",
        ),
        Initrd::None => {}
        Initrd::Unknown(code, reason, remedy) => {
            recorder.unknown(event(&handover.options_from), *code, reason.clone(), *remedy);
        }
        Initrd::Known(segments, inputs) => recorder.measure(event(inputs), segments.clone()),
    }
}

fn names_initrd(handover: &Handover) -> bool {
    matches!(&handover.options, KernelOptions::Text(text) if has_word(text, "initrd="))
}

/// `EFI_TCG2_TAGGED_EVENT`: id, length, data.
pub(super) fn tagged(id: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    [&id.to_le_bytes()[..], &length.to_le_bytes(), data].concat()
}
