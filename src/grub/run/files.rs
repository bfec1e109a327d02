//! GRUB's files: devices, paths, what is measured when one is opened.

use super::{Flow, Grub, Step, Stop, stop};
use crate::disk::{EntryKind, Volume};
use crate::source::Blob;

/// A partition, as GRUB sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrubPartition {
    /// GRUB's name for it, such as `hd0,gpt1`.
    pub device: String,
    /// The file system's UUID, or FAT's serial number as `1234-abcd`.
    pub uuid: Option<String>,
    /// The file system's label.
    pub label: Option<String>,
    /// Why it can't be read; GRUB may be able to.
    pub unreadable: Option<String>,
    /// GRUB reads it from 2.12 on.
    pub since_2_12: bool,
}

/// The devices that a run can read.
pub trait GrubFiles: std::fmt::Debug {
    /// The volume of a device, such as `hd0,gpt1`.
    ///
    /// # Errors
    /// [`Stop`] when it can't be read, or can't be told.
    fn device(&self, name: &str) -> Result<&dyn Volume, Stop>;

    /// The partitions in the order in which GRUB goes through them.
    fn partitions(&self) -> &[GrubPartition] {
        &[]
    }
}

pub(super) const MEMORY: &str = "memdisk";
/// Magic number of gettext's `.mo` files.
const TRANSLATION: [u8; 4] = [0xDE, 0x12, 0x04, 0x95];

impl Grub<'_> {
    /// Device and path of a name: `(device)/path`, or a path on the device in `root`.
    pub(super) fn locate(&self, name: &str) -> Result<(String, String), Stop> {
        let (device, path) = match name.strip_prefix('(') {
            Some(rest) => {
                let (device, path) = rest
                    .split_once(')')
                    .ok_or_else(|| stop(format!("the file name '{name}' is not followed")))?;
                (device.to_owned(), path)
            }
            None => (self.environment.plain("root").to_owned(), name),
        };
        if !path.starts_with('/') {
            return Err(stop(format!("the file name '{name}' is not followed")));
        }
        Ok((device, path.to_owned()))
    }

    pub(super) fn volume(&self, device: &str) -> Result<&dyn Volume, Stop> {
        if device == MEMORY {
            return match &self.image.memdisk {
                Some(Ok(disk)) => Ok(disk),
                Some(Err(error)) => Err(stop(format!("files of GRUB's memory disk are read: {error}"))),
                None => Err(stop("files of GRUB's memory disk are read, and it has none")),
            };
        }
        let newer = |partition: &GrubPartition| partition.device == device && partition.since_2_12;
        let older = self.build.is_some_and(|build| build.version == "2.06-");
        if older && self.files.partitions().iter().any(newer) {
            return Err(stop(format!(
                "the file system of ({device}) has metadata_csum_seed, of which it is not known that GRUB 2.06 reads it"
            )));
        }
        self.files.device(device)
    }

    /// A file, with its path on the volume, the device in front unless GRUB came from it; and whether opening it is
    /// measured: what comes from the memory disk is part of GRUB.
    pub(super) fn find(&self, name: &str) -> Result<Option<(String, Blob, bool)>, Stop> {
        let (device, path) = self.locate(name)?;
        let file = self.volume(&device)?.open(&path).map_err(|error| stop(error.to_string()))?;
        let Some(file) = file else { return Ok(None) };
        let path = if device == self.home { path } else { format!("({device}){path}") };
        Ok(Some((path, file, device != MEMORY)))
    }

    /// Opens a file and measures it, if it is there.
    pub(super) fn open(&mut self, name: &str) -> Result<Option<Blob>, Stop> {
        let Some((path, file, measured)) = self.find(name)? else { return Ok(None) };
        if measured {
            self.measure(Step::File { name: name.to_owned(), path, file: file.clone() });
        }
        Ok(Some(file))
    }

    /// What there is at a name. Looking measures nothing.
    pub(super) fn look(&self, name: &str) -> Result<Option<EntryKind>, Stop> {
        let (device, path) = self.locate(name)?;
        let volume = self.volume(&device)?;
        let io = |error: crate::disk::VolumeError| stop(error.to_string());
        let path = path.trim_end_matches('/');
        if let Some(file) = volume.open(path).map_err(io)? {
            return Ok(Some(EntryKind::File(file.len())));
        }
        Ok(volume.list(path).map_err(io)?.map(|_| EntryKind::Folder))
    }

    /// The variable `prefix` was set, or `normal` begins: the lists of modules are opened where there are any (GRUB
    /// `grub-core/normal/main.c`, `read_lists`).
    pub(super) fn read_lists(&mut self) -> Flow {
        let prefix = self.environment.plain("prefix").to_owned();
        if prefix.is_empty() || !self.normal {
            return Ok(());
        }
        for list in ["command", "fs", "crypto", "terminal"] {
            let name = format!("{prefix}/x86_64-efi/{list}.lst");
            let Some(file) = self.open(&name)? else { continue };
            match list {
                "command" => self.read_commands(&name, &file)?,
                "fs" => self.knows_file_systems = true,
                _ => {}
            }
        }
        self.open_translation()
    }

    /// The module `gettext` opens the translation into the language of the variable `lang`, the first that is there (GRUB
    /// `grub-core/gettext/gettext.c`, `grub_gettext_init_ext`).
    pub(super) fn open_translation(&mut self) -> Flow {
        let language = self.environment.plain("lang").to_owned();
        if language.is_empty() || !self.loaded_modules.contains("gettext") {
            return Ok(());
        }
        let folder = match self.environment.plain("locale_dir") {
            "" => format!("{}/locale", self.environment.plain("prefix")),
            folder => folder.to_owned(),
        };
        let short = language.split('_').next().unwrap_or_default().to_owned();
        for language in [language, short] {
            for extension in ["mo", "mo.gz"] {
                let Some(file) = self.open(&format!("{folder}/{language}.{extension}"))? else { continue };
                if extension != "mo" || !file.read_prefix(4).is_ok_and(|magic| magic == TRANSLATION) {
                    return Err(stop(format!(
                        "the translation {language}.{extension} is none that is followed"
                    )));
                }
                return Ok(());
            }
        }
        Ok(())
    }
}
