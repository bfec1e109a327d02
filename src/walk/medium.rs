//! Media: a disk, a boot partition by itself, or a folder of the host.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::BootVariables;
use super::variables::Target;
use crate::disk::{
    Entry, FatError, FatVolume, FolderVolume, Gpt, GptError, Partition, TreeVolume, Volume, VolumeError,
    partition_type,
};
use crate::source::Blob;
use crate::source::oci::Tree;
use crate::uefi::guid::Guid;

/// "Grow file system to partition size" (DPS, partition attribute flags): the mark of a partition that the first boot
/// enlarges.
const GROW_FILE_SYSTEM: u64 = 1 << 59;

/// Where a boot starts from.
#[derive(Debug, Clone)]
pub struct Medium {
    /// The EFI System Partition.
    pub esp: Arc<dyn Volume>,
    /// The Extended Boot Loader Partition.
    pub xbootldr: Option<Arc<dyn Volume>>,
    /// What the firmware measures of the partition table, or why that is not known; `None` when there is no disk.
    pub partition_table: Option<Result<Vec<u8>, String>>,
    /// The partition table itself.
    pub table: Option<Gpt>,
    /// Boot options that the firmware tries before one that starts from here, in words.
    pub earlier_options: Vec<String>,
    /// Names in `/usr/lib/modules`, where the root file system is visible.
    pub modules: Option<Vec<String>>,
    /// What was found, for people.
    pub steps: Vec<String>,
    /// What deserves a second look.
    pub warnings: Vec<String>,
}

/// Something that nothing boots from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediumError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Neither a partition table nor a FAT file system.
    #[error("neither a UKI, a disk nor a boot partition: {table}; {fat}")]
    Unrecognised {
        /// Why it is no disk.
        table: GptError,
        /// Why it is no FAT volume.
        fat: FatError,
    },
    /// The partition table is damaged.
    #[error(transparent)]
    Table(GptError),
    /// No EFI System Partition.
    #[error("the disk has no EFI System Partition; its partitions are: {0}")]
    NoEsp(String),
    /// Several EFI System Partitions, and each could be booted from.
    #[error("the disk has several EFI System Partitions with a boot loader: {0}")]
    SeveralEsps(String),
    /// A partition that is not there, or reaches beyond the image.
    #[error("{0}")]
    Partition(String),
    /// The EFI System Partition holds no FAT file system.
    #[error("{partition}: {error}")]
    Fat {
        /// The partition.
        partition: String,
        /// What is wrong.
        #[source]
        error: FatError,
    },
    /// A volume could not be read.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A folder that nothing boots from.
    #[error("{0}: no boot partition: it has neither a folder EFI, nor one in efi, boot or boot/efi")]
    NoBootFolder(String),
}

impl Medium {
    /// A disk, or a boot partition by itself. `partition` is the number of the EFI System Partition where there are
    /// several; else the machine's boot options decide between them, where they are given.
    ///
    /// # Errors
    /// [`MediumError`].
    pub fn of_image(
        image: &Blob,
        partition: Option<u32>,
        variables: Option<&BootVariables>,
    ) -> Result<Self, MediumError> {
        match Gpt::parse(image) {
            Ok(table) => of_disk(table, partition, variables),
            Err(GptError::Io(error)) => Err(error.into()),
            Err(table @ GptError::Missing) => match FatVolume::parse(image, "boot partition") {
                Ok(volume) => {
                    let mut medium = bare(Arc::new(volume));
                    medium.steps.push("a boot partition by itself, without the disk around it".to_owned());
                    Ok(medium)
                }
                Err(fat) => Err(MediumError::Unrecognised { table, fat }),
            },
            Err(damaged) => Err(MediumError::Table(damaged)),
        }
    }

    /// A folder: a boot partition's content, or the root of a system with one in `efi`, `boot` or `boot/efi`.
    ///
    /// # Errors
    /// [`MediumError`].
    pub fn of_folder(path: &Path) -> Result<Self, MediumError> {
        let root = FolderVolume::new(path)?;
        if root.list("EFI")?.is_some() && root.list("usr")?.is_none() {
            let mut medium = bare(Arc::new(root));
            medium.steps.push("a boot partition as a folder, without the disk around it".to_owned());
            return Ok(medium);
        }
        let has = |place: &str, what: &str| root.list(&format!("{place}/{what}")).map(|list| list.is_some());
        for place in ["efi", "boot/efi", "boot"] {
            if !has(place, "EFI")? {
                continue;
            }
            let mut medium = bare(Arc::new(FolderVolume::new(&path.join(place))?));
            medium.steps.push(format!("the root of a system; its EFI System Partition is {place}"));
            medium.modules = modules(&root)?;
            if place != "boot" && (has("boot", "loader/entries")? || has("boot", "EFI/Linux")?) {
                medium.xbootldr = Some(Arc::new(FolderVolume::new(&path.join("boot"))?));
                medium.steps.push("its Extended Boot Loader Partition is boot".to_owned());
            }
            return Ok(medium);
        }
        Err(MediumError::NoBootFolder(path.display().to_string()))
    }

    /// The files of a container image: the root of a system with a boot partition's content in `boot/efi`, `efi`, `boot`, or in
    /// the place where bootupd keeps it.
    ///
    /// # Errors
    /// [`MediumError`].
    pub fn of_tree(tree: &Arc<Tree>) -> Result<Self, MediumError> {
        let volume = |place: &str| {
            Arc::new(TreeVolume::new(Arc::clone(tree), place, format!("/{place} of the container image")))
        };
        let root = volume("");
        for place in ["efi", "boot/efi", "boot", "usr/lib/bootupd/updates"] {
            if root.list(&format!("{place}/EFI"))?.is_none() {
                continue;
            }
            let mut medium = bare(volume(place));
            medium.steps.push(format!("a container image; its EFI System Partition is made of /{place}"));
            medium.modules = modules(root.as_ref())?;
            let boot = ["loader/entries", "EFI/Linux"].map(|what| root.list(&format!("boot/{what}")));
            let [entries, images] = boot;
            if place != "boot" && (entries?.is_some() || images?.is_some()) {
                medium.xbootldr = Some(volume("boot"));
                medium.steps.push("its Extended Boot Loader Partition is made of /boot".to_owned());
            }
            return Ok(medium);
        }
        Err(MediumError::NoBootFolder("container image".to_owned()))
    }

    /// The volume of a partition, by its unique GUID; `None` when the disk has no such partition. Without a disk around it
    /// the only volume is taken for it.
    pub(super) fn volume_of(&self, guid: Guid) -> Option<Result<Arc<dyn Volume>, MediumError>> {
        let Some(table) = &self.table else { return Some(Ok(Arc::clone(&self.esp))) };
        let partition = table.partitions.iter().find(|partition| partition.unique_guid == guid)?;
        let label = partition.to_string();
        let known = [Some(&self.esp), self.xbootldr.as_ref()].into_iter().flatten();
        match known.into_iter().find(|volume| volume.label() == label) {
            Some(volume) => Some(Ok(Arc::clone(volume))),
            None => Some(open(table, partition).map(|volume| Arc::new(volume) as Arc<dyn Volume>)),
        }
    }
}

fn modules(root: &dyn Volume) -> Result<Option<Vec<String>>, VolumeError> {
    let folders = root.list("usr/lib/modules")?;
    let names =
        |entries: Vec<Entry>| entries.into_iter().filter(|entry| !entry.is_file()).map(|entry| entry.name);
    Ok(folders.map(|entries| names(entries).collect()))
}

fn bare(esp: Arc<dyn Volume>) -> Medium {
    Medium {
        esp,
        xbootldr: None,
        partition_table: None,
        table: None,
        earlier_options: Vec::new(),
        modules: None,
        steps: Vec::new(),
        warnings: Vec::new(),
    }
}

fn of_disk(
    table: Gpt,
    partition: Option<u32>,
    variables: Option<&BootVariables>,
) -> Result<Medium, MediumError> {
    let mut warnings = table_warnings(&table);
    let wanted = partition.or_else(|| by_variables(&table, variables?));
    let (number, esp) = find_esp(&table, wanted, &mut warnings)?;
    let counted = match table.partitions.len() {
        1 => "1 partition".to_owned(),
        count => format!("{count} partitions"),
    };
    let mut steps = vec![format!("a disk with {counted} and blocks of {} bytes", table.block_size)];
    steps.push(format!("EFI System Partition: {number}"));
    let xbootldr = match table.of_type(partition_type::XBOOTLDR).next() {
        Some(partition) => match open(&table, partition) {
            Ok(volume) => {
                steps.push(format!("Extended Boot Loader Partition: {partition}"));
                Some(Arc::new(volume) as Arc<dyn Volume>)
            }
            // The firmware has no driver for it, and systemd-boot goes on without (systemd `config_load_xbootldr`).
            Err(error) => {
                warnings.push(format!(
                    "Extended Boot Loader Partition: {error}: firmware reads FAT, so nothing on it is taken into account; a file \
                     system driver on the boot partition would change that"
                ));
                None
            }
        },
        None => None,
    };
    let measured = table.measured_bytes().ok_or_else(|| {
        "the primary partition table is damaged: firmware repairs it from the backup, or does not boot"
            .to_owned()
    });
    Ok(Medium {
        esp,
        xbootldr,
        partition_table: Some(measured),
        table: Some(table),
        earlier_options: Vec::new(),
        modules: None,
        steps,
        warnings,
    })
}

/// Of several EFI System Partitions, the first that a boot option names.
fn by_variables(table: &Gpt, variables: &BootVariables) -> Option<u32> {
    table.of_type(partition_type::ESP).nth(1)?;
    let named =
        |guid: Guid| table.of_type(partition_type::ESP).find(|partition| partition.unique_guid == guid);
    variables.in_order().filter_map(|(_, option)| option.ok()).find_map(|option| match option.target {
        Target::Partition(guid, _) => Some(named(guid)?.number),
        _ => None,
    })
}

fn table_warnings(table: &Gpt) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(error) = &table.primary_error {
        warnings.push(format!("the primary partition table is damaged ({error}); the backup is used"));
    }
    if !table.has_protective_mbr {
        warnings.push(
            "the first block has no protective partition record (type 0xEE at block 1): firmware does not see the partitions, \
             and the disk does not boot"
                .to_owned(),
        );
    }
    if let Some(error) = &table.backup_error {
        warnings.push(format!(
            "the backup partition table is lost or another one ({error}): whoever repairs it at a boot may change PCR 5"
        ));
    }
    if table.unclaimed_bytes() > 0 {
        warnings.push(format!(
            "the backup partition table is not at the end of the disk: {} bytes follow it. Where the platform or the \
             first boot moves it, PCR 5 changes",
            table.unclaimed_bytes()
        ));
    }
    let growing = table.partitions.iter().filter(|partition| partition.attributes & GROW_FILE_SYSTEM != 0);
    let growing: Vec<String> = growing.map(ToString::to_string).collect();
    if !growing.is_empty() {
        warnings.push(format!(
            "{} grows at the first boot: if the partition table is rewritten then, PCR 5 is another one from the second \
             boot on",
            growing.join(", ")
        ));
    }
    warnings
}

/// The EFI System Partition: the only one, the one that was asked for, or the only one with a loader.
fn find_esp(
    table: &Gpt,
    wanted: Option<u32>,
    warnings: &mut Vec<String>,
) -> Result<(String, Arc<dyn Volume>), MediumError> {
    let opened = |partition: &Partition| -> Result<(String, Arc<dyn Volume>), MediumError> {
        Ok((partition.to_string(), Arc::new(open(table, partition)?)))
    };
    if let Some(number) = wanted {
        let found = table.partitions.iter().find(|partition| partition.number == number);
        let missing = || {
            MediumError::Partition(format!("the disk has no partition {number}: it has {}", listed(table)))
        };
        return opened(found.ok_or_else(missing)?);
    }
    let all: Vec<&Partition> = table.of_type(partition_type::ESP).collect();
    match all.as_slice() {
        [] => Err(MediumError::NoEsp(listed(table))),
        [only] => opened(only),
        several => {
            let (mut bootable, mut others) = (Vec::new(), Vec::new());
            for partition in several {
                let found = match opened(partition) {
                    Ok(found) => found,
                    Err(error) => {
                        warnings.push(format!(
                            "{error}: this EFI System Partition can't be read and is passed over"
                        ));
                        continue;
                    }
                };
                let has = |path: &str| matches!(found.1.open(path), Ok(Some(_)));
                let is_bootable = super::firmware::REMOVABLE.iter().any(|(path, _)| has(path));
                if is_bootable { &mut bootable } else { &mut others }.push(found);
            }
            let labels = bootable.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>().join(", ");
            match (bootable.pop(), bootable.is_empty()) {
                (Some(only), true) => {
                    warnings.push(format!(
                        "there are {} EFI System Partitions; only {labels} has a boot loader",
                        several.len()
                    ));
                    Ok(only)
                }
                (None, _) => match others.into_iter().next() {
                    Some(first) => Ok(first),
                    // None can be read: the error of the first says why.
                    None => {
                        several.first().map_or(Err(MediumError::NoEsp(listed(table))), |first| opened(first))
                    }
                },
                _ => Err(MediumError::SeveralEsps(labels)),
            }
        }
    }
}

fn listed(table: &Gpt) -> String {
    let all = table.partitions.iter().map(|partition| format!("{partition} ({})", partition.type_guid));
    let all: Vec<String> = all.take(32).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn open(table: &Gpt, partition: &Partition) -> Result<FatVolume, MediumError> {
    let content = table.content(partition).ok_or_else(|| {
        let why = if partition.last_lba < partition.first_lba {
            format!("ends before it begins: StartingLBA is {}", partition.first_lba)
        } else {
            "reaches beyond the end of the image, which is cut off unless the table is wrong".to_owned()
        };
        MediumError::Partition(format!("{partition} {why}: EndingLBA is {}", partition.last_lba))
    })?;
    FatVolume::parse(&content, partition.to_string())
        .map_err(|error| MediumError::Fat { partition: partition.to_string(), error })
}
