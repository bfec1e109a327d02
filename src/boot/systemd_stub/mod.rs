//! systemd-stub: PCR 11, 12, 13, the addons in PCR 4, and what it hands to the kernel.

mod addons;
mod archives;
mod command_line;
mod initrd;
mod rules;

pub(super) use command_line::{decode, has_word, section_command_line};
pub(super) use initrd::Initrd;
pub(super) use rules::Mangle;
pub use rules::StubRules;
use rules::{InnerKernel, Step};

use self::addons::Addon;
use self::command_line::{ParsedOptions, TextProblem, append, parse_load_options};
use super::linux::tagged;
use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::systemd_boot::Started;
use super::text::{utf16_nul, utf16_text};
use super::{BootChain, Declared, InputId, Scenario, firmware};
use crate::hashing::Segment;
use crate::pe::PeImage;
use crate::tcg::{EventType, PcrIndex};
use crate::uki::{
    Kernel, LoadedSection, LoaderInfo, MAX_TEXT, Product, SectionLookup, SectionSet, SystemdVersion,
};

const PROFILE_TAG: u32 = 0x13AE_D6DB;

/// What the kernel gets.
pub(super) struct Handover {
    pub(super) kernel: Option<StartedKernel>,
    pub(super) options: KernelOptions,
    pub(super) options_from: Vec<InputId>,
    pub(super) initrd: Initrd,
}

/// The kernel in `.linux`.
pub(super) struct StartedKernel {
    pub(super) facts: Kernel,
    pub(super) uname: Option<String>,
    /// It is started as an EFI application, so that its EFI stub runs.
    pub(super) enters_efi_stub: bool,
}

/// LoadOptions of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KernelOptions {
    None,
    Text(Vec<u16>),
    Unknown(GapCode, String, &'static str),
}

/// The stub's version and rules, from `.sdmagic` or as declared.
pub(super) fn identify(
    image: &PeImage,
    declared: Option<&SystemdVersion>,
) -> Result<Option<(SystemdVersion, &'static StubRules)>, crate::pe::PeError> {
    let version = match declared {
        Some(version) => Some(version.clone()),
        None => {
            let info = LoaderInfo::of(image)?;
            info.filter(|info| info.product == Product::SystemdStub).and_then(|info| info.version)
        }
    };
    Ok(version.and_then(|version| StubRules::of(&version).map(|rules| (version, rules))))
}

/// How many sections of a name a stub of these rules chooses among by the machine it runs on: `.dtbauto` and
/// `.efifw`.
///
/// # Errors
/// As [`SectionSet::all`]; an image without the profile has no choices.
pub fn choices(
    image: &PeImage,
    rules: &StubRules,
    profile: u32,
    name: &str,
) -> Result<usize, crate::pe::PeError> {
    let selects =
        rules.measured_sections.contains(&name) && (name != ".efifw" || rules.selects_firmware_image);
    if !selects {
        return Ok(0);
    }
    let Ok(sections) = SectionSet::with_profile(image, rules.lookup, profile) else { return Ok(0) };
    Ok(sections.all(name)?.len())
}

/// Runs the stub; `None` when it is not known.
pub(super) fn run(
    chain: &BootChain,
    started: &Started,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) -> Result<Option<Handover>, BootError> {
    let uki = &chain.uki;
    let identified = identify(&uki.image, scenario.stub_version.as_ref());
    let Some((version, rules)) = identified.map_err(|error| BootError::image(&uki.name, error))? else {
        report_unknown_stub(&uki.name, recorder);
        return Ok(None);
    };
    if version.major > StubRules::NEWEST {
        let newest = StubRules::NEWEST;
        recorder.warn(format!(
            "{}: systemd-stub {version} is newer than {newest}, the newest version known; its rules are used",
            uki.name
        ));
        let statement = format!("systemd-stub {version} measures as {newest} does");
        recorder.assume("stub-rules-nearest", statement, &[4, 9, 11, 12, 13], "--systemd-version");
    }
    Stub::new(chain, started, scenario, rules)?.run(recorder).map(Some)
}

/// A stub under way.
struct Stub<'a> {
    chain: &'a BootChain,
    started: &'a Started,
    scenario: &'a Scenario,
    rules: &'static StubRules,
    sections: SectionSet<'a>,
    profile: u32,
    options: ParsedOptions,
    addons: Vec<Addon<'a>>,
    /// The command line so far; `Err` from where on it is not known.
    command_line: Result<Option<Vec<u16>>, TextProblem>,
    /// SMBIOS strings came into a command line that did not exist yet: 254 to 256 print `(null)`.
    used_inputs: Vec<InputId>,
}

impl<'a> Stub<'a> {
    fn new(
        chain: &'a BootChain,
        started: &'a Started,
        scenario: &'a Scenario,
        rules: &'static StubRules,
    ) -> Result<Self, BootError> {
        let image = &chain.uki.image;
        let probe = SectionSet::without_profiles(image, rules.lookup);
        let in_uki = |error| BootError::image(&chain.uki.name, error);
        // The profile decides which .cmdline there is, and whether there is one decides about the options; but the
        // selector itself is read before.
        let selected = parse_load_options(started.load_options.as_deref(), rules, scenario, true).profile;
        let profile = selected.unwrap_or(0);
        let sections = if rules.profiles {
            SectionSet::with_profile(image, rules.lookup, profile)
                .map_err(|error| BootError::Profile { name: chain.uki.name.clone(), error })?
        } else {
            probe
        };
        let command_line = sections.get(".cmdline").map_err(in_uki)?;
        let options =
            parse_load_options(started.load_options.as_deref(), rules, scenario, command_line.is_some());
        let base = match (&options.accepted, command_line) {
            (Some(accepted), _) => Ok(Some(accepted.used.clone())),
            (None, None) => Ok(None),
            (None, Some(section)) => {
                let bytes = section.read(MAX_TEXT).map_err(in_uki)?;
                section_command_line(&bytes, rules.mangle).map(Some)
            }
        };
        Ok(Self {
            chain,
            started,
            scenario,
            rules,
            sections,
            profile,
            options,
            addons: Vec::new(),
            command_line: base,
            used_inputs: vec![chain.uki.input],
        })
    }

    fn run(mut self, recorder: &mut Recorder<'_>) -> Result<Handover, BootError> {
        self.state_assumptions(recorder);
        self.warn_of_unused_companions(recorder);
        for step in self.rules.steps {
            self.step(*step, recorder)?;
        }
        self.hand_over(recorder)
    }

    fn state_assumptions(&self, recorder: &mut Recorder<'_>) {
        let companions = &self.chain;
        if companions.medium.is_some() {
            recorder.assume(
                "medium-unchanged",
                "addons, credentials and extensions on the boot partitions are those of the image",
                &[4, 9, 12, 13],
                "",
            );
        } else if companions.addons.is_empty()
            && companions.credentials.is_empty()
            && companions.extensions.is_empty()
        {
            recorder.assume(
                "no-companions",
                "nothing lies beside the UKI: no addons, credentials or extensions",
                &[4, 9, 12, 13],
                "--addon, --credential, --sysext, --confext",
            );
        } else {
            recorder.assume(
                "only-these-companions",
                "no addons, credentials or extensions lie beside the UKI but those given",
                &[4, 9, 12, 13],
                "--addon, --credential, --sysext, --confext",
            );
        }
        if self.started.load_options.is_none() {
            let statement = "nobody edits the command line or chooses another profile at boot";
            recorder.assume("no-load-options", statement, &[4, 9, 11, 12], "--cmdline, --profile");
        }
        if self.rules.steps.contains(&Step::SmbiosCommandLine) && !self.scenario.smbios.declared {
            recorder.assume(
                "no-smbios-cmdline",
                "SMBIOS has no string io.systemd.stub.kernel-cmdline-extra",
                &[9, 12],
                "--smbios, --smbios-string",
            );
        }
        if self.rules.refuses_options_in_confidential_vm
            || self.rules.steps.contains(&Step::SmbiosCommandLine)
        {
            let is = if self.scenario.confidential_vm { "is" } else { "is not" };
            let statement = format!("the machine {is} a confidential VM");
            recorder.assume("confidential-vm", statement, &[9, 12], "--confidential-vm");
        }
    }

    fn step(&mut self, step: Step, recorder: &mut Recorder<'_>) -> Result<(), BootError> {
        match step {
            Step::Profile => self.measure_profile(recorder),
            Step::Sections => self.measure_sections(recorder)?,
            Step::LoadOptions => self.measure_load_options(recorder),
            Step::LoadAddons => self.load_addons(recorder)?,
            Step::AddonCommandLinesByFolder => self.measure_addon_command_lines_by_folder(recorder),
            Step::AddonCommandLines => self.measure_addon_command_lines(recorder),
            Step::SmbiosCommandLine => self.measure_smbios_command_line(recorder),
            Step::SmbiosStructures => {
                if !self.started.smbios_measured {
                    measure_smbios_structures(self.scenario, recorder);
                }
            }
            Step::AddonDevicetrees => self.measure_addon_devicetrees(recorder),
            Step::AddonMicrocode => self.measure_addon_microcode(recorder),
            Step::AddonInitrds => self.measure_addon_initrds(recorder),
            Step::Credentials
            | Step::GlobalCredentials
            | Step::SystemExtensions
            | Step::GlobalSystemExtensions
            | Step::ConfigurationExtensions
            | Step::GlobalConfigurationExtensions => self.measure_archive(step, recorder)?,
        }
        Ok(())
    }

    fn measure_profile(&self, recorder: &mut Recorder<'_>) {
        if self.profile == 0 {
            return;
        }
        let number = self.profile.to_string();
        let text = utf16_nul(&super::text::utf16_units(&number));
        let event = Event {
            pcr: PcrIndex::new(12),
            event_type: Some(EventType::EVENT_TAG),
            data: Some(tagged(PROFILE_TAG, &text)),
            description: format!("profile {number}"),
            source: Source::Option("--profile"),
            rule: &rules::PROFILE,
        };
        recorder.measure(event, [Segment::bytes(text)]);
    }

    /// PCR 11.
    fn measure_sections(&self, recorder: &mut Recorder<'_>) -> Result<(), BootError> {
        for name in self.rules.measured_sections {
            let section = match *name {
                ".dtbauto" => self.chosen(name, self.scenario.devicetree)?,
                ".efifw" if !self.rules.selects_firmware_image => None,
                ".efifw" => self.chosen(name, self.scenario.firmware_image)?,
                _ => self.section(name)?,
            };
            if let Some(section) = section {
                self.measure_section(name, &section, recorder);
            }
        }
        Ok(())
    }

    fn measure_section(&self, name: &str, section: &LoadedSection, recorder: &mut Recorder<'_>) {
        let event = |what: &str, source: Source| Event {
            pcr: PcrIndex::new(11),
            event_type: Some(EventType::IPL),
            data: Some(utf16_nul(&super::text::utf16_units(name))),
            description: format!("{what} {name}"),
            source,
            rule: &rules::SECTION,
        };
        let source = self.section_source(self.chain.uki.input, section);
        recorder.measure(event("name", Source::Constant), [Segment::bytes(format!("{name}\0"))]);
        recorder.measure(event("content of", source), section.segments());
    }

    /// The section that the machine selects among equal ones.
    fn chosen(&self, name: &str, choice: Option<usize>) -> Result<Option<LoadedSection>, BootError> {
        let Some(choice) = choice else { return Ok(None) };
        let all = self.sections.all(name).map_err(|error| BootError::image(&self.chain.uki.name, error))?;
        Ok(all.into_iter().nth(choice))
    }

    /// A section of the UKI as the stub finds it.
    fn section(&self, name: &str) -> Result<Option<LoadedSection>, BootError> {
        let section =
            self.sections.get(name).map_err(|error| BootError::image(&self.chain.uki.name, error))?;
        let limit = u64::from(self.chain.uki.image.size_of_image);
        Ok(section.filter(|section| {
            let end = u64::from(section.section.virtual_address) + section.len();
            !self.rules.checks_size_of_image || end <= limit
        }))
    }

    fn section_source(&self, input: InputId, section: &LoadedSection) -> Source {
        Source::Section {
            input,
            name: section.section.name.to_string(),
            offset: section.section.raw_offset.into(),
            length: section.len(),
        }
    }

    fn measure_load_options(&self, recorder: &mut Recorder<'_>) {
        let Some(accepted) = &self.options.accepted else { return };
        self.measure_text(
            "LoadOptions",
            &accepted.measured,
            Source::Option("--cmdline"),
            &rules::LOAD_OPTIONS,
            recorder,
        );
    }

    /// PCR 12: a command line. The event's data is the text itself.
    fn measure_text(
        &self,
        what: &str,
        text: &[u16],
        source: Source,
        rule: &'static Rule,
        recorder: &mut Recorder<'_>,
    ) {
        let data = utf16_nul(text);
        let event = Event {
            pcr: PcrIndex::new(12),
            event_type: Some(EventType::IPL),
            data: Some(data.clone()),
            description: format!("{what}: {}", utf16_text(text)),
            source,
            rule,
        };
        recorder.measure(event, [Segment::bytes(data)]);
    }

    fn measure_smbios_command_line(&mut self, recorder: &mut Recorder<'_>) {
        let text = self.scenario.smbios.value("io.systemd.stub.kernel-cmdline-extra");
        let Some(text) = text.filter(|_| !self.scenario.confidential_vm) else { return };
        let Ok(mut text) = command_line::decode(text.as_bytes()) else { return };
        let knows_null = self.rules.profiles;
        if knows_null {
            text = command_line::mangle(self.rules.mangle, &text);
            if text.is_empty() {
                return;
            }
        }
        self.measure_text("SMBIOS", &text, Source::Option("--smbios"), &rules::SMBIOS_COMMAND_LINE, recorder);
        let Ok(line) = &mut self.command_line else { return };
        match line {
            // A formatter of 254 to 256 prints a missing text as "(null)".
            None if !knows_null => {
                *line = Some([&super::text::utf16_units("(null) "), text.as_slice()].concat())
            }
            _ => append(line, &text),
        }
    }

    /// PCR 4 for the kernel, and what it will measure itself.
    fn hand_over(self, recorder: &mut Recorder<'_>) -> Result<Handover, BootError> {
        let kernel = self.start_kernel(recorder)?;
        let options = self.kernel_options(recorder);
        let initrd = self.initrd()?;
        Ok(Handover { kernel, options, options_from: self.used_inputs, initrd })
    }

    fn start_kernel(&self, recorder: &mut Recorder<'_>) -> Result<Option<StartedKernel>, BootError> {
        let in_uki = |error| BootError::image(&self.chain.uki.name, error);
        let Some(section) = self.section(".linux")? else { return Ok(None) };
        let facts = Kernel::parse(&section.data).map_err(in_uki)?;
        let uname =
            self.section(".uname")?.map(|section| section.read_text(MAX_TEXT)).transpose().map_err(in_uki)?;
        let image = PeImage::parse(&section.data);
        let loads = self.rules.inner_kernel == InnerKernel::LoadImage;
        match (&image, self.scenario.secure_boot) {
            (Ok(kernel), false) if loads && kernel.major_image_version >= 1 => {
                firmware::load_kernel(self.chain, &section, kernel, &rules::INNER_KERNEL, recorder)?;
            }
            (Err(_), false) if loads => recorder.gap(
                PcrIndex::new(4),
                GapCode::UnknownKernel,
                &rules::INNER_KERNEL,
                "the kernel in .linux is no PE image, so what the firmware measures when the stub loads it is not known",
                "an image with a Linux kernel that has an EFI stub",
            ),
            (_, true) if loads => recorder.assume(
                "no-shim",
                "no shim of version 16.0 is involved, which would measure the kernel in .linux",
                &[4],
                "",
            ),
            _ => {}
        }
        let enters_efi_stub = image.is_ok_and(|kernel| kernel.major_image_version >= 1);
        Ok(facts.map(|facts| StartedKernel { facts, uname, enters_efi_stub }))
    }

    /// LoadOptions that the kernel finds.
    fn kernel_options(&self, recorder: &mut Recorder<'_>) -> KernelOptions {
        let text = match &self.command_line {
            Err(problem) => {
                let reason = match problem {
                    TextProblem::NotUtf8 => {
                        "a command line is not valid UTF-8, so how the stub decodes it is not known"
                    }
                    TextProblem::Blank => {
                        "the command line is blank, which stubs of 255 and 256 read past its end"
                    }
                };
                return KernelOptions::Unknown(
                    GapCode::CommandLine,
                    reason.to_owned(),
                    "another command line",
                );
            }
            Ok(Some(text)) => text,
            // Nothing replaced the LoadOptions of the stub's own image, which the kernel runs in.
            Ok(None) if self.rules.inner_kernel == InnerKernel::OwnLoader => {
                let own = self.started.load_options.clone();
                return self.with_console(own, recorder);
            }
            Ok(None) => return KernelOptions::None,
        };
        self.with_console(Some(text.clone()), recorder)
    }

    /// From 261 on the stub adds a console if the command line has none.
    fn with_console(&self, text: Option<Vec<u16>>, recorder: &mut Recorder<'_>) -> KernelOptions {
        let has_console = text.as_ref().is_some_and(|text| has_word(text, "console="));
        if !self.rules.adds_console || has_console {
            return text.map_or(KernelOptions::None, KernelOptions::Text);
        }
        let mut text = text;
        match &self.scenario.console {
            Declared::Unknown => KernelOptions::Unknown(
                GapCode::Console,
                "the command line has no console=, so the stub adds words for the consoles that the machine has".to_owned(),
                "--stub-console 'console=hvc0' with what the machine adds, or --stub-console none",
            ),
            Declared::Absent => text.map_or(KernelOptions::None, KernelOptions::Text),
            Declared::Is(words) => {
                recorder.assume("stub-console", format!("the stub adds {words}"), &[9], "--stub-console");
                append(&mut text, &super::text::utf16_units(words));
                text.map_or(KernelOptions::None, KernelOptions::Text)
            }
        }
    }
}

/// PCR 1: SMBIOS structures of type 1, 2 and 11.
pub(super) fn measure_smbios_structures(scenario: &Scenario, recorder: &mut Recorder<'_>) {
    /// Offset of Wake-up Type in type 1 (DSP0134, section 7.2).
    const WAKE_UP_TYPE: usize = 0x18;
    let Some(structures) = &scenario.smbios.structures else {
        recorder.gap(
            PcrIndex::new(1),
            GapCode::Smbios,
            &rules::SMBIOS_STRUCTURES,
            "PCR 1 depends on the SMBIOS tables of the machine",
            "--smbios with the machine's /sys/firmware/dmi/tables/DMI",
        );
        return;
    };
    let tags = [(1, 0xD5CB_7CBC), (2, 0xE0D4_7BC8), (11, 0xC0B3_BD23)];
    for structure in structures {
        let Some((kind, tag)) = tags.iter().find(|(kind, _)| *kind == structure.kind) else { continue };
        let mut bytes = structure.bytes.clone();
        if *kind == 1
            && structure.formatted_length > WAKE_UP_TYPE
            && let Some(field) = bytes.get_mut(WAKE_UP_TYPE)
        {
            *field = 0;
        }
        let name = format!("smbios:type{kind}");
        let event = Event {
            pcr: PcrIndex::new(1),
            event_type: Some(EventType::EVENT_TAG),
            data: Some(tagged(*tag, &utf16_nul(&super::text::utf16_units(&name)))),
            description: format!("SMBIOS structure of type {kind}"),
            source: Source::Option("--smbios"),
            rule: &rules::SMBIOS_STRUCTURES,
        };
        recorder.measure(event, [Segment::bytes(bytes)]);
    }
}

fn report_unknown_stub(name: &str, recorder: &mut Recorder<'_>) {
    for pcr in [1, 4, 9, 11, 12, 13] {
        recorder.gap(
            PcrIndex::new(pcr),
            GapCode::UnknownStub,
            &rules::UNKNOWN_STUB,
            format!(
                "{name} has no .sdmagic of systemd-stub 252 or later, so what its stub measures is not known"
            ),
            "--systemd-version with the version of the stub, if it is systemd's",
        );
    }
}

/// The look-up of addons' sections is that of the stub which reads them.
fn addon_sections(image: &PeImage, lookup: SectionLookup) -> SectionSet<'_> {
    SectionSet::without_profiles(image, lookup)
}
