//! GRUB's configuration on the medium: run, and turned into what its boot reads.

use std::sync::Arc;

use super::companions::Inputs;
use super::{Loader, Medium};
use crate::boot::{GrubBoot, GrubStep, InputRole};
use crate::disk::Volume;
use crate::grub::{Grub, GrubBuild, GrubFiles, GrubImage, Step, Stop};

/// The partitions that can be read, under GRUB's names for them.
#[derive(Debug)]
struct Partitions {
    volumes: Vec<(String, Arc<dyn Volume>)>,
}

/// GRUB numbers disks in the order in which the firmware lists them; with one disk there is one number.
const DISK: &str = "hd0";

impl Partitions {
    fn of(medium: &Medium) -> Option<Self> {
        let table = medium.table.as_ref()?;
        let volumes = [Some(&medium.esp), medium.xbootldr.as_ref()];
        let named = |volume: &Arc<dyn Volume>| {
            let partition =
                table.partitions.iter().find(|partition| partition.to_string() == volume.label())?;
            Some((format!("{DISK},gpt{}", partition.number), Arc::clone(volume)))
        };
        Some(Self { volumes: volumes.into_iter().flatten().filter_map(named).collect() })
    }

    /// The partition that GRUB comes from.
    fn esp(&self) -> Option<&str> {
        self.volumes.first().map(|(name, _)| name.as_str())
    }
}

impl GrubFiles for Partitions {
    fn device(&self, name: &str) -> Result<&dyn Volume, Stop> {
        let found = self.volumes.iter().find(|(known, _)| known == name);
        found
            .map(|(_, volume)| volume.as_ref())
            .ok_or_else(|| Stop(format!("files of the device ({name}) are read, which is no boot partition")))
    }
}

/// Runs the configuration of a GRUB that was loaded from `loader`. Its files become inputs.
pub(super) fn run(medium: &Medium, loader: &Loader, inputs: &mut Inputs) -> Result<GrubBoot, String> {
    let name = super::shown(&loader.path);
    let image = match GrubImage::of(&loader.image) {
        Ok(image) => image,
        Err(error) => return Ok(GrubBoot::not_followed(None, format!("{name}: {error}"))),
    };
    let Some(version) = image.version.clone() else {
        return Ok(GrubBoot::not_followed(None, format!("{name} has no .sbat section that names its build")));
    };
    let Some(build) = GrubBuild::of(&version) else {
        let reason = format!("what the build {version} of {name} measures was not observed");
        return Ok(GrubBoot::not_followed(None, reason));
    };
    let partitions = Partitions::of(medium);
    let Some((partitions, esp)) = partitions.as_ref().and_then(|all| Some((all, all.esp()?))) else {
        let reason =
            format!("the commands of {name} name the partition, which is not known without the disk");
        return Ok(GrubBoot::not_followed(Some(build), reason));
    };
    let trace = Grub::new(&image, build, esp, &loader.path, partitions).run();
    let mut boot = GrubBoot {
        build: Some(build),
        steps: Vec::new(),
        stopped: trace.stopped.map(|stop| stop.0),
        waits: trace.waits,
        kernel: None,
        command_line: trace.command_line,
        initrds: Vec::new(),
    };
    for step in trace.steps {
        boot.steps.push(match step {
            Step::Command(text) => GrubStep::Command(text),
            Step::KernelCommandLine(text) => GrubStep::KernelCommandLine(text),
            Step::File { name, path, file } => {
                GrubStep::File { name, input: inputs.add_once(InputRole::GrubFile, &path, &file) }
            }
            Step::Kernel { path, file } => {
                boot.kernel = Some(inputs.image(InputRole::Kernel, &path, &file)?);
                GrubStep::Kernel
            }
        });
    }
    for (path, file) in trace.initrds {
        boot.initrds.push(inputs.add_once(InputRole::Initrd, &path, &file));
    }
    Ok(boot)
}
