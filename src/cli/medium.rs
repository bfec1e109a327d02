//! What the positional argument is: a UKI, or something that a machine boots from.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::build_results::BuildResults;
use super::input::open;
use super::output::hinted;
use super::secure_boot::VariableFile;
use super::split_artifacts;
use crate::audit::{AuditOptions, Report, audit};
use crate::baseline::RecordedGrub;
use crate::boot::{BootChain, ExitBootServices};
use crate::source::oci::{OciError, open_archive, open_folder};
use crate::source::{Blob, ContainerError, DEFAULT_MAX_SIZE, Unpacked, unpack_watched};
use crate::walk::{LoaderVariables, Medium, MediumError, Walk, WalkError, Wishes, walk};

/// What decides about the walk of a disk, boot partition or folder.
#[derive(Debug, Clone, Args)]
pub(super) struct WalkArgs {
    /// File that the firmware starts [default: the removable media path, EFI/BOOT/BOOTX64.EFI and its like]
    #[arg(long, value_name = "PATH", help_heading = "Disk")]
    boot_option: Option<String>,
    /// Number of the EFI System Partition, where there are several
    #[arg(long, value_name = "N", help_heading = "Disk")]
    partition: Option<u32>,
    /// Entry of systemd-boot: its id, or a pattern [default: the one that systemd-boot chooses]
    #[arg(long, value_name = "ID", help_heading = "Disk")]
    entry: Option<String>,
    /// The machine's EFI variables: an efivarfs folder, EDK2 variable store (OVMF_VARS.fd), virt-firmware JSON or AWS's
    /// uefi-data; of Secure Boot alone, a recorded event log or a folder of .auth files (loader/keys/NAME of a boot partition)
    #[arg(long, value_name = "PATH", help_heading = "Machine")]
    variables: Option<PathBuf>,
    /// Dictionary of AWS's uefi-data, which --variables needs to read such: 11,381 bytes, dict.v0 of virt-firmware
    /// (virt/firmware/aws/ of its Python package)
    #[arg(long, value_name = "FILE", requires = "variables", help_heading = "Machine")]
    uefi_data_dictionary: Option<PathBuf>,
    /// Variable of systemd-boot, over those of --variables; repeatable: LoaderEntryDefault, LoaderEntryOneShot,
    /// LoaderEntryPreferred, LoaderEntryLastBooted
    #[arg(long = "loader-variable", value_name = "NAME=VALUE", help_heading = "Machine")]
    loader_variables: Vec<String>,
    /// Most bytes that a compressed image may unpack to; K, M, G and T are understood [default: 32G]
    #[arg(long, value_name = "BYTES", value_parser = parse_size, help_heading = "Disk")]
    max_size: Option<u64>,
}

impl WalkArgs {
    /// What `--variables` names.
    pub(super) fn variables(&self) -> Option<VariableFile<'_>> {
        let dictionary = self.uefi_data_dictionary.as_deref();
        self.variables.as_deref().map(|path| VariableFile { path, dictionary })
    }

    /// Most bytes that something may unpack to.
    pub(super) fn max_size(&self) -> u64 {
        self.max_size.unwrap_or(DEFAULT_MAX_SIZE)
    }

    fn wishes(&self) -> anyhow::Result<Wishes> {
        let mut variables = match self.variables() {
            Some(file) => super::secure_boot::boot_variables(file)?,
            None => None,
        };
        for text in &self.loader_variables {
            let variables = variables.get_or_insert_default();
            let known = text.split_once('=').is_some_and(|(name, value)| variables.loader.set(name, value));
            if !known {
                let names = LoaderVariables::NAMES.join(", ");
                return Err(hinted(
                    format!("--loader-variable '{text}': expected NAME=VALUE with one of {names}"),
                    "as in --loader-variable LoaderEntryDefault=linux-6.12.efi",
                ));
            }
        }
        let (boot_option, entry) = (self.boot_option.clone(), self.entry.clone());
        Ok(Wishes { boot_option, entry, variables, ..Wishes::default() })
    }
}

/// What decides about the boot of a disk, boot partition or folder.
#[derive(Debug, Clone, Args)]
pub(super) struct MediumArgs {
    #[command(flatten)]
    pub(super) walk: WalkArgs,
    /// Predict every entry of the boot menu, as alternatives of one document
    #[arg(long, conflicts_with_all = ["entry", "profile", "cmdline"], help_heading = "Disk")]
    all_entries: bool,
    /// Outcome of the kernel's first call of ExitBootServices; not given, both are computed
    #[arg(long, value_enum, help_heading = "Machine")]
    exit_boot_services: Option<ExitOutcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExitOutcome {
    /// It succeeds
    Success,
    /// It fails and is repeated, as always with OVMF 2026.08
    FailureThenSuccess,
}

impl MediumArgs {
    /// The decided outcome of `ExitBootServices`.
    pub(super) fn exit_boot_services(&self) -> Option<ExitBootServices> {
        self.exit_boot_services.map(|outcome| match outcome {
            ExitOutcome::Success => ExitBootServices::Success,
            ExitOutcome::FailureThenSuccess => ExitBootServices::FailureThenSuccess,
        })
    }

    /// The same medium with every entry of its menu.
    pub(super) fn with_all_entries(&self) -> Self {
        Self { walk: WalkArgs { entry: None, ..self.walk.clone() }, all_entries: true, ..self.clone() }
    }

    /// The first option that only means something with a medium.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let given = [
            (self.walk.boot_option.is_some(), "--boot-option"),
            (self.walk.partition.is_some(), "--partition"),
            (self.walk.entry.is_some(), "--entry"),
            (!self.walk.loader_variables.is_empty(), "--loader-variable"),
            (self.all_entries, "--all-entries"),
        ];
        given.into_iter().find_map(|(given, name)| given.then_some(name))
    }
}

/// What was named.
pub(super) enum Subject {
    /// A PE file.
    Program(Blob),
    /// Something to boot from.
    Medium(Box<Medium>),
    /// Neither, and why.
    Other(Blob, anyhow::Error),
}

/// The folder of build results that `path` is, and not a boot partition or the root of a system.
pub(super) fn build_results(path: &Path) -> Option<BuildResults> {
    if !path.is_dir() || Medium::of_folder(path).is_ok() {
        return None;
    }
    BuildResults::find(path).ok().flatten()
}

/// Finds out what `path` is, by its content.
pub(super) fn identify(path: &Path, args: &WalkArgs) -> anyhow::Result<Subject> {
    if path.is_dir() {
        if let Some(layout) = open_folder(path).map_err(|error| explain_oci(error, path))? {
            return super::oci::identify(&layout, path, args);
        }
        match Medium::of_folder(path) {
            Ok(medium) => return Ok(Subject::Medium(Box::new(medium))),
            Err(error @ MediumError::NoBootFolder(_)) => match BuildResults::find(path)? {
                Some(results) => return identify(&results.image, args),
                None => return Err(explain(error, path)),
            },
            Err(error) => return Err(explain(error, path)),
        }
    }
    identify_file(&open(path)?, path, args)
}

/// The same of a file's bytes; `path` names it in messages.
fn identify_file(file: &Blob, path: &Path, args: &WalkArgs) -> anyhow::Result<Subject> {
    let unpacked = unpacked(file, args).map_err(|error| explain_container(error, path))?;
    if let Some(layout) = open_archive(&unpacked.content).map_err(|error| explain_oci(error, path))? {
        return super::oci::identify(&layout, path, args);
    }
    identify_unpacked(unpacked, path, args)
}

/// The same of bytes that came out of a container image: no further one is looked for in them.
pub(super) fn identify_inner(file: &Blob, path: &Path, args: &WalkArgs) -> anyhow::Result<Subject> {
    let unpacked = unpacked(file, args).map_err(|error| explain_container(error, path))?;
    identify_unpacked(unpacked, path, args)
}

fn unpacked(file: &Blob, args: &WalkArgs) -> Result<Unpacked, ContainerError> {
    let bar = super::progress::Bar::of("unpacking");
    let unpacked =
        unpack_watched(file, args.max_size(), &|total| bar.start(total), &|bytes| bar.advance(bytes));
    bar.finish();
    unpacked
}

fn identify_unpacked(unpacked: Unpacked, path: &Path, args: &WalkArgs) -> anyhow::Result<Subject> {
    let shown = path.display();
    let Unpacked { content: file, layers } = unpacked;
    if file.read_prefix(8)?.starts_with(b"MZ") {
        return Ok(Subject::Program(file));
    }
    if file.is_empty() {
        let error = hinted(format!("{shown}: is empty"), "name a UKI, a disk image, or a folder");
        return Ok(Subject::Other(file, error));
    }
    let mut medium = match Medium::of_image(&file, args.partition, args.wishes()?.variables.as_ref()) {
        Ok(medium) => medium,
        Err(error @ MediumError::Unrecognised { .. }) => {
            return Ok(Subject::Other(file, explain(error, path)));
        }
        Err(error) => return Err(explain(error, path)),
    };
    if !layers.is_empty() {
        medium.steps.insert(0, format!("{} around:", layers.join(", ")));
    }
    Ok(Subject::Medium(Box::new(medium)))
}

pub(super) fn explain_oci(error: OciError, path: &Path) -> anyhow::Error {
    let text = format!("{}: {error}", path.display());
    match error {
        OciError::TooLarge { .. } => hinted(text, "--max-size raises the limit, as in --max-size 100G"),
        _ => hinted(text, "get the container image again, as with skopeo copy docker://IMAGE oci:FOLDER"),
    }
}

fn explain_container(error: ContainerError, path: &Path) -> anyhow::Error {
    let text = format!("{}: {error}", path.display());
    match error {
        ContainerError::TooLarge { .. } => hinted(text, "--max-size raises the limit, as in --max-size 100G"),
        ContainerError::Unread { how, .. } => {
            hinted(text, format!("{} takes the image out", how.replace("IMAGE", &path.display().to_string())))
        }
        ContainerError::Unsupported { .. } => {
            hinted(text, format!("qemu-img convert -O raw {} disk.raw makes a raw image", path.display()))
        }
        _ => hinted(text, "the image is damaged or cut off; get it again"),
    }
}

/// A number of bytes, with a binary unit.
fn parse_size(text: &str) -> Result<u64, String> {
    let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let unit = units.iter().find(|(letter, _)| text.to_ascii_uppercase().ends_with(*letter));
    let digits = if unit.is_some() { text.get(..text.len() - 1).unwrap_or_default() } else { text };
    let number: u64 = digits.parse().map_err(|_| format!("'{text}' is no number of bytes, as in 100G"))?;
    number.checked_mul(1 << unit.map_or(0, |(_, bits)| *bits)).ok_or_else(|| format!("'{text}' is too large"))
}

fn explain(error: MediumError, path: &Path) -> anyhow::Error {
    let text = format!("{}: {error}", path.display());
    match error {
        MediumError::Unrecognised { .. } => hinted(
            text,
            "a UKI, a raw disk image or a folder is needed; qemu-img convert -O raw makes a raw image of others",
        ),
        MediumError::Table(_) | MediumError::Partition(_) => hinted(
            text,
            "the image is damaged or cut off; get it again, or name another partition with --partition",
        ),
        MediumError::SeveralEsps(_) => hinted(text, "--partition N decides which one the firmware takes"),
        MediumError::NoEsp(_) => hinted(text, "--partition N names the partition to boot from"),
        MediumError::NoBootFolder(_) => hinted(text, "name the folder that becomes the EFI System Partition"),
        other => anyhow::Error::new(other).context(path.display().to_string()),
    }
}

/// One boot to predict.
pub(super) struct Booted {
    /// The boot loader's entry.
    pub(super) entry: Option<String>,
    pub(super) profile: u32,
    pub(super) chain: BootChain,
}

/// The boots to predict, and how they were found.
pub(super) struct Walked {
    pub(super) steps: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) boots: Vec<Booted>,
    /// What a check without hashing finds.
    pub(super) checked: Report,
}

/// What else is known of the machine that boots.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// OEM strings of its SMBIOS.
    pub(super) smbios_strings: Vec<Vec<u8>>,
    /// What GRUB did in a recorded boot, or why that is of no use.
    pub(super) recorded_grub: Option<Result<RecordedGrub, String>>,
}

/// Walks the boot, for those who want all of it.
pub(super) fn walk_of(
    medium: &Medium,
    path: &Path,
    args: &WalkArgs,
    machine: Machine,
) -> anyhow::Result<Walk> {
    let Machine { smbios_strings, recorded_grub } = machine;
    let wishes = Wishes { smbios_strings, recorded_grub, ..args.wishes()? };
    walk(medium, &wishes).map_err(|error| explain_walk(error, path))
}

/// Walks the boot and takes the entry that is booted, or all of them.
pub(super) fn walked(
    medium: &Medium,
    path: &Path,
    args: &MediumArgs,
    machine: Machine,
) -> anyhow::Result<Walked> {
    let walk = walk_of(medium, path, &args.walk, machine)?;
    let mut quick = AuditOptions { quick: true, ..AuditOptions::default() };
    let mut differences = Vec::new();
    if let Some(results) = build_results(path) {
        quick.root_hashes = results.root_hashes()?;
        differences = split_artifacts::compare(&results, &walk)?;
    }
    let mut checked = audit(medium, &walk, &quick, &|_| (), &|_| ());
    let Walk { steps, mut warnings, boots, chosen } = walk;
    let wrong = checked.findings.iter().filter(|finding| finding.code == "roothash-file-differs");
    warnings.extend(wrong.map(|finding| format!("{}: {}", finding.place, finding.text)));
    for difference in differences {
        warnings.push(format!("{}: {}", difference.name, difference.text));
        checked.add(difference.severity, difference.code, &difference.name, difference.text);
    }
    if chosen.is_none() && !args.all_entries {
        return Err(hinted(
            format!("{}: {}", path.display(), steps.last().map(String::as_str).unwrap_or_default()),
            "--entry ID takes another entry, --all-entries every one that can boot",
        ));
    }
    let has_menu =
        boots.first().is_some_and(|boot| boot.chain.as_ref().is_ok_and(|chain| chain.loader.is_some()));
    let mut taken = Vec::new();
    for (index, boot) in boots.into_iter().enumerate() {
        if !args.all_entries && Some(index) != chosen {
            continue;
        }
        match boot.chain {
            Ok(chain) => {
                let entry = (has_menu || args.all_entries).then_some(boot.id);
                taken.push(Booted { entry, profile: boot.profile, chain: *chain });
            }
            Err(problem) if args.all_entries => {
                warnings.push(format!("entry {} can't boot and is left out: {problem}", boot.id));
            }
            Err(problem) => {
                return Err(hinted(
                    format!("{}: entry {} can't boot: {problem}", path.display(), boot.id),
                    "--entry ID takes another entry, --all-entries every one that can boot",
                ));
            }
        }
    }
    if taken.is_empty() {
        anyhow::bail!("{}: no entry can boot", path.display());
    }
    Ok(Walked { steps, warnings, boots: taken, checked })
}

fn explain_walk(error: WalkError, path: &Path) -> anyhow::Error {
    let text = format!("{}: {error}", path.display());
    match error {
        WalkError::NoLoader { candidates, .. } if !candidates.is_empty() => hinted(
            text,
            format!(
                "--boot-option PATH names the file that the firmware starts; there are {}",
                candidates.join(", ")
            ),
        ),
        WalkError::NoLoader { .. } => hinted(text, "install a boot loader, or a UKI as EFI/BOOT/BOOTX64.EFI"),
        WalkError::NoSuchEntry { .. } => hinted(text, "take one of these ids, or a pattern as in 'linux-*'"),
        other => anyhow::Error::new(other).context(path.display().to_string()),
    }
}

/// Options that say what lies beside a UKI make no sense where that is known.
pub(super) fn refuse_companions(path: &Path, given: &[(&'static str, &Vec<PathBuf>)]) -> anyhow::Result<()> {
    match given.iter().find(|(_, files)| !files.is_empty()) {
        None => Ok(()),
        Some((name, _)) => Err(hinted(
            format!("{name}: {} has its own boot loader, addons, credentials and extensions", path.display()),
            "copy the image's boot partition into a folder, add the file there, and name the folder",
        )),
    }
}
