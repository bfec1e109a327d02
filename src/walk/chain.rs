//! From an entry to everything that its boot reads.

use super::companions::{Inputs, beside};
use super::entries::{BootEntry, EntrySource};
use super::text::file_name;
use super::{Before, Boot, Loader, LoaderConf, shown, version_of};
use crate::baseline::RecordedGrub;
use crate::boot::{
    BootChain, BootMedium, CompanionFile, EntryFile, InputRole, NamedImage, PartitionTable, Payload, Scope,
};
use crate::disk::Volume;
use crate::source::Blob;
use crate::uki::ImageRole;

/// What the entries of one systemd-boot have in common.
pub(super) struct Context<'a> {
    pub(super) before: &'a Before<'a>,
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
        EntrySource::Unread { path, why } => return Err(format!("{}: {why}", shown(path))),
    };
    chain.loader = Some(loader);
    let mut inputs = Inputs(std::mem::take(&mut chain.inputs));
    chain.shim = shim(context.before, &mut inputs)?;
    for (path, file) in &context.drivers {
        chain.drivers.push(inputs.image(InputRole::Driver, path, file)?);
    }
    let configuration = context.configuration.as_ref().map(|(_, file)| {
        let path = "loader/loader.conf";
        let input = inputs.add(InputRole::LoaderConf, path, file);
        CompanionFile { input, scope: Scope::Global, name: "loader.conf".to_owned(), file: file.clone() }
    });
    chain.medium = Some(medium(context.before, configuration, &mut inputs));
    chain.inputs = inputs.0;
    Ok(chain)
}

fn type1_chain(entry: &BootEntry, mut inputs: Inputs) -> Result<BootChain, String> {
    let EntrySource::Type1 { path, key, program, initrds, options, extras, devicetree } = &entry.source
    else {
        return Err("not a Type #1 entry".to_owned());
    };
    if *key == "uki-url" {
        return Err(format!("it boots {program} over the network, which no image holds"));
    }
    let volume = entry.volume.as_ref();
    let file = existing(volume, program)?;
    let input = inputs.add(InputRole::BootEntry, path, &entry.file);
    let image = crate::pe::PeImage::parse(&file).map_err(|error| format!("{}: {error}", shown(program)))?;
    let role = ImageRole::of(&image).map_err(|error| format!("{}: {error}", shown(program)))?;
    let mut files = |role: InputRole, paths: &[String]| -> Result<Vec<CompanionFile>, String> {
        let open = |path: &String| {
            let file = existing(volume, path)?;
            let input = inputs.add(role, path, &file);
            Ok(CompanionFile { input, scope: Scope::Local, name: path.clone(), file })
        };
        paths.iter().map(open).collect()
    };
    let initrds = files(InputRole::Initrd, initrds)?;
    if let Some(devicetree) = devicetree
        && volume.open(devicetree).map_err(|error| error.to_string())?.is_none()
    {
        return Err(format!(
            "{}: there is no {}: without Secure Boot systemd-boot gives up, with it the devicetree is not looked at",
            volume.label(),
            shown(devicetree)
        ));
    }
    let is_linux = *key == "linux";
    if role == ImageRole::Uki {
        let version = version_of(&image).map_err(|error| format!("{}: {error}", shown(program)))?;
        let brings = !initrds.is_empty() || !extras.is_empty();
        if brings && version.is_some_and(|version| version.major < 261) {
            return Err(format!("{}: a stub before 261 refuses an initrd of the boot loader's", shown(path)));
        }
        let extras = files(InputRole::Extra, extras)?;
        let mut chain = uki_chain(volume, program, &file, false, inputs)?;
        chain.entry = Some(EntryFile { input, is_linux, options: options.clone(), initrds, extras });
        return Ok(chain);
    }
    let payload = if role == ImageRole::Kernel { Payload::Kernel } else { Payload::Unknown };
    let kernel = inputs.image(InputRole::Kernel, program, &file)?;
    let mut chain = bare(kernel, payload, inputs);
    chain.entry = Some(EntryFile { input, is_linux, options: options.clone(), initrds, extras: Vec::new() });
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
        shim: None,
        loader: None,
        load_options: Vec::new(),
        uki: image,
        payload,
        entry: None,
        addons: Vec::new(),
        credentials: Vec::new(),
        extensions: Vec::new(),
        drivers: Vec::new(),
        grub: None,
        medium: None,
    }
}

/// A UKI that the firmware, or shim, starts itself.
pub(super) fn direct_uki(before: &Before<'_>, loader: &Loader) -> Boot {
    let chain = uki_chain(before.medium.esp.as_ref(), &loader.path, &loader.file, false, Inputs::default());
    boot(loader, chain.and_then(|chain| on(before, chain)))
}

/// A kernel that the firmware, or shim, starts itself.
pub(super) fn direct_kernel(before: &Before<'_>, loader: &Loader) -> Boot {
    boot(loader, single(before, loader, InputRole::Kernel, Payload::Kernel))
}

/// GRUB, started by a shim or by the firmware.
pub(super) fn grub(
    before: &Before<'_>,
    grub: &Loader,
    recorded: Option<&Result<RecordedGrub, String>>,
) -> Boot {
    let chain = || {
        let mut inputs = Inputs::default();
        let image = inputs.image(InputRole::Loader, &grub.path, &grub.file)?;
        let run = super::grub::run(before, grub, recorded, &mut inputs)?;
        let mut chain = bare(image, Payload::Grub, inputs);
        chain.grub = Some(run);
        on(before, chain)
    };
    boot(grub, chain())
}

/// A loader that is not followed.
pub(super) fn unknown(before: &Before<'_>, loader: &Loader) -> Boot {
    boot(loader, single(before, loader, InputRole::Loader, Payload::Unknown))
}

fn single(
    before: &Before<'_>,
    loader: &Loader,
    role: InputRole,
    payload: Payload,
) -> Result<BootChain, String> {
    let mut inputs = Inputs::default();
    let image = inputs.image(role, &loader.path, &loader.file)?;
    on(before, bare(image, payload, inputs))
}

fn boot(loader: &Loader, chain: Result<BootChain, String>) -> Boot {
    Boot { id: file_name(&loader.path).to_ascii_lowercase(), profile: 0, chain: chain.map(Box::new) }
}

/// What lies before and around the program.
fn on(before: &Before<'_>, mut chain: BootChain) -> Result<BootChain, String> {
    let mut inputs = Inputs(std::mem::take(&mut chain.inputs));
    chain.shim = shim(before, &mut inputs)?;
    chain.load_options = before.load_options.clone();
    chain.medium = Some(medium(before, None, &mut inputs));
    chain.inputs = inputs.0;
    Ok(chain)
}

fn shim(before: &Before<'_>, inputs: &mut Inputs) -> Result<Option<NamedImage>, String> {
    let shim = before.shim.as_ref();
    shim.map(|shim| inputs.image(InputRole::Loader, &shim.path, &shim.file)).transpose()
}

fn medium(before: &Before<'_>, loader_conf: Option<CompanionFile>, inputs: &mut Inputs) -> BootMedium {
    let medium = before.medium;
    let partition_table = match &medium.partition_table {
        Some(Ok(bytes)) => {
            let blob = Blob::from_bytes(bytes.clone());
            let input = inputs.add(InputRole::PartitionTable, "partition table", &blob);
            PartitionTable::Measured { input, bytes: bytes.clone() }
        }
        Some(Err(reason)) => PartitionTable::Unknown(reason.clone()),
        None => PartitionTable::NotGiven,
    };
    BootMedium {
        partition_table,
        loader_conf,
        earlier_options: medium.earlier_options.clone(),
        beside_shim: before.beside_shim.clone(),
        knows_variables: before.knows_variables,
    }
}
