//! A recorded boot by GRUB, held against the medium: whether GRUB does the same again, but for kernel and initrd.
//!
//! The log of such a boot names every file that GRUB opened and every command that it ran, each with its digest. Where GRUB
//! itself, and all files but kernel and initrd, are those of the recorded boot, it runs the same commands again. What the
//! medium shows otherwise is in [`checks`]: files that are there now and were not opened then.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod checks;
mod kernel;

use std::collections::BTreeSet;

use super::companions::Inputs;
use super::grub::Partitions;
use crate::baseline::{GrubEvent, GrubEventKind, RecordedGrub};
use crate::boot::{GrubReplay, InputRole, ReplayStep};
use crate::disk::Volume;
use crate::grub::GrubImage;
use crate::hashing::{DigestPlan, Segment};
use crate::pe::{PeImage, authenticode_segments};
use crate::source::Blob;
use crate::tcg::{DigestSet, PcrIndex};
use kernel::Started;

/// A recorded boot, the GRUB of the medium, and its files.
pub(super) struct Replay<'a> {
    recorded: &'a RecordedGrub,
    image: &'a GrubImage,
    partitions: &'a Partitions,
}

/// A file that GRUB opened, as it is on the medium.
struct Opened<'a> {
    /// The event's position.
    at: usize,
    event: &'a GrubEvent,
    name: &'a str,
    /// Position of its partition.
    partition: usize,
    path: String,
    file: Blob,
}

/// What GRUB's variable `root` holds, where the commands say so.
type Root = Option<usize>;

impl<'a> Replay<'a> {
    pub(super) fn new(recorded: &'a RecordedGrub, image: &'a GrubImage, partitions: &'a Partitions) -> Self {
        Self { recorded, image, partitions }
    }

    /// Holds the medium against the recorded boot: `started` are the images up to GRUB, which is loaded from `path`.
    ///
    /// # Errors
    /// The first thing by which this boot may go another way.
    pub(super) fn hold<'i>(
        &self,
        path: &str,
        started: impl Iterator<Item = &'i PeImage>,
        inputs: &mut Inputs,
    ) -> Result<GrubReplay, String> {
        self.check_images(path, started)?;
        let kernel = Started::of(&self.recorded.events)?;
        let opened = self.locate()?;
        let searched = self.searched();
        let mut changed = BTreeSet::new();
        for file in &opened {
            if self
                .digest([Segment::Range(file.file.clone())])?
                .iter()
                .all(|digest| self.is(file.event, digest))
            {
                continue;
            }
            if !kernel.is_payload(file.at) && !searched.contains(&file.at) {
                return Err(format!("{} is another one than the recorded boot opened", file.name));
            }
            changed.insert(file.at);
        }
        self.check_commands(&opened)?;
        kernel.replay(self, &opened, &changed, inputs)
    }

    fn is(&self, event: &GrubEvent, digest: crate::tcg::Digest) -> bool {
        event.digests.get(digest.algorithm()) == Some(digest)
    }

    /// Hashes into one bank of the log.
    fn digest(&self, segments: impl IntoIterator<Item = Segment>) -> Result<DigestSet, String> {
        let mut plan = DigestPlan::new();
        let stream = plan.add(segments);
        let bank = self.recorded.banks.iter().max().copied().ok_or("the log has no bank")?;
        let digests = plan.compute(&[bank], &|_| ()).map_err(|error| error.to_string())?;
        digests
            .get(stream)
            .cloned()
            .filter(|set| !set.is_empty())
            .ok_or_else(|| "a file is not hashed".to_owned())
    }

    fn image_digest(&self, image: &PeImage) -> Result<DigestSet, String> {
        self.digest(authenticode_segments(image).map_err(|error| error.to_string())?)
    }

    /// The programs are the same, and this GRUB measures from its start on.
    fn check_images<'i>(&self, path: &str, started: impl Iterator<Item = &'i PeImage>) -> Result<(), String> {
        let started: Vec<DigestSet> =
            started.map(|image| self.image_digest(image)).collect::<Result<_, _>>()?;
        let same = |(one, other): (&DigestSet, &DigestSet)| {
            one.iter().all(|digest| other.get(digest.algorithm()) == Some(digest))
        };
        if started.len() != self.recorded.images.len() || !started.iter().zip(&self.recorded.images).all(same)
        {
            return Err("it was by another GRUB, another shim, or more programs".to_owned());
        }
        let same_path = |file: &String| normal(file).eq_ignore_ascii_case(&normal(path));
        if self.recorded.file.as_ref().is_some_and(|file| !same_path(file)) {
            return Err("GRUB was loaded from another file".to_owned());
        }
        if !self.image.modules.contains("tpm") {
            return Err(
                "the module tpm is not built in, so what GRUB read before it was loaded is not in the log"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Each file that was opened, on the medium.
    fn locate(&self) -> Result<Vec<Opened<'a>>, String> {
        let (mut disk, mut opened) = (None, Vec::new());
        let named: BTreeSet<usize> = self
            .names()
            .filter_map(|name| device_of(name))
            .filter_map(|device| self.partition(device))
            .collect();
        let mut root = self.early_root(&named)?;
        for (at, event) in self.recorded.events.iter().enumerate() {
            match &event.kind {
                GrubEventKind::Command(text) => self.follow_root(text, &named, &mut root)?,
                GrubEventKind::File(name) => {
                    if let Some(device) = device_of(name) {
                        let found = device.split(',').next();
                        if disk.is_some() && disk != found {
                            return Err(format!("it read several disks: {name}"));
                        }
                        disk = found;
                    }
                    let (partition, path, file) = self.find(name, root)?;
                    opened.push(Opened { at, event, name, partition, path, file });
                }
                _ => {}
            }
        }
        Ok(opened)
    }

    fn names(&self) -> impl Iterator<Item = &'a str> {
        self.recorded.events.iter().filter_map(|event| match &event.kind {
            GrubEventKind::File(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The partition of a name such as `hd0,gpt2`, whatever the number of the disk: the log is of the disk that booted.
    fn partition(&self, device: &str) -> Option<usize> {
        let (disk, part) = device.split_once(',')?;
        let number = disk.strip_prefix("hd")?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.partitions
            .known
            .iter()
            .position(|known| known.device.split_once(',').is_some_and(|(_, own)| own == part))
    }

    fn volume(&self, partition: usize) -> Option<&'a dyn Volume> {
        self.partitions.volumes.get(partition).and_then(Option::as_deref)
    }

    fn readable(&self) -> impl Iterator<Item = (usize, &'a dyn Volume)> {
        let volumes = self.partitions.volumes.iter().enumerate();
        volumes.filter_map(|(at, volume)| Some((at, volume.as_deref()?)))
    }

    /// Where a file is that was opened.
    fn find(&self, name: &str, root: Root) -> Result<(usize, String, Blob), String> {
        let missing = || format!("{name}, which the recorded boot opened, is not on the disk");
        if let Some(device) = device_of(name) {
            let path = name.split_once(')').map_or("", |(_, path)| path);
            let partition = self.partition(device).ok_or_else(missing)?;
            let volume = self.volume(partition).ok_or_else(|| {
                let known = self.partitions.known.get(partition);
                let why = known.and_then(|known| known.unreadable.clone()).unwrap_or_default();
                format!("{name}, which the recorded boot opened, can't be read: {why}")
            })?;
            let file = volume.open(path).map_err(|error| error.to_string())?.ok_or_else(missing)?;
            return Ok((partition, normal(path), file));
        }
        let mut found = Vec::new();
        for (partition, volume) in
            self.readable().filter(|(partition, _)| root.is_none_or(|root| root == *partition))
        {
            if let Some(file) = volume.open(name).map_err(|error| error.to_string())? {
                found.push((partition, normal(name), file));
            }
        }
        if found.len() > 1 {
            return Err(format!("{name}, which the recorded boot opened, is on several partitions"));
        }
        found.pop().ok_or_else(missing)
    }

    /// Takes a file among the inputs, under the name that a followed boot gives it.
    fn input(&self, file: &Opened<'_>, role: InputRole, inputs: &mut Inputs) -> crate::boot::InputId {
        let device = self.partitions.known.get(file.partition).map_or("", |known| known.device.as_str());
        let path = if device == self.partitions.esp {
            file.path.clone()
        } else {
            format!("({device}){}", file.path)
        };
        inputs.add_once(role, &path, &file.file)
    }
}

/// `hd0,gpt2` of `(hd0,gpt2)/path`.
fn device_of(name: &str) -> Option<&str> {
    name.strip_prefix('(')?.split_once(')').map(|(device, _)| device)
}

/// A path with one slash in front of each component; the firmware's have backslashes.
fn normal(path: &str) -> String {
    path.split(['/', '\\']).filter(|part| !part.is_empty()).flat_map(|part| ["/", part]).collect()
}

fn kept(pcr: u8, kind: &str, text: &str, digests: &DigestSet) -> ReplayStep {
    let data = format!("{kind}{text}\0").into_bytes();
    ReplayStep::Kept { pcr: PcrIndex::new(pcr), data, digests: digests.clone() }
}
