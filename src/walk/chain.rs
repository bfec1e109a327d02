//! From an entry to everything that its boot reads.

use super::companions::{Inputs, beside};
use super::entries::{BootEntry, EntrySource};
use super::text::file_name;
use super::{Boot, Loader, LoaderConf, Medium, WalkError, shown, version_of};
use crate::boot::{
    BootChain, BootMedium, CompanionFile, EntryFile, InputRole, NamedImage, PartitionTable, Payload, Scope,
};
use crate::disk::Volume;
use crate::source::Blob;
use crate::uki::ImageRole;

/// What the entries of one systemd-boot have in common.
pub(super) struct Context<'a> {
    pub(super) medium: &'a Medium,
    pub(super) loader: &'a Loader,
    pub(super) configuration: Option<(LoaderConf, Blob)>,
    pub(super) drivers: Vec<(String, Blob)>,
}

/// The boot of one entry. An entry that can't boot is still an entry: its error is kept.
pub(super) fn of_entry(context: &Context<'_>, entry: &BootEntry) -> Boot {
    let chain = entry_chain(context, entry).map(Box::new);
    Boot { id: entry.id.clone(), profile: entry.profile, chain }
}

fn entry_chain(context: &Context<'_>, entry: &BootEntry) -> Result<BootChain, String> {
    let mut inputs = Inputs::default();
    let loader = inputs.image(InputRole::Loader, &context.loader.path, &context.loader.file)?;
    let mut chain = match &entry.source {
        EntrySource::Type2(path) => uki_chain(entry.volume.as_ref(), path, &entry.file, true, inputs)?,
        EntrySource::Type1 { .. } => type1_chain(entry, inputs)?,
    };
    chain.loader = Some(loader);
    let mut inputs = Inputs(std::mem::take(&mut chain.inputs));
    for (path, file) in &context.drivers {
        chain.drivers.push(inputs.image(InputRole::Driver, path, file)?);
    }
    let configuration = context.configuration.as_ref().map(|(_, file)| {
        let path = "loader/loader.conf";
        let input = inputs.add(InputRole::LoaderConf, path, file);
        CompanionFile { input, scope: Scope::Global, name: "loader.conf".to_owned(), file: file.clone() }
    });
    chain.medium = Some(medium(context.medium, configuration, &mut inputs));
    chain.inputs = inputs.0;
    Ok(chain)
}

fn type1_chain(entry: &BootEntry, mut inputs: Inputs) -> Result<BootChain, String> {
    let EntrySource::Type1 { path, program, initrds, options, extras, .. } = &entry.source else {
        return Err("not a Type #1 entry".to_owned());
    };
    let volume = entry.volume.as_ref();
    let file = existing(volume, program)?;
    let input = inputs.add(InputRole::BootEntry, path, &entry.file);
    let image = crate::pe::PeImage::parse(&file).map_err(|error| format!("{}: {error}", shown(program)))?;
    let role = ImageRole::of(&image).map_err(|error| format!("{}: {error}", shown(program)))?;
    if role == ImageRole::Uki {
        if !initrds.is_empty() || !extras.is_empty() {
            return Err(format!(
                "{}: initrd and extra lines with a unified kernel image are not followed",
                shown(path)
            ));
        }
        let mut chain = uki_chain(volume, program, &file, false, inputs)?;
        chain.entry = Some(EntryFile { input, options: options.clone(), initrds: Vec::new() });
        return Ok(chain);
    }
    let mut files = Vec::new();
    for initrd in initrds {
        let file = existing(volume, initrd)?;
        let input = inputs.add(InputRole::Initrd, initrd, &file);
        files.push(CompanionFile { input, scope: Scope::Local, name: initrd.clone(), file });
    }
    let payload = if role == ImageRole::Kernel { Payload::Kernel } else { Payload::Unknown };
    let kernel = inputs.image(InputRole::Kernel, program, &file)?;
    let mut chain = bare(kernel, payload, inputs);
    chain.entry = Some(EntryFile { input, options: options.clone(), initrds: files });
    Ok(chain)
}

fn existing(volume: &dyn Volume, path: &str) -> Result<Blob, String> {
    let file = volume.open(path).map_err(|error| error.to_string())?;
    file.ok_or_else(|| format!("{}: there is no {}", volume.label(), shown(path)))
}

/// A UKI with what lies beside it. `renamed`: systemd-boot counts this try in the file's name, where it has a counter.
fn uki_chain(
    volume: &dyn Volume,
    path: &str,
    file: &Blob,
    renamed: bool,
    mut inputs: Inputs,
) -> Result<BootChain, String> {
    let uki = inputs.image(InputRole::Uki, path, file)?;
    let version = version_of(&uki.image).map_err(|error| format!("{}: {error}", shown(path)))?;
    let companions = beside(volume, path, version.as_ref(), renamed, &mut inputs)?;
    let mut chain = bare(uki, Payload::UnifiedKernelImage, inputs);
    chain.addons = companions.addons;
    chain.credentials = companions.credentials;
    chain.extensions = companions.extensions;
    Ok(chain)
}

fn bare(image: NamedImage, payload: Payload, inputs: Inputs) -> BootChain {
    BootChain {
        inputs: inputs.0,
        loader: None,
        uki: image,
        payload,
        entry: None,
        addons: Vec::new(),
        credentials: Vec::new(),
        extensions: Vec::new(),
        drivers: Vec::new(),
        medium: None,
    }
}

/// A UKI that the firmware starts itself.
pub(super) fn direct_uki(medium_of: &Medium, loader: &Loader) -> Result<Boot, WalkError> {
    let chain = uki_chain(medium_of.esp.as_ref(), &loader.path, &loader.file, false, Inputs::default());
    Ok(boot(loader, chain.map(|chain| on(medium_of, chain))))
}

/// A kernel that the firmware starts itself.
pub(super) fn direct_kernel(medium_of: &Medium, loader: &Loader) -> Boot {
    let mut inputs = Inputs::default();
    let kernel = inputs.image(InputRole::Kernel, &loader.path, &loader.file);
    boot(loader, kernel.map(|kernel| on(medium_of, bare(kernel, Payload::Kernel, inputs))))
}

/// GRUB, started by a shim or by the firmware.
pub(super) fn grub(medium_of: &Medium, shim: Option<&Loader>, grub: &Loader) -> Boot {
    let chain = || {
        let mut inputs = Inputs::default();
        let shim = shim.map(|shim| inputs.image(InputRole::Loader, &shim.path, &shim.file)).transpose()?;
        let image = inputs.image(InputRole::Loader, &grub.path, &grub.file)?;
        let mut chain = bare(image, Payload::Grub, inputs);
        chain.loader = shim;
        Ok(on(medium_of, chain))
    };
    boot(grub, chain())
}

/// A loader that is not followed.
pub(super) fn unknown(medium_of: &Medium, loader: &Loader) -> Boot {
    let mut inputs = Inputs::default();
    let image = inputs.image(InputRole::Loader, &loader.path, &loader.file);
    boot(loader, image.map(|image| on(medium_of, bare(image, Payload::Unknown, inputs))))
}

fn boot(loader: &Loader, chain: Result<BootChain, String>) -> Boot {
    Boot { id: file_name(&loader.path).to_ascii_lowercase(), profile: 0, chain: chain.map(Box::new) }
}

fn on(medium_of: &Medium, mut chain: BootChain) -> BootChain {
    let mut inputs = Inputs(std::mem::take(&mut chain.inputs));
    chain.medium = Some(medium(medium_of, None, &mut inputs));
    chain.inputs = inputs.0;
    chain
}

fn medium(medium: &Medium, loader_conf: Option<CompanionFile>, inputs: &mut Inputs) -> BootMedium {
    let partition_table = match &medium.partition_table {
        Some(Ok(bytes)) => {
            let blob = Blob::from_bytes(bytes.clone());
            let input = inputs.add(InputRole::PartitionTable, "partition table", &blob);
            PartitionTable::Measured { input, bytes: bytes.clone() }
        }
        Some(Err(reason)) => PartitionTable::Unknown(reason.clone()),
        None => PartitionTable::NotGiven,
    };
    BootMedium { partition_table, loader_conf }
}
