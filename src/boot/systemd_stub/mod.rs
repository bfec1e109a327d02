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
use super::{BootChain, Declared, InputId, NamedImage, Scenario, cc, firmware};
use crate::hashing::Segment;
use crate::pe::PeImage;
use crate::secure_boot::Shim;
use crate::tcg::{EventType, PcrIndex};
use crate::uki::{
    Kernel, KernelFormat, LoadedSection, LoaderInfo, MAX_TEXT, Product, SectionSet, SystemdVersion,
};

const PROFILE_TAG: u32 = 0x13AE_D6DB;

/// What the kernel gets.
pub(super) struct Handover {
    pub(super) kernel: Option<StartedKernel>,
    pub(super) options: KernelOptions,
    /// The bytes of the options where they are not the text with a NUL behind it.
    pub(super) raw_options: Option<Vec<u8>>,
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
            let stub = info.filter(|info| info.product == Product::SystemdStub);
            stub.and_then(|info| info.version).filter(|version| !version.is_patched())
        }
    };
    Ok(version.and_then(|version| StubRules::of(&version).map(|rules| (version, rules))))
}

/// How many sections of a name the chain's stub chooses among by the machine it runs on: `.dtbauto` and `.efifw`.
///
/// # Errors
/// When the image can't be read; an image without the profile has no choices.
pub fn choices(chain: &BootChain, scenario: &Scenario, name: &str) -> Result<usize, crate::pe::PeError> {
    if chain.payload != super::Payload::UnifiedKernelImage {
        return Ok(0);
    }
    let image = &chain.uki.image;
    let Some((_, rules)) = identify(image, scenario.stub_version.as_ref())? else { return Ok(0) };
    let selects =
        rules.measured_sections.contains(&name) && (name != ".efifw" || rules.selects_firmware_image);
    if !selects {
        return Ok(0);
    }
    let profile = selected_profile(chain, rules, scenario);
    let Ok(sections) = section_set(image, rules, profile) else { return Ok(0) };
    Ok(sections.all(name)?.len())
}

/// The profile that a stub selects by the options asked for.
pub(super) fn selected_profile(chain: &BootChain, rules: &StubRules, scenario: &Scenario) -> u32 {
    let options = super::systemd_boot::found_options(chain, scenario);
    parse_load_options(options.as_deref(), rules, scenario, true).profile.unwrap_or(0)
}

/// The sections as a stub of these rules finds them.
fn section_set<'a>(
    image: &'a PeImage,
    rules: &StubRules,
    profile: u32,
) -> Result<SectionSet<'a>, crate::uki::ProfileError> {
    let sections = if rules.profiles {
        SectionSet::with_profile(image, rules.lookup, profile)?
    } else {
        SectionSet::without_profiles(image, rules.lookup)
    };
    Ok(if rules.checks_size_of_image { sections.inside_image() } else { sections })
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
        report_unknown_stub(uki, scenario, recorder)?;
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
    cc::systemd_begins("systemd-stub", &version, recorder);
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
    /// Inputs that the initrd and the command line are made of, so far.
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
        let in_uki = |error| BootError::image(&chain.uki.name, error);
        // The profile decides which .cmdline there is, and whether there is one decides about the options; but the
        // selector itself is read before.
        let selected = parse_load_options(started.load_options.as_deref(), rules, scenario, true).profile;
        let profile = selected.unwrap_or(0);
        if scenario.profile != 0 && scenario.profile != profile {
            return Err(BootError::ProfileIgnored {
                name: chain.uki.name.clone(),
                profile: scenario.profile,
            });
        }
        let sections = section_set(image, rules, profile)
            .map_err(|error| BootError::Profile { name: chain.uki.name.clone(), error })?;
        let command_line = sections.get(".cmdline").map_err(in_uki)?;
        let options =
            parse_load_options(started.load_options.as_deref(), rules, scenario, command_line.is_some());
        let base = match (&options.accepted, command_line) {
            // 255 and 256 read past the end of a blank text.
            (Some(accepted), _) if accepted.used.is_empty() && rules.mangle == Mangle::TrimUnsafe => {
                Err(TextProblem::Blank)
            }
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
                ".dtbauto" => self.chosen(name, &self.scenario.devicetree, recorder)?,
                ".efifw" if !self.rules.selects_firmware_image => None,
                ".efifw" => self.chosen(name, &self.scenario.firmware_image, recorder)?,
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
    fn chosen(
        &self,
        name: &str,
        choice: &Declared<usize>,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<LoadedSection>, BootError> {
        let all = self.sections.all(name).map_err(|error| BootError::image(&self.chain.uki.name, error))?;
        match choice {
            Declared::Is(number) => Ok(all.into_iter().nth(*number)),
            Declared::Absent => Ok(None),
            Declared::Unknown => {
                if !all.is_empty() {
                    recorder.gap(
                        PcrIndex::new(11),
                        GapCode::Devicetree,
                        &rules::SECTION,
                        format!(
                            "which of {} sections {name} the stub takes depends on the machine",
                            all.len()
                        ),
                        "--devicetree N or none, --firmware-image N or none",
                    );
                }
                Ok(None)
            }
        }
    }

    /// A section of the UKI as the stub finds it.
    fn section(&self, name: &str) -> Result<Option<LoadedSection>, BootError> {
        self.sections.get(name).map_err(|error| BootError::image(&self.chain.uki.name, error))
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
        if self.command_line == Err(TextProblem::Blank) {
            let reason = "LoadOptions are blank, which stubs of 255 and 256 read past their end";
            recorder.gap(
                PcrIndex::new(12),
                GapCode::CommandLine,
                &rules::LOAD_OPTIONS,
                reason,
                "another command line",
            );
            return;
        }
        let by_option = self.started.by.is_none() && self.scenario.load_options.is_none();
        let option =
            if by_option && !self.chain.load_options.is_empty() { "--variables" } else { "--cmdline" };
        self.measure_text(
            "LoadOptions",
            &accepted.measured,
            Source::Option(option),
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
        let mut text = match command_line::decode(text) {
            Ok(text) => text,
            Err(problem) => {
                let reason = "an SMBIOS string is not valid UTF-8, so how the stub decodes it is not known";
                let remedy = "another SMBIOS string";
                recorder.gap(PcrIndex::new(12), GapCode::Smbios, &rules::SMBIOS_COMMAND_LINE, reason, remedy);
                self.command_line = Err(problem);
                return;
            }
        };
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
                *line = Some([&super::text::utf16_units("(null) "), text.as_slice()].concat());
            }
            _ => append(line, &text),
        }
    }

    /// PCR 4 for the kernel, and what it will measure itself.
    fn hand_over(self, recorder: &mut Recorder<'_>) -> Result<Handover, BootError> {
        let kernel = self.start_kernel(recorder)?;
        let options = self.kernel_options(recorder);
        let initrd = self.initrd()?;
        // Where nothing replaced them, the kernel finds the LoadOptions of the stub.
        let untouched = self.command_line == Ok(None)
            && matches!(&options, KernelOptions::Text(text) if Some(text) == self.started.load_options.as_ref());
        let raw_options = self.started.raw_options.clone().filter(|_| untouched);
        Ok(Handover { kernel, options, raw_options, options_from: self.used_inputs, initrd })
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
            _ => {}
        }
        self.check_shim(recorder);
        if facts.as_ref().is_some_and(|facts| facts.format == KernelFormat::Zboot) {
            for pcr in [4, 9] {
                recorder.gap(
                    PcrIndex::new(pcr),
                    GapCode::UnknownKernel,
                    &rules::INNER_KERNEL,
                    "the kernel in .linux is packed as vmlinuz.efi; what is measured when it unpacks itself is not known",
                    "a UKI with the unpacked kernel image",
                );
            }
        }
        let enters_efi_stub = image.is_ok_and(|kernel| kernel.major_image_version >= 1);
        Ok(facts.map(|facts| StartedKernel { facts, uname, enters_efi_stub }))
    }

    /// Under Secure Boot the firmware is never asked for the kernel. shim 16.0 is, and measures it; others know it for a
    /// part of the UKI, or are not asked either.
    fn check_shim(&self, recorder: &mut Recorder<'_>) {
        if !self.scenario.secure_boot {
            return;
        }
        let Some(shim) = &self.chain.shim else {
            let statement = "no shim of version 16.0 is involved, which would measure the kernel in .linux";
            recorder.assume("no-shim", statement, &[4], "");
            return;
        };
        let version = Shim::of(&shim.image).ok().flatten().and_then(|shim| shim.version);
        if version.is_none_or(|version| version == (16, 0)) {
            recorder.gap(
                PcrIndex::new(4),
                GapCode::UnknownLoader,
                &rules::INNER_KERNEL,
                format!("whether {} measures the kernel in .linux depends on its version", shim.name),
                "a shim of version 15.8, or 16.1 and later",
            );
        }
    }

    /// LoadOptions that the kernel finds.
    fn kernel_options(&self, recorder: &mut Recorder<'_>) -> KernelOptions {
        let text = match &self.command_line {
            Ok(text) => text.clone(),
            Err(problem) => {
                let reason = match problem {
                    TextProblem::NotUtf8 => {
                        "a command line is not valid UTF-8, so how the stub decodes it is not known"
                    }
                    TextProblem::Blank => "a command line is blank, which stubs of 254 to 256 don't handle",
                };
                return KernelOptions::Unknown(
                    GapCode::CommandLine,
                    reason.to_owned(),
                    "another command line",
                );
            }
        };
        let text = match self.with_console(text, recorder) {
            Ok(text) => text,
            Err(unknown) => return unknown,
        };
        match text {
            Some(text) => KernelOptions::Text(text),
            // Nothing replaced the LoadOptions of the stub's own image, which the kernel runs in.
            None if self.rules.inner_kernel == InnerKernel::OwnLoader => {
                self.started.load_options.clone().map_or(KernelOptions::None, KernelOptions::Text)
            }
            None => KernelOptions::None,
        }
    }

    /// From 261 on the stub adds a console if the command line has none (systemd `cmdline_append_console`).
    fn with_console(
        &self,
        mut text: Option<Vec<u16>>,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<Vec<u16>>, KernelOptions> {
        let has_console = text.as_ref().is_some_and(|text| has_word(text, "console="));
        if !self.rules.adds_console || has_console {
            return Ok(text);
        }
        match &self.scenario.console {
            Declared::Unknown => {
                let reason = "the command line has no console=, so the stub adds words for the consoles that the machine has";
                let remedy =
                    "--stub-console 'console=hvc0' with what the machine adds, or --stub-console none";
                Err(KernelOptions::Unknown(GapCode::Console, reason.to_owned(), remedy))
            }
            Declared::Absent => {
                recorder.assume("stub-console", "the stub adds no console", &[9], "--stub-console");
                Ok(text)
            }
            Declared::Is(words) => {
                recorder.assume("stub-console", format!("the stub adds {words}"), &[9], "--stub-console");
                append(&mut text, &super::text::utf16_units(words));
                Ok(text)
            }
        }
    }
}

/// PCR 1: SMBIOS structures of type 1, 2 and 11.
pub(super) fn measure_smbios_structures(scenario: &Scenario, recorder: &mut Recorder<'_>) {
    /// Offset of Wake-up Type in type 1 (DSP0134, section 7.2).
    const WAKE_UP_TYPE: usize = 0x18;
    match cc::measures_smbios(recorder.running(), scenario) {
        Some(true) => {}
        Some(false) => return,
        None => {
            let reason = "whether this release of 261 measures SMBIOS structures without a TPM is not known";
            let remedy = "systemd-boot and systemd-stub of version 262 or later";
            recorder.gap(PcrIndex::new(1), GapCode::Smbios, &rules::SMBIOS_STRUCTURES, reason, remedy);
            return;
        }
    }
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

fn report_unknown_stub(
    uki: &NamedImage,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) -> Result<(), BootError> {
    let info = LoaderInfo::of(&uki.image).map_err(|error| BootError::image(&uki.name, error))?;
    let why = match (&scenario.stub_version, info) {
        (Some(version), _) => format!("systemd-stub {version} is older than 252, the oldest version known"),
        (None, None) => "the image has no .sdmagic that names its stub".to_owned(),
        (None, Some(info)) => match info.version {
            Some(version) if version.is_patched() => {
                format!("{} names no point release, and distributions backport what is measured", info.text)
            }
            _ => format!("{} is not systemd-stub of a version since 252", info.text),
        },
    };
    for pcr in [1, 4, 9, 11, 12, 13] {
        recorder.gap(
            PcrIndex::new(pcr),
            GapCode::UnknownStub,
            &rules::UNKNOWN_STUB,
            format!("{why}, so what the stub measures is not known"),
            "--systemd-version with the upstream version that the stub behaves as",
        );
    }
    Ok(())
}

/// The look-up of addons' sections is that of the stub which reads them.
fn addon_sections<'a>(image: &'a PeImage, rules: &StubRules) -> SectionSet<'a> {
    let sections = SectionSet::without_profiles(image, rules.lookup);
    if rules.checks_size_of_image { sections.inside_image() } else { sections }
}
