//! systemd-stub: PCR 11, 12, 13, the addons in PCR 4, and what it hands to the kernel.

mod addons;
mod archives;
mod command_line;
mod handover;
mod initrd;
mod rules;
mod sections;
mod smbios;

pub(super) use command_line::{decode, has_word, section_command_line};
pub(super) use handover::{Handover, KernelOptions, StartedKernel};
pub(super) use initrd::Initrd;
pub(super) use rules::Mangle;
pub use rules::StubRules;
pub(super) use smbios::measure_smbios_structures;

use self::addons::Addon;
use self::command_line::{ParsedOptions, TextProblem, parse_load_options};
use self::rules::Step;
use super::linux::tagged;
use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::systemd_boot::Started;
use super::text::{utf16_nul, utf16_text};
use super::{BootChain, InputId, NamedImage, Scenario, cc};
use crate::hashing::Segment;
use crate::pe::PeImage;
use crate::tcg::{EventType, PcrIndex};
use crate::uki::{LoaderInfo, MAX_TEXT, Product, SectionSet, SystemdVersion};

const PROFILE_TAG: u32 = 0x13AE_D6DB;

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
