//! GRUB's configuration on the medium: run, and turned into what its boot reads.

use std::sync::Arc;

use super::companions::Inputs;
use super::{Before, Loader, Medium};
use crate::baseline::RecordedGrub;
use crate::boot::{GrubBoot, GrubStep, InputRole};
use crate::disk::{ExtError, ExtVolume, FatVolume, Gpt, Partition, Volume};
use crate::grub::{Grub, GrubBuild, GrubFiles, GrubImage, GrubPartition, Step, Stop, Trace};

/// The partitions, under GRUB's names for them.
#[derive(Debug)]
pub(super) struct Partitions {
    pub(super) known: Vec<GrubPartition>,
    /// As long as `known`.
    pub(super) volumes: Vec<Option<Arc<dyn Volume>>>,
    pub(super) esp: String,
}

/// GRUB numbers disks in the order in which the firmware lists them; with one disk there is one number.
const DISK: &str = "hd0";
/// Most partitions that are looked at.
const MAX_PARTITIONS: usize = 128;

impl Partitions {
    fn of(medium: &Medium) -> Option<Self> {
        let table = medium.table.as_ref()?;
        let (mut known, mut volumes, mut esp) = (Vec::new(), Vec::new(), None);
        for partition in table.partitions.iter().take(MAX_PARTITIONS) {
            let device = format!("{DISK},gpt{}", partition.number);
            if partition.to_string() == medium.esp.label() {
                esp = Some(device.clone());
            }
            let (facts, volume) = open(table, partition, device);
            known.push(facts);
            volumes.push(volume);
        }
        Some(Self { known, volumes, esp: esp? })
    }
}

/// Reads what a partition holds: FAT, ext4, or nothing.
fn open(table: &Gpt, partition: &Partition, device: String) -> (GrubPartition, Option<Arc<dyn Volume>>) {
    let mut facts = GrubPartition { device, uuid: None, label: None, unreadable: None, since_2_12: false };
    let Some(content) = table.content(partition) else {
        facts.unreadable = Some(format!("{partition} reaches beyond the end of the image"));
        return (facts, None);
    };
    match ExtVolume::parse(&content, partition.to_string()) {
        Ok(volume) => {
            facts.uuid = Some(volume.uuid().to_owned());
            facts.label = Some(volume.name().to_owned());
            facts.since_2_12 = volume.has_checksum_seed();
            return (facts, Some(Arc::new(volume)));
        }
        Err(ExtError::Magic(_) | ExtError::Missing(_)) => {}
        Err(error) => {
            facts.unreadable = Some(format!("{partition}: {error}"));
            return (facts, None);
        }
    }
    match FatVolume::parse(&content, partition.to_string()) {
        Ok(volume) => {
            facts.uuid = volume.serial_number();
            facts.label = volume.volume_label();
            (facts, Some(Arc::new(volume)))
        }
        Err(_) => {
            facts.unreadable = Some(format!("{partition} holds neither FAT nor ext4"));
            (facts, None)
        }
    }
}

impl GrubFiles for Partitions {
    fn device(&self, name: &str) -> Result<&dyn Volume, Stop> {
        let at = self.known.iter().position(|partition| partition.device == name);
        let Some(at) = at else {
            return Err(Stop(format!(
                "files of the device ({name}) are read, which is no partition of this disk"
            )));
        };
        let why = self.known.get(at).and_then(|partition| partition.unreadable.clone()).unwrap_or_default();
        let volume = self.volumes.get(at).and_then(Option::as_deref);
        volume.ok_or_else(|| Stop(format!("files of the device ({name}) are read: {why}")))
    }

    fn partitions(&self) -> &[GrubPartition] {
        &self.known
    }
}

/// Runs the configuration of a GRUB that was loaded from `loader`. Its files become inputs.
pub(super) fn run(
    before: &Before<'_>,
    loader: &Loader,
    recorded: Option<&Result<RecordedGrub, String>>,
    inputs: &mut Inputs,
) -> Result<GrubBoot, String> {
    let image = match GrubImage::of(&loader.image) {
        Ok(image) => image,
        Err(error) => {
            let name = super::shown(&loader.path);
            return Ok(GrubBoot::not_followed(None, format!("{name}: {error}")));
        }
    };
    let mut boot = follow(before.medium, loader, &image, inputs)?;
    let Some(recorded) = recorded else { return Ok(boot) };
    boot.recorded = Some(recorded.clone().and_then(|recorded| {
        let partitions = Partitions::of(before.medium).ok_or("there is no disk around the files")?;
        let started = before.shim.iter().chain([loader]).map(|loader| &loader.image);
        let found = super::grub_replay::Replay::new(&recorded, &image, &partitions).hold(
            &loader.path,
            started,
            inputs,
        )?;
        Ok(Box::new(found))
    }));
    Ok(boot)
}

fn follow(
    medium: &Medium,
    loader: &Loader,
    image: &GrubImage,
    inputs: &mut Inputs,
) -> Result<GrubBoot, String> {
    let name = super::shown(&loader.path);
    let build = image.version.as_ref().and_then(GrubBuild::of);
    if let (Some(version), None) = (&image.version, build) {
        let reason = format!("what the build {version} of {name} measures was not observed");
        return Ok(GrubBoot::not_followed(None, reason));
    }
    let Some(partitions) = Partitions::of(medium) else {
        let reason =
            format!("the commands of {name} name the partition, which is not known without the disk");
        return Ok(GrubBoot::not_followed(build, reason));
    };
    let run = |secure| Grub::new(image, build, &partitions.esp, &partitions).secure(secure).run();
    let peimage = image.modules.contains("peimage");
    let mut boot = boot_of(run(false), peimage, inputs)?;
    boot.secure = Some(Box::new(boot_of(run(true), peimage, inputs)?));
    Ok(boot)
}

/// What a run did, with its files as inputs.
fn boot_of(trace: Trace, has_peimage: bool, inputs: &mut Inputs) -> Result<GrubBoot, String> {
    let mut boot = GrubBoot {
        build: trace.build,
        steps: Vec::new(),
        stopped: trace.stopped.map(|stop| stop.0),
        waits: trace.waits,
        asked_for_setup: trace.asked_for_setup,
        has_peimage,
        kernel: None,
        command_line: trace.command_line,
        initrds: Vec::new(),
        secure: None,
        recorded: None,
    };
    for step in trace.steps {
        boot.steps.push(match step {
            Step::Command(text) => GrubStep::Command(text),
            Step::KernelCommandLine(text) => GrubStep::KernelCommandLine(text),
            Step::File { name, path, file } => {
                GrubStep::File { name, input: inputs.add_once(InputRole::GrubFile, &path, &file) }
            }
            Step::Kernel { path, file } => {
                boot.kernel = Some(inputs.image_once(InputRole::Kernel, &path, &file)?);
                GrubStep::Kernel
            }
        });
    }
    for (path, file) in trace.initrds {
        boot.initrds.push(inputs.add_once(InputRole::Initrd, &path, &file));
    }
    Ok(boot)
}
