//! GRUB, by itself or behind a shim: its commands into PCR 8, its files into PCR 9, the kernel into PCR 4.

use super::grub_replay::{self, Recorded};
use super::measurement::{GapCode, Rule, Source};
use super::recorder::{Event, Recorder};
use super::replay::BootError;
use super::systemd_stub::{Handover, Initrd, KernelOptions, StartedKernel};
use super::text::utf16_units;
use super::{BootChain, GrubBoot, GrubStep, InputId, NamedImage, Scenario, cc, firmware};
use crate::grub::KernelStart;
use crate::hashing::Segment;
use crate::secure_boot::Shim;
use crate::source::Blob;
use crate::tcg::{EventType, PcrIndex};
use crate::uki::Kernel;

const COMMAND: Rule = Rule {
    id: "grub-command",
    statement: "GRUB measures each command that it runs, after expansion, and the kernel's command line, without the NUL that \
                ends them in the log",
    source: "GRUB grub-core/script/execute.c grub_script_execute_cmdline, grub-core/commands/tpm.c \
             grub_tpm_verify_string; 2.06, 2.12, 2.14",
};
const FILE: Rule = Rule {
    id: "grub-file",
    statement: "GRUB measures each file that it opens, whole and as it is stored, each time it opens it",
    source: "GRUB grub-core/commands/tpm.c grub_tpm_verify_write; 2.06, 2.12, 2.14",
};
const KERNEL: Rule = Rule {
    id: "grub-kernel",
    statement: "the kernel is measured by shim, each time that GRUB asks about it, or by the firmware where GRUB has it load \
                the kernel; which, and how often, differs from build to build",
    source: "shim shim.c shim_verify; EDK2 CoreLoadImage; observed, see the table of builds",
};
const NOT_FOLLOWED: Rule = Rule {
    id: "grub",
    statement: "GRUB measures its commands and command lines into PCR 8 and each file that it opens into PCR 9; with \
                Secure Boot, shim measures the kernel into PCR 4 as often as GRUB asks it, which differs from build to \
                build",
    source: "GRUB grub-core/commands/tpm.c; shim shim_verify",
};

/// Runs GRUB up to its kernel.
pub(super) fn run(
    chain: &BootChain,
    scenario: &Scenario,
    recorder: &mut Recorder<'_>,
) -> Result<Option<Handover>, BootError> {
    let name = &chain.uki.name;
    if chain.shim.is_none() {
        recorder.assume("pcr-14-unused", "nothing writes PCR 14: shim is not involved", &[14], "");
    }
    cc::grub_begins(name, recorder);
    let boot = chain.grub.as_ref();
    let recorded = Recorded::of(boot, scenario, recorder);
    let boot = boot.map(|boot| boot.secure.as_deref().filter(|_| scenario.secure_boot).unwrap_or(boot));
    let Some(boot) = boot else {
        stopped(name, "its configuration was not given", chain.shim.is_some(), false, recorder);
        return Ok(None);
    };
    if scenario.secure_boot && chain.shim.is_none() {
        if let Recorded::Usable(replay) = recorded {
            return grub_replay::run(chain, replay, scenario, recorder);
        }
        let reason = "what it does under Secure Boot where no shim started it was not observed";
        stopped(name, &recorded.reason(reason), false, false, recorder);
        return Ok(None);
    }
    let start = start(boot, chain, scenario);
    if let (Recorded::Usable(replay), true) = (&recorded, boot.stopped.is_some() || start.is_none()) {
        return grub_replay::run(chain, replay, scenario, recorder);
    }
    assume(boot, recorder);
    let mut kernel_measured = false;
    for step in &boot.steps {
        match step {
            GrubStep::Command(text) => command("grub_cmd", text, recorder),
            GrubStep::KernelCommandLine(text) => command("kernel_cmdline", text, recorder),
            GrubStep::File { name, input } => file(chain, name, *input, recorder),
            GrubStep::Kernel => {
                kernel_measured = true;
                if let (Some(kernel), false) = (&boot.kernel, start.is_some_and(|start| start.at_boot)) {
                    start_kernel(kernel, start, name, scenario.secure_boot, recorder)?;
                }
            }
        }
    }
    if let Some(reason) = &boot.stopped {
        let measured = kernel_measured && start.is_some_and(|start| !start.at_boot);
        stopped(name, &recorded.reason(reason), chain.shim.is_some(), measured, recorder);
        return Ok(None);
    }
    if let (Some(kernel), true) = (&boot.kernel, start.is_some_and(|start| start.at_boot)) {
        start_kernel(kernel, start, name, scenario.secure_boot, recorder)?;
    }
    hand_over(chain, boot, start, recorder)
}

/// What the run took for granted.
fn assume(boot: &GrubBoot, recorder: &mut Recorder<'_>) {
    if boot.steps.is_empty() {
        return;
    }
    let first =
        "GRUB lists the boot disk first (hd0), so its commands name it so, and it searches no other disk";
    recorder.assume("grub-first-disk", first, &[8], "");
    let default = if boot.waits {
        "nobody presses a key while GRUB's menu is shown, so that the default entry boots"
    } else {
        "nobody presses a key while GRUB starts, so that the default entry boots"
    };
    recorder.assume("grub-default-entry", default, &[4, 8, 9], "");
    if boot.asked_for_setup {
        let setup = "the firmware can restart into its setup (OsIndicationsSupported), so that GRUB has an entry for it";
        recorder.assume("grub-firmware-setup", setup, &[8, 9], "");
    }
}

/// How this build starts a kernel in this state of Secure Boot, where that was observed.
fn start(boot: &GrubBoot, chain: &BootChain, scenario: &Scenario) -> Option<KernelStart> {
    let build = boot.build?;
    let Some(shim) = &chain.shim else {
        return if boot.has_peimage { build.direct_peimage } else { build.direct };
    };
    // Behind shim the signed images were observed, which have this module where the build knows it.
    if build.direct_peimage.is_some() && !boot.has_peimage {
        return None;
    }
    let version = Shim::of(&shim.image).ok().flatten().and_then(|shim| shim.version);
    if version.map_or(0, |(major, _)| major) < build.shim {
        return None;
    }
    if scenario.secure_boot { build.secure } else { build.insecure }
}

/// PCR 8: a text behind its kind.
fn command(kind: &str, text: &str, recorder: &mut Recorder<'_>) {
    let event = Event {
        pcr: PcrIndex::new(8),
        event_type: Some(EventType::IPL),
        data: Some(format!("{kind}: {text}\0").into_bytes()),
        description: format!("{kind}: {text}"),
        source: Source::Constant,
        rule: &COMMAND,
    };
    recorder.measure(event, [Segment::bytes(text)]);
}

/// PCR 9: a file.
pub(super) fn file(chain: &BootChain, name: &str, input: InputId, recorder: &mut Recorder<'_>) {
    let Some(content) = content(chain, input) else { return };
    let event = Event {
        pcr: PcrIndex::new(9),
        event_type: Some(EventType::IPL),
        data: Some([name.as_bytes(), b"\0"].concat()),
        description: format!("file {name}"),
        source: Source::Derived(vec![input]),
        rule: &FILE,
    };
    recorder.measure(event, [Segment::Range(content.clone())]);
}

fn content(chain: &BootChain, input: InputId) -> Option<&Blob> {
    chain.inputs.get(input.0).map(|input| &input.file)
}

/// PCR 4 and 7: the kernel, as often as this build has it measured.
fn start_kernel(
    kernel: &NamedImage,
    start: Option<KernelStart>,
    name: &str,
    secure_boot: bool,
    recorder: &mut Recorder<'_>,
) -> Result<(), BootError> {
    match start {
        Some(start) => {
            for _ in 0..start.measured {
                firmware::load_image(kernel, Some(&KERNEL), "kernel", recorder)?;
            }
        }
        None => {
            // 7: the key that lets it start.
            let pcrs: &[u8] = if secure_boot { &[4, 7] } else { &[4] };
            for pcr in pcrs {
                recorder.gap(
                    PcrIndex::new(*pcr),
                    GapCode::UnknownLoader,
                    &KERNEL,
                    format!("how {name} has the kernel checked and measured in this state of Secure Boot was not observed"),
                    "--baseline with the event log of a boot by this GRUB",
                );
            }
        }
    }
    Ok(())
}

/// From here on nothing is known.
fn stopped(name: &str, reason: &str, behind_shim: bool, kernel_measured: bool, recorder: &mut Recorder<'_>) {
    let pcrs: &[u8] = if kernel_measured { &[8, 9] } else { &[4, 8, 9] };
    for pcr in pcrs {
        let reason = format!("what {name} does is followed only so far: {reason}");
        let remedy = "--baseline with the event log of a boot by this GRUB";
        recorder.gap(PcrIndex::new(*pcr), GapCode::UnknownLoader, &NOT_FOLLOWED, reason, remedy);
    }
    if !kernel_measured {
        let id = if behind_shim { "one-key-behind-shim" } else { "one-key-behind-grub" };
        let statement = format!(
            "with Secure Boot, what {name} loads is accepted by the key that {name} itself was accepted by"
        );
        recorder.assume(id, statement, &[7], "");
    }
    starts_linux(name, recorder);
}

fn starts_linux(name: &str, recorder: &mut Recorder<'_>) {
    let statement = format!("{name} starts a Linux kernel, not another EFI program");
    recorder.assume("grub-starts-linux", statement, &[5, 11, 12, 13], "");
}

/// The kernel's EFI stub, where it runs. GRUB passes `BOOT_IMAGE=` and the command line, up to 2.12 without a NUL behind it, and the
/// initrds one behind the other, each but the last padded to four bytes.
fn hand_over(
    chain: &BootChain,
    boot: &GrubBoot,
    start: Option<KernelStart>,
    recorder: &mut Recorder<'_>,
) -> Result<Option<Handover>, BootError> {
    let statement =
        "no systemd-stub is involved, so nothing measures sections, addons, credentials or extensions";
    recorder.assume("no-stub", statement, &[11, 12, 13], "");
    let Some(start) = start else {
        recorder.gap(
            PcrIndex::new(9),
            GapCode::UnknownLoader,
            &NOT_FOLLOWED,
            "whether this build of GRUB enters the kernel through its EFI stub in this state of Secure Boot was not observed",
            "--baseline with the event log of a boot by this GRUB",
        );
        return Ok(None);
    };
    let Some(kernel) = boot.kernel.as_ref().filter(|_| start.enters_efi_stub) else { return Ok(None) };
    let text = utf16_units(&format!("BOOT_IMAGE={}", boot.command_line.clone().unwrap_or_default()));
    let end = start.ends_with_nul.then_some(0);
    let raw = text.iter().chain(end.iter()).flat_map(|unit| unit.to_le_bytes()).collect();
    passed(chain, kernel, text, raw, &boot.initrds).map(Some)
}

/// What the kernel's EFI stub gets: the command line, with the NUL behind it in the raw bytes or not, and the initrds.
pub(super) fn passed(
    chain: &BootChain,
    kernel: &NamedImage,
    text: Vec<u16>,
    raw: Vec<u8>,
    initrds: &[InputId],
) -> Result<Handover, BootError> {
    let facts = Kernel::parse(&kernel.image.file).map_err(|error| BootError::image(&kernel.name, error))?;
    let segments = initrd_segments(initrds.iter().filter_map(|input| content(chain, *input)));
    let initrd = if segments.is_empty() { Initrd::None } else { Initrd::Known(segments, initrds.to_vec()) };
    Ok(Handover {
        kernel: facts.map(|facts| StartedKernel { facts, uname: None, enters_efi_stub: true }),
        options: KernelOptions::Text(text),
        raw_options: Some(raw),
        options_from: vec![kernel.input],
        initrd,
    })
}

/// Initrds as GRUB puts them together: each but the last padded to four bytes.
pub(crate) fn initrd_segments<'b>(files: impl Iterator<Item = &'b Blob>) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut files = files.peekable();
    while let Some(file) = files.next() {
        segments.push(Segment::Range(file.clone()));
        if files.peek().is_some() {
            let length = file.len();
            segments.push(Segment::Zeros(length.next_multiple_of(4).saturating_sub(length)));
        }
    }
    segments
}
