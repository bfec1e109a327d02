//! The kernel of a recorded boot: which files it and its initrds are, how it was started.

use std::collections::BTreeSet;

use super::super::companions::Inputs;
use super::{Opened, Replay, kept};
use crate::baseline::{GrubEvent, GrubEventKind};
use crate::boot::{GrubReplay, InputRole, ReplayStep, grub_initrd, utf16_units};
use crate::pe::PeImage;
use crate::tcg::{Digest, DigestSet};

/// How the recorded boot ended.
pub(super) struct Started<'a> {
    /// Position of the kernel's file.
    kernel: usize,
    command_line: &'a str,
    /// Positions of the initrds' files.
    initrds: Vec<usize>,
    /// What was measured of the kernel as an image.
    images: Vec<&'a DigestSet>,
    load_options: Option<&'a DigestSet>,
    initrd: Option<&'a DigestSet>,
}

impl<'a> Started<'a> {
    /// Finds the kernel: one that was started, by `linux` and at most one `initrd`.
    pub(super) fn of(events: &'a [GrubEvent]) -> Result<Self, String> {
        let lines: Vec<(usize, &str)> = events.iter().enumerate().filter_map(command_line).collect();
        let [(end, command_line)] = lines.as_slice() else {
            return Err(format!("it has command lines of {} kernels", lines.len()));
        };
        let before = events.get(..*end).unwrap_or_default();
        let load = before.iter().rposition(|event| words(event).is_some_and(|words| is(&words, "linux")));
        let load = load.ok_or("no command linux comes before the kernel's command line")?;
        let path =
            events.get(load).and_then(words).and_then(|words| words.get(1).copied()).unwrap_or_default();
        let kernel = files(events, load..*end, &[path]);
        let [kernel] = kernel.as_slice() else {
            return Err(format!("the kernel {path} was not opened once"));
        };
        let mut found = Self {
            kernel: *kernel,
            command_line,
            initrds: initrds(events, *end)?,
            images: Vec::new(),
            load_options: None,
            initrd: None,
        };
        for (at, event) in events.iter().enumerate() {
            let (tag, before) = match &event.kind {
                GrubEventKind::Image if at > *kernel => {
                    found.images.push(&event.digests);
                    continue;
                }
                GrubEventKind::Image => return Err("another image was started before the kernel".to_owned()),
                GrubEventKind::LoadOptions => ("LoadOptions", found.load_options.replace(&event.digests)),
                GrubEventKind::Initrd => ("initrd", found.initrd.replace(&event.digests)),
                _ => continue,
            };
            if before.is_some() || at < *end {
                return Err(format!("a kernel measured its {tag} before, or twice"));
            }
        }
        if found.images.windows(2).any(|pair| matches!(pair, [one, other] if one != other)) {
            return Err("several images were started".to_owned());
        }
        Ok(found)
    }

    /// Its content has no part in what GRUB does.
    pub(super) fn is_payload(&self, at: usize) -> bool {
        at == self.kernel || self.initrds.contains(&at)
    }

    /// The boot with the medium's kernel and initrds.
    pub(super) fn replay(
        &self,
        replay: &Replay<'_>,
        opened: &[Opened<'_>],
        changed: &BTreeSet<usize>,
        inputs: &mut Inputs,
    ) -> Result<GrubReplay, String> {
        let of = |at: usize| opened.iter().find(|file| file.at == at).ok_or("a file is missing");
        let kernel = of(self.kernel)?;
        let image = PeImage::parse(&kernel.file).map_err(|error| format!("{}: {error}", kernel.name))?;
        let kernel_changed = changed.contains(&self.kernel);
        let load_options = self.load_options()?;
        if kernel_changed && load_options.is_some() && image.major_image_version < 1 {
            return Err(format!("{} is no kernel that takes its initrd from its boot loader", kernel.name));
        }
        if let (false, Some(measured)) = (kernel_changed, self.images.first()) {
            let own = replay.image_digest(&image)?;
            if own.iter().any(|digest| measured.get(digest.algorithm()) != Some(digest)) {
                return Err("an image was started that is not the kernel".to_owned());
            }
        }
        self.check_initrd(replay, opened, changed)?;
        let mut steps = Vec::new();
        for event in replay.recorded.events.iter().enumerate() {
            steps.extend(self.step(replay, event, opened, changed, inputs));
        }
        let name = kernel.name.split_once(')').map_or(kernel.name, |(_, path)| path);
        let input = replay.input(kernel, InputRole::Kernel, inputs);
        Ok(GrubReplay {
            steps,
            kernel: inputs.as_image(input, name, image),
            kernel_changed,
            kernel_measured: self.images.len(),
            load_options,
            initrds: self
                .initrds
                .iter()
                .map(|at| Ok(replay.input(of(*at)?, InputRole::Initrd, inputs)))
                .collect::<Result<_, &str>>()?,
            secure_boot: replay.recorded.secure_boot,
        })
    }

    /// One event; the kernel's stub measures by itself.
    fn step(
        &self,
        replay: &Replay<'_>,
        (at, event): (usize, &GrubEvent),
        opened: &[Opened<'_>],
        changed: &BTreeSet<usize>,
        inputs: &mut Inputs,
    ) -> Option<ReplayStep> {
        match &event.kind {
            GrubEventKind::Command(text) => Some(kept(8, "grub_cmd: ", text, &event.digests)),
            GrubEventKind::CommandLine(text) => Some(kept(8, "kernel_cmdline: ", text, &event.digests)),
            GrubEventKind::File(name) => {
                let file = opened.iter().find(|file| file.at == at)?;
                let role = if at == self.kernel {
                    InputRole::Kernel
                } else if self.is_payload(at) {
                    InputRole::Initrd
                } else {
                    InputRole::GrubFile
                };
                let input = replay.input(file, role, inputs);
                let new = ReplayStep::File { name: name.clone(), input };
                Some(if changed.contains(&at) { new } else { kept(9, "", name, &event.digests) })
            }
            GrubEventKind::Image => Some(ReplayStep::Kernel),
            GrubEventKind::LoadOptions | GrubEventKind::Initrd => None,
        }
    }

    /// What the kernel's stub was given: with a NUL behind it or without, which its digest tells.
    fn load_options(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(measured) = self.load_options else {
            return match self.initrd {
                Some(_) => Err("its kernel measured the initrd and no command line".to_owned()),
                None => Ok(None),
            };
        };
        if self.initrd.is_some() == self.initrds.is_empty() {
            return Err("its kernel did not measure the initrd that GRUB opened".to_owned());
        }
        let text = utf16_units(&format!("BOOT_IMAGE={}", self.command_line));
        let bytes =
            |end: &[u16]| text.iter().chain(end).flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>();
        let mut candidates = [bytes(&[]), bytes(&[0])].into_iter();
        let fits =
            |raw: &Vec<u8>| measured.iter().all(|digest| Digest::of(digest.algorithm(), raw) == digest);
        let found = candidates.find(fits);
        found.map(Some).ok_or_else(|| "its kernel measured another command line than GRUB".to_owned())
    }

    /// Several initrds are put together in a way that an unchanged set of them confirms.
    fn check_initrd(
        &self,
        replay: &Replay<'_>,
        opened: &[Opened<'_>],
        changed: &BTreeSet<usize>,
    ) -> Result<(), String> {
        let Some(measured) = self.initrd else { return Ok(()) };
        let files = opened.iter().filter(|file| self.initrds.contains(&file.at));
        if files.clone().any(|file| changed.contains(&file.at)) {
            return match self.initrds.len() {
                1 => Ok(()),
                _ => Err("one of several initrds changed, and how this GRUB puts them together is not known"
                    .to_owned()),
            };
        }
        let segments = grub_initrd(files.map(|file| &file.file));
        let own = replay.digest(segments)?;
        if own.iter().any(|digest| measured.get(digest.algorithm()) != Some(digest)) {
            return Err("its kernel measured another initrd than GRUB opened".to_owned());
        }
        Ok(())
    }
}

fn command_line((at, event): (usize, &GrubEvent)) -> Option<(usize, &str)> {
    match &event.kind {
        GrubEventKind::CommandLine(line) => Some((at, line)),
        _ => None,
    }
}

fn words(event: &GrubEvent) -> Option<Vec<&str>> {
    match &event.kind {
        GrubEventKind::Command(text) => Some(text.split(' ').collect()),
        _ => None,
    }
}

/// `linux`, or `linuxefi` and its like.
fn is(words: &[&str], command: &str) -> bool {
    let rest = words.first().and_then(|word| word.strip_prefix(command));
    rest.is_some_and(|rest| matches!(rest, "" | "efi" | "16"))
}

/// Positions of files with one of these names.
fn files(events: &[GrubEvent], range: std::ops::Range<usize>, names: &[&str]) -> Vec<usize> {
    let named = |at: &usize| match events.get(*at).map(|event| &event.kind) {
        Some(GrubEventKind::File(name)) => names.contains(&name.as_str()),
        _ => false,
    };
    range.filter(named).collect()
}

/// The files of the command `initrd`, which comes after the kernel.
fn initrds(events: &[GrubEvent], kernel: usize) -> Result<Vec<usize>, String> {
    let commands = events.iter().enumerate().filter_map(|(at, event)| Some((at, words(event)?)));
    let loads: Vec<(usize, Vec<&str>)> = commands.filter(|(_, words)| is(words, "initrd")).collect();
    let (at, words) = match loads.as_slice() {
        [] => return Ok(Vec::new()),
        [(at, words)] if *at > kernel => (*at, words),
        _ => return Err("it has several commands initrd".to_owned()),
    };
    let names = words.get(1..).unwrap_or_default();
    let found = files(events, at..events.len(), names);
    if found.len() == names.len() { Ok(found) } else { Err("not every initrd was opened once".to_owned()) }
}
