//! systemd-boot starts a UKI: what it measures, and which LoadOptions it passes.

use super::cc::Program;
use super::linux::tagged;
use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::systemd_stub::{self, Mangle, StubRules};
use super::text::{utf16_nul, utf16_text, utf16_units};
use super::{BootChain, CcRules, Payload, Scenario, cc, entry_initrd, type1};
use crate::hashing::Segment;
use crate::tcg::{EventType, PcrIndex};
use crate::uki::{LoadedSection, LoaderInfo, MAX_TEXT, Product, SystemdVersion};

/// Behaviour of one range of versions of systemd-boot.
#[derive(Debug, Clone, Copy)]
pub struct LoaderRules {
    /// First version (major, minor) that behaves so.
    pub from: (u16, u16),
    /// What it passes to a UKI whose entry nobody edited.
    pub passes: Passes,
    /// `loader.conf` goes into PCR 5.
    pub measures_loader_conf: bool,
    /// SMBIOS structures go into PCR 1.
    pub measures_smbios: bool,
}

/// LoadOptions for a UKI whose entry nobody edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// The text of `.cmdline` less one trailing newline.
    CommandLineAsIs,
    /// The text of `.cmdline`, cleaned up as the stub of that version does.
    CommandLine,
    /// Nothing: the options are implied.
    Nothing,
}

impl LoaderRules {
    /// All rows, ascending. Observed: 252.39, 254.26, 257.13, 262.1.
    pub const ROWS: &[Self] = &[
        Self {
            from: (252, 0),
            passes: Passes::CommandLineAsIs,
            measures_loader_conf: false,
            measures_smbios: false,
        },
        Self {
            from: (252, 3),
            passes: Passes::CommandLine,
            measures_loader_conf: false,
            measures_smbios: false,
        },
        Self { from: (255, 0), passes: Passes::Nothing, measures_loader_conf: true, measures_smbios: false },
        Self { from: (261, 0), passes: Passes::Nothing, measures_loader_conf: true, measures_smbios: true },
    ];

    /// The rules of a version; `None` for one before 252.
    #[must_use]
    pub fn of(version: &SystemdVersion) -> Option<&'static Self> {
        Self::ROWS.iter().rfind(|row| row.from <= version.key())
    }
}

const OPTIONS: Rule = Rule {
    id: "loader-options",
    statement: "systemd-boot measures the options that it passes to an image as UTF-16 with the final NUL: a text edited \
                in the menu, a profile selector, and up to 254 also the embedded command line",
    source: "systemd src/boot/boot.c image_start, tpm_log_load_options; 252 to 262",
};
const LOADER_CONF: Rule = Rule {
    id: "loader-conf",
    statement: "systemd-boot measures \\loader\\loader.conf as it stands on disk",
    source: "systemd src/boot/boot.c config_load_defaults; from 255",
};
const UNKNOWN_LOADER: Rule = Rule {
    id: "unknown-loader",
    statement: "what a boot loader measures depends on its program and version",
    source: "systemd src/boot/boot.c",
};

/// What the stub finds when the loader is done.
pub(super) struct Started {
    /// The version of systemd-boot that started the image, when it did and is known.
    pub(super) by: Option<SystemdVersion>,
    /// LoadOptions, without terminator.
    pub(super) load_options: Option<Vec<u16>>,
    /// Their bytes, where those are not the text with a NUL behind it: a boot option's data.
    pub(super) raw_options: Option<Vec<u8>>,
    /// SMBIOS structures are measured already.
    pub(super) smbios_measured: bool,
}

impl Started {
    /// The boot loader pads each initrd but the last to 4 bytes (systemd `initrd_prepare`; from 256.7 on).
    pub(super) fn pads_initrds(&self) -> bool {
        self.by.as_ref().is_some_and(|version| version.key() >= (256, 7))
    }
}

/// The firmware, or shim, starts the UKI itself: options are those of its boot option.
pub(super) fn started_by_firmware(chain: &BootChain, scenario: &Scenario) -> Started {
    let load_options = found_options(chain, scenario);
    let asked_for = requested_options(scenario).is_some();
    let raw = Some(&chain.load_options).filter(|raw| !raw.is_empty() && !asked_for && chain.shim.is_none());
    let as_text = load_options.as_deref().map(utf16_nul);
    let raw_options = raw.filter(|raw| as_text.as_ref() != Some(*raw)).cloned();
    Started { by: None, load_options, raw_options, smbios_measured: false }
}

/// Runs the loader that the firmware has loaded.
pub(super) fn run(
    chain: &BootChain,
    loader: &super::NamedImage,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) -> Result<Started, BootError> {
    let info = LoaderInfo::of(&loader.image).map_err(|error| BootError::image(&loader.name, error))?;
    let version = info.filter(|info| info.product == Product::SystemdBoot).and_then(|info| info.version);
    let Some((version, rules)) =
        version.and_then(|version| Some((LoaderRules::of(&version)?, version))).map(|(r, v)| (v, r))
    else {
        return Ok(unknown_loader(&loader.name, scenario, recorder));
    };
    if version.major > StubRules::NEWEST {
        recorder.warn(format!(
            "{}: systemd-boot {version} is newer than {}, the newest version known; its rules are used",
            loader.name,
            StubRules::NEWEST
        ));
    }
    cc::systemd_begins("systemd-boot", &version, recorder);
    if rules.measures_smbios {
        systemd_stub::measure_smbios_structures(scenario, recorder);
    }
    if rules.measures_loader_conf {
        measure_loader_conf(chain, recorder);
    }
    if let Some(medium) = &chain.medium {
        let statement = if medium.knows_variables {
            "the machine's EFI variables are those given, and nobody at the menu chooses another entry"
        } else {
            "no EFI variable (LoaderEntryDefault, LoaderEntryOneShot, ...) and nobody at the menu chooses another entry"
        };
        let remedy = "--variables, --loader-variable, --entry, --all-entries";
        recorder.assume("loader-choice", statement, &[4, 9, 11, 12, 13], remedy);
    }
    if let Some(entry) = chain.entry.as_ref().filter(|_| chain.payload == Payload::UnifiedKernelImage) {
        entry_initrd::measure(entry, recorder)?;
    }
    let (options, source) = match (&chain.entry, requested_options(scenario)) {
        (Some(entry), _) => type1::passed_options(chain, entry, &version, scenario, recorder),
        (None, Some(options)) => (Some(options), Source::Option("--cmdline/--profile")),
        (None, None) => {
            (embedded_options(chain, &version, rules, recorder)?, Source::Derived(vec![chain.uki.input]))
        }
    };
    if let Some(options) = &options {
        let data = utf16_nul(options);
        let event = Event {
            pcr: PcrIndex::new(12),
            event_type: Some(EventType::IPL),
            data: Some(data.clone()),
            description: format!("options passed by systemd-boot: {}", utf16_text(options)),
            source,
            rule: &OPTIONS,
        };
        recorder.measure(event, [Segment::bytes(data)]);
    }
    let smbios_measured = rules.measures_smbios;
    Ok(Started { by: Some(version), load_options: options, raw_options: None, smbios_measured })
}

/// PCR 5: the configuration file as it stands on disk.
fn measure_loader_conf(chain: &BootChain, recorder: &mut Recorder<'_>) {
    const TAG: u32 = 0xF5BC_582A;
    if let Some(Program::Systemd(CcRules { tagged: false, .. })) = recorder.running() {
        if chain.medium.as_ref().is_none_or(|medium| medium.loader_conf.is_some()) {
            cc::lacks_tagged("loader.conf", recorder);
        }
        return;
    }
    let Some(medium) = &chain.medium else {
        recorder.gap(
            PcrIndex::new(5),
            GapCode::LoaderConf,
            &LOADER_CONF,
            "PCR 5 depends on loader.conf of the boot partition",
            "the disk image or boot partition that the UKI is shipped in",
        );
        return;
    };
    let Some(file) = &medium.loader_conf else { return };
    let event = Event {
        pcr: PcrIndex::new(5),
        event_type: Some(EventType::EVENT_TAG),
        data: Some(tagged(TAG, &utf16_nul(&utf16_units("loader.conf")))),
        description: "loader.conf".to_owned(),
        source: Source::Derived(vec![file.input]),
        rule: &LOADER_CONF,
    };
    recorder.measure(event, [Segment::Range(file.file.clone())]);
}

/// Options that somebody asked for: a text, a profile, or both.
pub(super) fn requested_options(scenario: &Scenario) -> Option<Vec<u16>> {
    with_profile(scenario.profile, scenario.load_options.clone())
}

/// Options that a program finds which no boot loader starts: those asked for, else those of the boot option.
pub(super) fn found_options(chain: &BootChain, scenario: &Scenario) -> Option<Vec<u16>> {
    let by_option = || {
        let (units, _) = chain.load_options.as_chunks();
        let units = units.iter().map(|bytes| u16::from_le_bytes(*bytes)).take_while(|unit| *unit != 0);
        (chain.loader.is_none() && chain.load_options.len() >= 2).then(|| units.collect())
    };
    with_profile(scenario.profile, scenario.load_options.clone().or_else(by_option))
}

/// A profile other than 0 is asked for by a selector before the text.
pub(super) fn with_profile(profile: u32, text: Option<Vec<u16>>) -> Option<Vec<u16>> {
    if profile == 0 {
        return text;
    }
    let mut options: Vec<u16> = format!("@{profile}").encode_utf16().collect();
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        options.push(b' '.into());
        options.extend_from_slice(&text);
    }
    Some(options)
}

/// Options that the loader takes from the UKI itself.
fn embedded_options(
    chain: &BootChain,
    version: &SystemdVersion,
    rules: &LoaderRules,
    recorder: &mut Recorder<'_>,
) -> Result<Option<Vec<u16>>, BootError> {
    if rules.passes == Passes::Nothing {
        return Ok(None);
    }
    let image = &chain.uki.image;
    // The loaders that pass it look for the section as the stubs of their time do: by prefix, the last one.
    let section = image.sections.iter().rfind(|section| section.name.starts_with(".cmdline"));
    let Some(section) = section.filter(|section| section.virtual_size != 0) else { return Ok(None) };
    let bytes = LoadedSection::new(image, section).and_then(|section| section.read(MAX_TEXT));
    let bytes = bytes.map_err(|error| BootError::image(&chain.uki.name, error))?;
    let mangle = match StubRules::of(version) {
        Some(stub) if rules.passes == Passes::CommandLine => stub.mangle,
        _ => Mangle::AsciiOnly,
    };
    match systemd_stub::section_command_line(&bytes, mangle) {
        Ok(mut text) => {
            if rules.passes == Passes::CommandLineAsIs && text.last() == Some(&u16::from(b'\n')) {
                text.pop();
            }
            Ok((!text.is_empty()).then_some(text))
        }
        Err(_) => {
            recorder.gap(
                PcrIndex::new(12),
                GapCode::CommandLine,
                &OPTIONS,
                ".cmdline is not valid UTF-8, so what systemd-boot makes of it is not known",
                "an image with a command line in UTF-8",
            );
            Ok(None)
        }
    }
}

fn unknown_loader(name: &str, scenario: &Scenario, recorder: &mut Recorder<'_>) -> Started {
    for pcr in [1, 2, 4, 5, 7, 8, 9, 12, 14] {
        recorder.gap(
            PcrIndex::new(pcr),
            GapCode::UnknownLoader,
            &UNKNOWN_LOADER,
            format!("{name} is no systemd-boot of a known version, so what it measures is not known"),
            "systemd-boot 252 or later as --loader, or the UKI without a loader",
        );
    }
    Started { by: None, load_options: requested_options(scenario), raw_options: None, smbios_measured: false }
}
