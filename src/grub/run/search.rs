//! `search`: a partition by its file system's UUID or label, or by a file (GRUB `grub-core/commands/search.c`,
//! `search_wrap.c`).

use super::files::MEMORY;
use super::{Flow, Grub, GrubPartition, Stop, stop};

/// What is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Uuid,
    Label,
    File,
}

/// Options that name a device to look at first on machines of another kind than EFI.
const HINTS_OF_OTHERS: [&str; 4] = ["--hint-ieee1275=", "--hint-bios=", "--hint-baremetal=", "--hint-arc="];

impl Grub<'_> {
    /// `search [OPTION]... NAME`
    pub(super) fn search(&mut self, arguments: &[String]) -> Flow {
        let (mut wanted, mut variable, mut names, mut hints) = (Wanted::File, None, Vec::new(), Vec::new());
        for argument in arguments {
            match argument.as_str() {
                "--fs-uuid" | "-u" => wanted = Wanted::Uuid,
                "--label" | "-l" => wanted = Wanted::Label,
                "--file" | "-f" => wanted = Wanted::File,
                "--no-floppy" | "-n" | "--quiet" | "-q" => {}
                "--set" => variable = Some("root"),
                text if text.starts_with("--set=") => variable = text.strip_prefix("--set="),
                text if text.starts_with("--hint-efi=") => hints.extend(text.strip_prefix("--hint-efi=")),
                text if text.starts_with("--hint=") => hints.extend(text.strip_prefix("--hint=")),
                text if HINTS_OF_OTHERS.iter().any(|other| text.starts_with(other)) => {}
                text if text.starts_with('-') => {
                    return Err(stop(format!("the option {text} of search is not followed")));
                }
                text => names.push(text),
            }
        }
        match names.as_slice() {
            [name] => self.search_for(wanted, name, variable, &hints),
            _ => Err(stop("search with other than one name is not followed")),
        }
    }

    /// `search.fs_uuid NAME [VARIABLE] [HINT]...` and its like.
    pub(super) fn search_by(&mut self, wanted: Wanted, arguments: &[String]) -> Flow {
        let Some((name, rest)) = arguments.split_first() else {
            return Err(stop("a search for nothing is not followed"));
        };
        let hints: Vec<&str> = rest.iter().skip(1).map(String::as_str).collect();
        self.search_for(wanted, name, rest.first().map(String::as_str), &hints)
    }

    fn search_for(&mut self, wanted: Wanted, name: &str, variable: Option<&str>, hints: &[&str]) -> Flow {
        // Without a variable all matches are printed.
        let Some(variable) = variable else { return Err(stop("a search without --set is not followed")) };
        let files = self.files;
        let partitions = files.partitions();
        let mut order: Vec<&GrubPartition> = Vec::new();
        for hint in hints {
            let first = |partition: &&GrubPartition| match hint.strip_suffix(',') {
                Some(disk) => partition.device.split(',').next() == Some(disk),
                None => partition.device == *hint,
            };
            order.extend(partitions.iter().filter(first));
        }
        order.extend(partitions);
        let mut unreadable = None;
        for partition in order {
            if let Some(why) = &partition.unreadable {
                // A UUID is one partition's; by a label or a file this one may come first.
                if wanted != Wanted::Uuid {
                    return Err(stop(format!(
                        "whether search finds {name} on ({}) is not known: {why}",
                        partition.device
                    )));
                }
                unreadable = Some((partition, why));
                continue;
            }
            if self.matches(wanted, name, partition)? {
                self.in_memory(wanted, name)?;
                self.succeeded = Some(true);
                return self.assign(variable, &partition.device);
            }
        }
        if let Some((partition, why)) = unreadable {
            return Err(stop(format!(
                "whether search finds {name} on ({}) is not known: {why}",
                partition.device
            )));
        }
        if self.knows_file_systems {
            return Err(stop(format!(
                "search does not find {name} on this disk, and tries every file system's module"
            )));
        }
        Err(stop(format!("search does not find {name} on this disk")))
    }

    fn matches(&mut self, wanted: Wanted, name: &str, partition: &GrubPartition) -> Result<bool, Stop> {
        Ok(match wanted {
            Wanted::Uuid => partition.uuid.as_ref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(name)),
            Wanted::Label => partition.label.as_deref() == Some(name),
            // The file is opened.
            Wanted::File => self.open(&format!("({}){name}", partition.device))?.is_some(),
        })
    }

    /// The memory disk is searched, too, and might come first.
    fn in_memory(&self, wanted: Wanted, name: &str) -> Flow {
        let found = match (&self.image.memdisk, wanted) {
            (Some(Ok(disk)), Wanted::File) => !matches!(crate::disk::Volume::open(disk, name), Ok(None)),
            (Some(Ok(disk)), Wanted::Label) => disk.volume_label().as_deref() == Some(name),
            // Debian's holds a font only.
            (Some(Err(_)), Wanted::File) if self.image.has_debians_memory_disk() => {
                name.starts_with("/fonts")
            }
            (Some(Err(_)), _) => wanted == Wanted::File,
            _ => false,
        };
        if found { Err(stop(format!("search may find {name} on ({MEMORY})"))) } else { Ok(()) }
    }
}
