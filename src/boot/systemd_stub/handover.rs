//! What the stub hands over: the kernel, its LoadOptions, its initrd.

use super::command_line::{TextProblem, append, has_word};
use super::rules::{self, InnerKernel};
use super::{Initrd, Stub};
use crate::boot::measurement::GapCode;
use crate::boot::recorder::Recorder;
use crate::boot::replay::BootError;
use crate::boot::text::utf16_units;
use crate::boot::{Declared, InputId, firmware};
use crate::pe::PeImage;
use crate::secure_boot::Shim;
use crate::tcg::PcrIndex;
use crate::uki::{Kernel, KernelFormat, MAX_TEXT};

/// What the kernel gets.
pub(in crate::boot) struct Handover {
    pub(in crate::boot) kernel: Option<StartedKernel>,
    pub(in crate::boot) options: KernelOptions,
    /// The bytes of the options where they are not the text with a NUL behind it.
    pub(in crate::boot) raw_options: Option<Vec<u8>>,
    pub(in crate::boot) options_from: Vec<InputId>,
    pub(in crate::boot) initrd: Initrd,
}

/// The kernel in `.linux`.
pub(in crate::boot) struct StartedKernel {
    pub(in crate::boot) facts: Kernel,
    pub(in crate::boot) uname: Option<String>,
    /// It is started as an EFI application, so that its EFI stub runs.
    pub(in crate::boot) enters_efi_stub: bool,
}

/// LoadOptions of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::boot) enum KernelOptions {
    None,
    Text(Vec<u16>),
    Unknown(GapCode, String, &'static str),
}

impl Stub<'_> {
    /// PCR 4 for the kernel, and what it will measure itself.
    pub(super) fn hand_over(self, recorder: &mut Recorder<'_>) -> Result<Handover, BootError> {
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
                append(&mut text, &utf16_units(words));
                Ok(text)
            }
        }
    }
}
