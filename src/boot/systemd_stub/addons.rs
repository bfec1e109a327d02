//! Addons: loaded as images, then taken apart.

use super::command_line::append;
use super::command_line::{TextProblem, decode, join, mangle};
use super::rules::{self, Addons};
use super::{Stub, addon_sections};
use crate::boot::linux::tagged;
use crate::boot::measurement::{GapCode, Source};
use crate::boot::recorder::{Event, Recorder};
use crate::boot::replay::BootError;
use crate::boot::text::{utf16_nul, utf16_units};
use crate::boot::{NamedImage, Scope, firmware, secure_boot};
use crate::tcg::{EventType, PcrIndex};
use crate::uki::{LoadedSection, MAX_TEXT};

const DEVICETREE_TAG: u32 = 0x6C46_F751;
const INITRD_TAG: u32 = 0x49DF_FE0F;
const MICROCODE_TAG: u32 = 0xDAC0_8E1A;
const PCR: PcrIndex = PcrIndex::new(12);
const SUFFIX: &str = ".addon.efi";

/// What the stub takes from one addon.
pub(super) struct Addon<'a> {
    scope: Scope,
    file: &'a NamedImage,
    command_line: Option<Vec<u8>>,
    devicetree: Option<LoadedSection>,
    has_automatic_devicetree: bool,
    pub(super) initrd: Option<LoadedSection>,
    pub(super) microcode: Option<LoadedSection>,
}

impl Addon<'_> {
    pub(super) fn input(&self) -> crate::boot::InputId {
        self.file.input
    }
}

/// Compares as many bytes as the addon's section has, up to a common NUL (systemd `strneq8`): an addon for `6.12`
/// fits a UKI of `6.12.3`.
fn same_uname(own: &[u8], addon: &[u8]) -> bool {
    for (index, byte) in addon.iter().enumerate() {
        match (own.get(index).copied().unwrap_or(0), *byte) {
            (0, 0) => return true,
            (own, other) if own != other => return false,
            _ => {}
        }
    }
    true
}

/// The names that the stub finds in a folder: regular, visible, ASCII, with the suffix; sorted by UTF-16 unit.
pub(super) fn is_candidate(name: &str, suffix: &str) -> bool {
    let length = name.len();
    let ends = length >= suffix.len()
        && name.is_ascii()
        && name.split_at(length - suffix.len()).1.eq_ignore_ascii_case(suffix);
    ends && !name.starts_with('.') && length <= 255
}

impl<'a> Stub<'a> {
    /// PCR 4: every candidate is loaded, also those that are rejected afterwards.
    pub(super) fn load_addons(&mut self, recorder: &mut Recorder<'_>) -> Result<(), BootError> {
        for scope in [Scope::Global, Scope::Local] {
            let mut files: Vec<&NamedImage> =
                self.chain.addons.iter().filter(|(of, _)| *of == scope).map(|(_, file)| file).collect();
            files.sort_by_key(|file| utf16_units(&file.name));
            for file in files {
                if !is_candidate(&file.name, SUFFIX) {
                    recorder
                        .warn(format!("{}: the stub only finds addons named *{SUFFIX}; left out", file.name));
                    continue;
                }
                if let Some(refusal) = secure_boot::refusal(file, recorder) {
                    recorder.warn(format!(
                        "{}: Secure Boot refuses it, and the stub goes on without: {refusal}",
                        file.name
                    ));
                    continue;
                }
                firmware::load_image(file, Some(&rules::ADDON_IMAGE), "addon", recorder)?;
                self.used_inputs.push(file.input);
                if let Some(addon) = self.accept_addon(scope, file, recorder)? {
                    self.addons.push(addon);
                }
            }
        }
        let unchecked = self.scenario.secure_boot && self.scenario.secure_boot_policy.is_none();
        if unchecked && !self.chain.addons.is_empty() {
            recorder.assume(
                "addons-authorised",
                "the firmware accepts the signature of every addon",
                &[4, 9, 12],
                "",
            );
        }
        Ok(())
    }

    fn accept_addon(
        &self,
        scope: Scope,
        file: &'a NamedImage,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<Addon<'a>>, BootError> {
        if file.image.machine != self.chain.uki.image.machine {
            // OVMF 2025.02 measured it and refused it then (booted).
            recorder.warn(format!(
                "{}: is for {}; the firmware measures it and does not load it",
                file.name, file.image.machine
            ));
            return Ok(None);
        }
        let in_addon = |error| BootError::image(&file.name, error);
        let sections = addon_sections(&file.image, self.rules);
        let get = |name: &str| sections.get(name).map_err(in_addon);
        if get(".linux")?.is_some() {
            recorder.warn(format!("{}: has .linux, so the stub rejects it as an addon", file.name));
            return Ok(None);
        }
        if self.rules.checks_addon_uname
            && let (Some(own), Some(other)) = (self.section(".uname")?, get(".uname")?)
        {
            let own = own.read(MAX_TEXT).map_err(|error| BootError::image(&self.chain.uki.name, error))?;
            let other = other.read(MAX_TEXT).map_err(in_addon)?;
            if !same_uname(&own, &other) {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
                let (own, other) = (text(&own), text(&other));
                recorder
                    .warn(format!("{}: made for kernel {other}, not {own}; the stub rejects it", file.name));
                return Ok(None);
            }
        }
        let beyond_command_line = self.rules.addons == Addons::All;
        let command_line =
            get(".cmdline")?.map(|section| section.read(MAX_TEXT)).transpose().map_err(in_addon)?;
        let devicetree = if self.rules.addons == Addons::CommandLine { None } else { get(".dtb")? };
        Ok(Some(Addon {
            scope,
            file,
            command_line,
            devicetree,
            has_automatic_devicetree: beyond_command_line && get(".dtbauto")?.is_some(),
            initrd: if beyond_command_line { get(".initrd")? } else { None },
            microcode: if beyond_command_line { get(".ucode")? } else { None },
        }))
    }

    /// 254: an event for each folder whose addons have command lines.
    pub(super) fn measure_addon_command_lines_by_folder(&mut self, recorder: &mut Recorder<'_>) {
        for scope in [Scope::Global, Scope::Local] {
            self.measure_addon_texts(Some(scope), recorder);
        }
    }

    /// 255 and later: one event.
    pub(super) fn measure_addon_command_lines(&mut self, recorder: &mut Recorder<'_>) {
        self.measure_addon_texts(None, recorder);
    }

    fn measure_addon_texts(&mut self, only: Option<Scope>, recorder: &mut Recorder<'_>) {
        let chosen = || self.addons.iter().filter(|addon| only.is_none_or(|scope| addon.scope == scope));
        let texts: Result<Vec<Vec<u16>>, _> =
            chosen().filter_map(|addon| addon.command_line.as_deref()).map(decode).collect();
        let inputs: Vec<_> =
            chosen().filter(|addon| addon.command_line.is_some()).map(Addon::input).collect();
        let how = self.rules.mangle;
        let text = match texts {
            Err(problem) => {
                let reason =
                    "an addon's command line is not valid UTF-8, so how the stub decodes it is not known";
                recorder.gap(
                    PCR,
                    GapCode::CommandLine,
                    &rules::ADDON_COMMAND_LINE,
                    reason,
                    "another command line",
                );
                self.command_line = Err(problem);
                return;
            }
            Ok(texts) if texts.is_empty() => return,
            // From 257 on each text is cleaned up, and empty ones don't count.
            Ok(texts) if self.rules.profiles => {
                let texts = texts.iter().map(|text| mangle(how, text)).filter(|text| !text.is_empty());
                let text = mangle(how, &join(&texts.collect::<Vec<_>>()));
                if text.is_empty() {
                    return;
                }
                text
            }
            Ok(texts) => mangle(how, &join(&texts)),
        };
        // Up to 256 what becomes of a blank text is undefined or was not observed.
        if text.is_empty() {
            let reason = "addons have only blank command lines, which stubs of 254 to 256 don't handle";
            recorder.gap(
                PCR,
                GapCode::CommandLine,
                &rules::ADDON_COMMAND_LINE,
                reason,
                "addons with a command line",
            );
            self.command_line = Err(TextProblem::Blank);
            return;
        }
        self.measure_text("addons", &text, Source::Derived(inputs), &rules::ADDON_COMMAND_LINE, recorder);
        if let Ok(line) = &mut self.command_line {
            append(line, &text);
        }
    }

    pub(super) fn measure_addon_devicetrees(&self, recorder: &mut Recorder<'_>) {
        for addon in &self.addons {
            if addon.has_automatic_devicetree {
                recorder.gap(
                    PCR,
                    GapCode::Devicetree,
                    &rules::ADDON_PART,
                    format!(
                        "{} has .dtbauto, and whether the stub takes it depends on the machine",
                        addon.file.name
                    ),
                    "an addon with .dtb only",
                );
            } else if let Some(section) = &addon.devicetree {
                recorder.assume(
                    "devicetree-installed",
                    "the firmware takes the devicetrees of addons",
                    &[12],
                    "",
                );
                self.measure_addon_part(addon, "devicetree", DEVICETREE_TAG, section, recorder);
            }
        }
    }

    pub(super) fn measure_addon_microcode(&self, recorder: &mut Recorder<'_>) {
        for addon in self.addons.iter().rev() {
            if let Some(section) = &addon.microcode {
                self.measure_addon_part(addon, "microcode", MICROCODE_TAG, section, recorder);
            }
        }
    }

    pub(super) fn measure_addon_initrds(&self, recorder: &mut Recorder<'_>) {
        for addon in &self.addons {
            if let Some(section) = &addon.initrd {
                self.measure_addon_part(addon, "initrd", INITRD_TAG, section, recorder);
            }
        }
    }

    fn measure_addon_part(
        &self,
        addon: &Addon<'_>,
        what: &str,
        tag: u32,
        section: &LoadedSection,
        recorder: &mut Recorder<'_>,
    ) {
        let event = Event {
            pcr: PCR,
            event_type: Some(EventType::EVENT_TAG),
            data: Some(tagged(tag, &utf16_nul(&utf16_units(&addon.file.name)))),
            description: format!("{what} of {}", addon.file.name),
            source: self.section_source(addon.input(), section),
            rule: &rules::ADDON_PART,
        };
        recorder.measure(event, section.segments());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filtered_as_the_stub_does() {
        for name in ["a.addon.efi", "B.ADDON.EFI", ".addon.efi.addon.efi"] {
            assert_eq!(is_candidate(name, SUFFIX), !name.starts_with('.'), "{name}");
        }
        for name in [
            "",
            "addon.efi",
            "a.addon.efi.bak",
            "ä.addon.efi",
            ".a.addon.efi",
            &format!("{}.addon.efi", "x".repeat(246)),
        ] {
            assert!(!is_candidate(name, SUFFIX), "{name}");
        }
    }
}
