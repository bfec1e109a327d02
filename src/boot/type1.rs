//! Boots without a stub: a Type #1 entry's kernel (UAPI.1), or a program that is not followed.

use super::measurement::{GapCode, Rule, Source};
use super::recorder::Recorder;
use super::replay::BootError;
use super::systemd_boot::{self, Started};
use super::systemd_stub::{self, Handover, Initrd, KernelOptions, StartedKernel};
use super::text::utf16_units;
use super::{BootChain, CompanionFile, EntryFile, Scenario};
use crate::hashing::Segment;
use crate::tcg::PcrIndex;
use crate::uki::{Kernel, SystemdVersion};

const SMBIOS: Rule = Rule {
    id: "loader-smbios-cmdline",
    statement: "systemd-boot appends the command line of SMBIOS type 11 (io.systemd.boot.kernel-cmdline-extra) to entries \
                with linux",
    source: "systemd src/boot/boot.c, call_image_start; from 256",
};
const EMPTY_INITRD: Rule = Rule {
    id: "loader-empty-initrd",
    statement: "systemd-boot names each initrd of an entry in the options; newer versions pass over empty files",
    source: "systemd src/boot/boot.c, initrd_prepare",
};
/// Last version known to name an empty initrd (booted: 254.26, 257.13), and those of which it is not known. From 260 on the
/// file is passed over.
const EMPTY_INITRD_WORD_TO: u16 = 257;
const EMPTY_INITRD_UNKNOWN: std::ops::RangeInclusive<u16> = 258..=259;
const UNKNOWN_PROGRAM: Rule = Rule {
    id: "unknown-program",
    statement: "what a program measures, and what it starts, depends on the program",
    source: "PFP section 3.3.4",
};

/// The SMBIOS string that systemd-boot adds to the options of Linux kernels, from 256 on.
const SMBIOS_OPTIONS: &str = "io.systemd.boot.kernel-cmdline-extra";

/// LoadOptions that systemd-boot passes for a Type #1 entry (systemd `initrd_prepare`, `call_image_start`).
pub(super) fn passed_options(
    entry: &EntryFile,
    version: &SystemdVersion,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) -> (Option<Vec<u16>>, Source) {
    let mut inputs = vec![entry.input];
    let own = match (&scenario.load_options, &entry.options) {
        (Some(edited), _) => Some(edited.clone()),
        (None, Some(text)) => match systemd_stub::decode(text.as_bytes()) {
            Ok(text) => Some(text),
            Err(_) => Some(utf16_units(text)),
        },
        (None, None) => None,
    };
    let is_named = |file: &&CompanionFile| !file.file.is_empty() || EMPTY_INITRD_WORD_TO >= version.major;
    if entry.initrds.iter().any(|initrd| initrd.file.is_empty())
        && EMPTY_INITRD_UNKNOWN.contains(&version.major)
    {
        for pcr in [9, 12] {
            recorder.gap(
                PcrIndex::new(pcr),
                GapCode::UnknownLoader,
                &EMPTY_INITRD,
                "whether this version of systemd-boot names an empty initrd in the options is not known",
                "an entry without empty initrds",
            );
        }
    }
    let words =
        entry.initrds.iter().filter(is_named).map(|initrd| utf16_units(&format!("initrd={}", initrd.name)));
    inputs.extend(entry.initrds.iter().map(|initrd| initrd.input));
    let parts: Vec<Vec<u16>> = words.chain(own).collect();
    let mut options = (!parts.is_empty()).then(|| parts.join(&u16::from(b' ')));
    if entry.is_linux && version.major >= 256 {
        add_smbios_options(&mut options, version, scenario, recorder);
    }
    (systemd_boot::with_profile(scenario.profile, options), Source::Derived(inputs))
}

fn add_smbios_options(
    options: &mut Option<Vec<u16>>,
    version: &SystemdVersion,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) {
    if !scenario.smbios.declared {
        let statement = format!("SMBIOS has no string {SMBIOS_OPTIONS}");
        recorder.assume("no-smbios-boot-cmdline", statement, &[9, 12], "--smbios, --smbios-string");
    }
    let Some(text) = scenario.smbios.value(SMBIOS_OPTIONS).filter(|_| !scenario.confidential_vm) else {
        return;
    };
    let Ok(text) = systemd_stub::decode(text) else {
        recorder.gap(
            PcrIndex::new(12),
            GapCode::Smbios,
            &SMBIOS,
            "an SMBIOS string is not valid UTF-8, so how systemd-boot decodes it is not known",
            "another SMBIOS string",
        );
        return;
    };
    *options = Some(match options.take() {
        Some(options) if !options.is_empty() => [options, text].join(&u16::from(b' ')),
        // A formatter of 256 prints a missing text as "(null)".
        None if version.major == 256 => [utf16_units("(null)"), text].join(&u16::from(b' ')),
        _ => text,
    });
}

/// The kernel with what it finds: PCR 9 is its own business.
pub(super) fn kernel(
    chain: &BootChain,
    started: &Started,
    recorder: &mut Recorder<'_>,
) -> Result<Handover, BootError> {
    let facts =
        Kernel::parse(&chain.uki.image.file).map_err(|error| BootError::image(&chain.uki.name, error))?;
    let statement =
        "no systemd-stub is involved, so nothing measures sections, addons, credentials or extensions";
    recorder.assume("no-stub", statement, &[11, 13], "");
    let kernel = facts.map(|facts| StartedKernel { facts, uname: None, enters_efi_stub: true });
    let options_from = chain.entry.iter().map(|entry| entry.input).collect();
    Ok(Handover {
        kernel,
        options: started.load_options.clone().map_or(KernelOptions::None, KernelOptions::Text),
        raw_options: started.raw_options.clone(),
        options_from,
        initrd: initrd(chain, started),
    })
}

/// The initrds one behind the other, as systemd-boot serves them through LoadFile2. Up to 256.6 nothing stands between
/// them; later each but the last is padded to 4 bytes.
fn initrd(chain: &BootChain, started: &Started) -> Initrd {
    let files = chain.entry.as_ref().map_or(&[][..], |entry| &entry.initrds);
    if files.iter().all(|file| file.file.is_empty()) {
        // What the kernel makes of an initrd= word of its own is its version's affair.
        return Initrd::None;
    }
    let pads = started.pads_initrds();
    let mut segments = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let length = file.file.len();
        segments.push(Segment::Range(file.file.clone()));
        if pads && index.saturating_add(1) < files.len() {
            segments.push(Segment::Zeros(length.next_multiple_of(4).saturating_sub(length)));
        }
    }
    Initrd::Known(segments, files.iter().map(|file| file.input).collect())
}

/// A program that is not followed: everything that it may measure is unknown.
pub(super) fn unknown_program(chain: &BootChain, recorder: &mut Recorder<'_>) {
    // 2: drivers that it loads; 7: keys that let start what it loads.
    for pcr in [1, 2, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15] {
        recorder.gap(
            PcrIndex::new(pcr),
            GapCode::UnknownLoader,
            &UNKNOWN_PROGRAM,
            format!("{} is not followed, so what it starts and measures is not known", chain.uki.name),
            "the UKI itself, or a disk whose loader is systemd-boot 252 or later",
        );
    }
}
