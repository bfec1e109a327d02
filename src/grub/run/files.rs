//! GRUB's files: devices, paths, what is measured when one is opened.

use super::{Flow, Grub, Step, Stop, stop};
use crate::disk::{EntryKind, Volume};
use crate::source::Blob;

/// The devices that a run can read.
pub trait GrubFiles: std::fmt::Debug {
    /// The volume of a device, such as `hd0,gpt1`.
    ///
    /// # Errors
    /// [`Stop`] when it can't be read, or can't be told.
    fn device(&self, name: &str) -> Result<&dyn Volume, Stop>;
}

const MEMORY: &str = "memdisk";

impl Grub<'_> {
    /// Device and path of a name: `(device)/path`, or a path on the device in `root`.
    fn locate(&self, name: &str) -> Result<(String, String), Stop> {
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

    fn volume(&self, device: &str) -> Result<&dyn Volume, Stop> {
        if device == MEMORY {
            return match &self.image.memdisk {
                Some(Ok(disk)) => Ok(disk),
                Some(Err(error)) => Err(stop(format!("files of GRUB's memory disk are read: {error}"))),
                None => Err(stop("files of GRUB's memory disk are read, and it has none")),
            };
        }
        self.files.device(device)
    }

    /// Opens a file and measures it, if it is there. What comes from the memory disk is part of GRUB and not measured.
    pub(super) fn open(&mut self, name: &str) -> Result<Option<Blob>, Stop> {
        let (device, path) = self.locate(name)?;
        let file = self.volume(&device)?.open(&path).map_err(|error| stop(error.to_string()))?;
        let Some(file) = file else { return Ok(None) };
        if device != MEMORY {
            let step = Step::File { name: name.to_owned(), path, file: file.clone() };
            self.trace.steps.push(step);
        }
        Ok(Some(file))
    }

    /// What there is at a name. Looking measures nothing.
    pub(super) fn look(&self, name: &str) -> Result<Option<EntryKind>, Stop> {
        let (device, path) = self.locate(name)?;
        let volume = self.volume(&device)?;
        let io = |error: crate::disk::VolumeError| stop(error.to_string());
        let path = path.trim_end_matches('/');
        if volume.list(path).map_err(io)?.is_some() {
            return Ok(Some(EntryKind::Folder));
        }
        Ok(volume.open(path).map_err(io)?.map(|file| EntryKind::File(file.len())))
    }

    /// `read_lists`: the lists of modules in the prefix are opened when there are any.
    pub(super) fn read_lists(&self) -> Flow {
        let prefix = self.environment.plain("prefix");
        if prefix.is_empty() {
            return Ok(());
        }
        let folder = format!("{prefix}/x86_64-efi");
        match self.look(&folder)? {
            None => Ok(()),
            Some(_) => {
                Err(stop(format!("which of the modules and lists in {folder} are opened is not followed")))
            }
        }
    }
}
