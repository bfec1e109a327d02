//! What no digest in the log shows: what searches find, and files that are there now and were not opened then.

use std::collections::BTreeSet;

use super::{Opened, Replay, Root, device_of, normal};
use crate::baseline::GrubEventKind;
use crate::disk::Volume;

/// Commands whose words name no file, or hold the text of others.
const WITHOUT_FILES: [&str; 9] =
    ["menuentry", "submenu", "setparams", "echo", "set", "export", "unset", "search", "function"];
/// The lists of modules that GRUB opens where they are.
const LISTS: [&str; 4] = ["command.lst", "fs.lst", "crypto.lst", "terminal.lst"];

/// A partition and a path on it, in lower case: FAT knows no other.
type Place = (usize, String);

impl Replay<'_> {
    /// What `root` is when the built-in configuration has run.
    pub(super) fn early_root(&self, named: &BTreeSet<usize>) -> Result<Root, String> {
        let mut root = None;
        for line in self.image.early.iter().flat_map(|text| text.lines()) {
            self.follow_root(&line.trim().replace(['\'', '"'], ""), named, &mut root)?;
        }
        Ok(root)
    }

    /// A command may set `root`; a search has to find a partition that the log names.
    pub(super) fn follow_root(
        &self,
        command: &str,
        named: &BTreeSet<usize>,
        root: &mut Root,
    ) -> Result<(), String> {
        let words: Vec<&str> = command.split(' ').filter(|word| !word.is_empty()).collect();
        let Some((name, arguments)) = words.split_first() else { return Ok(()) };
        let assigned = if *name == "set" { arguments.first() } else { Some(name) };
        if let Some(device) = assigned.and_then(|word| word.strip_prefix("root=")) {
            *root = self.partition(device.trim_matches(['(', ')']));
            return Ok(());
        }
        if *name != "search" && !name.starts_with("search.") {
            return Ok(());
        }
        let search = Search::read(name, arguments).ok_or_else(|| format!("'{command}' is not followed"))?;
        let found = match search.wanted {
            // The file was opened, so the log has it with its partition.
            Wanted::File => None,
            wanted => Some(
                self.one_with(wanted, search.value)
                    .ok_or_else(|| format!("'{command}' does not find one partition of the disk"))?,
            ),
        };
        if let Some(found) = found
            && !named.is_empty()
            && !named.contains(&found)
        {
            return Err(format!("'{command}' finds a partition that the recorded boot read nothing of"));
        }
        if search.variable == "root" {
            *root = found;
        }
        Ok(())
    }

    /// Positions of files that a search for a file opened: that they are there is all that counts.
    pub(super) fn searched(&self) -> BTreeSet<usize> {
        let (mut wanted, mut found) = (None, BTreeSet::new());
        for (at, event) in self.recorded.events.iter().enumerate() {
            match &event.kind {
                GrubEventKind::Command(text) => {
                    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
                    let search = words.split_first().filter(|(name, _)| name.starts_with("search"));
                    let search = search.and_then(|(name, arguments)| Search::read(name, arguments));
                    wanted = search.filter(|search| search.wanted == Wanted::File).map(|search| search.value);
                }
                GrubEventKind::File(name) if wanted == Some(path_of(name)) => {
                    found.insert(at);
                }
                _ => {}
            }
        }
        found
    }

    fn one_with(&self, wanted: Wanted, value: &str) -> Option<usize> {
        let fits = |at: &usize| {
            self.partitions.known.get(*at).is_some_and(|known| match wanted {
                Wanted::Uuid => known.uuid.as_ref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(value)),
                _ => known.label.as_deref() == Some(value),
            })
        };
        let found: Vec<usize> = (0..self.partitions.known.len()).filter(fits).collect();
        if let [only] = found.as_slice() { Some(*only) } else { None }
    }

    /// No command finds more on the medium than the recorded boot opened.
    pub(super) fn check_commands(&self, opened: &[Opened<'_>]) -> Result<(), String> {
        let places: BTreeSet<Place> =
            opened.iter().map(|file| (file.partition, file.path.to_ascii_lowercase())).collect();
        let mut prefixes: Vec<String> = self.image.prefix.iter().cloned().collect();
        for file in opened.iter().filter(|file| file.path.ends_with("/grub.cfg")) {
            prefixes.extend(file.path.strip_suffix("/grub.cfg").map(str::to_owned));
        }
        let mut loads_entries = false;
        let commands = self.recorded.events.iter().filter_map(|event| match &event.kind {
            GrubEventKind::Command(text) => Some(text.as_str()),
            _ => None,
        });
        for command in commands.clone() {
            let words: Vec<&str> = command.split(' ').collect();
            let Some((name, arguments)) = words.split_first() else { continue };
            let assigned = if *name == "set" { arguments.first() } else { Some(name) };
            prefixes.extend(assigned.and_then(|word| word.strip_prefix("prefix=")).map(str::to_owned));
            loads_entries |= name.starts_with("bls");
            if name.contains('=') || WITHOUT_FILES.contains(name) || name.starts_with("search.") {
                continue;
            }
            let count = if name.starts_with("linux") { 1 } else { arguments.len() };
            for argument in arguments.iter().take(count).filter(|word| word.starts_with(['/', '('])) {
                self.check_place(command, argument, &places)?;
            }
        }
        self.check_modules(commands, &prefixes, &places)?;
        if loads_entries { self.check_entries(opened) } else { Ok(()) }
    }

    /// A file or folder that a command names was there in the recorded boot, too, if it is there now.
    fn check_place(&self, command: &str, name: &str, places: &BTreeSet<Place>) -> Result<(), String> {
        for (partition, volume) in self.on(name) {
            let path = normal(path_of(name));
            let at = |path: &str| (partition, path.to_ascii_lowercase());
            let file = volume.open(&path).map_err(|error| error.to_string())?.is_some();
            let folder = !file && volume.list(&path).map_err(|error| error.to_string())?.is_some();
            let beneath = at(&format!("{path}/"));
            let seen_beneath = places
                .range(beneath.clone()..)
                .next()
                .is_some_and(|(other, found)| *other == partition && found.starts_with(&beneath.1));
            if (file && !places.contains(&at(&path))) || (folder && !seen_beneath) {
                return Err(format!(
                    "'{command}' finds {name}, of which the recorded boot does not show that it was there"
                ));
            }
        }
        Ok(())
    }

    /// The volumes that a name may be on: its device, or any where it names none.
    fn on(&self, name: &str) -> Vec<(usize, &dyn Volume)> {
        match device_of(name) {
            Some(device) => {
                self.partition(device).and_then(|at| Some((at, self.volume(at)?))).into_iter().collect()
            }
            None => self.readable().collect(),
        }
    }

    /// Modules and their lists, fonts and translations are opened where they are there.
    fn check_modules<'c>(
        &self,
        commands: impl Iterator<Item = &'c str> + Clone,
        prefixes: &[String],
        places: &BTreeSet<Place>,
    ) -> Result<(), String> {
        let arguments =
            |wanted: &'static str| commands.clone().filter_map(move |text| text.strip_prefix(wanted));
        let mut names: BTreeSet<String> = LISTS.iter().map(|list| format!("x86_64-efi/{list}")).collect();
        let modules = arguments("insmod ").filter(|name| !self.image.modules.contains(*name));
        names.extend(modules.map(|name| format!("x86_64-efi/{name}.mod")));
        let fonts = arguments("loadfont ").map(|name| format!("fonts/{name}.pf2"));
        names.extend(fonts.filter(|font| !self.is_in_memory(font)));
        names.extend(arguments("set lang=").map(|name| format!("locale/{name}.mo")));
        for prefix in prefixes {
            for (partition, volume) in self.on(prefix) {
                for name in &names {
                    let path = normal(&format!("{}/{name}", path_of(prefix)));
                    let there = volume.open(&path).map_err(|error| error.to_string())?.is_some();
                    if there && !places.contains(&(partition, path.to_ascii_lowercase())) {
                        return Err(format!("{path} is there, which the recorded boot did not open"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The memory disk comes first, and nothing on it is measured.
    fn is_in_memory(&self, font: &str) -> bool {
        match &self.image.memdisk {
            Some(Ok(disk)) => matches!(disk.open(font), Ok(Some(_))),
            _ => self.image.has_debians_memory_disk() && font == "fonts/unicode.pf2",
        }
    }

    /// `blscfg` opens every entry, in the order of the folder.
    fn check_entries(&self, opened: &[Opened<'_>]) -> Result<(), String> {
        let mut seen: Vec<(usize, &str, &str)> = Vec::new();
        for file in opened {
            if let Some((folder, name)) = file.path.rsplit_once('/')
                && name.ends_with(".conf")
                && !seen.contains(&(file.partition, folder, name))
            {
                seen.push((file.partition, folder, name));
            }
        }
        let mut folders: BTreeSet<(usize, &str)> =
            seen.iter().map(|(at, folder, _)| (*at, *folder)).collect();
        if folders.is_empty() {
            let usual = ["/loader/entries", "/boot/loader/entries"];
            folders.extend(self.readable().flat_map(|(at, _)| usual.map(|folder| (at, folder))));
        }
        for (partition, folder) in folders {
            let Some(volume) = self.volume(partition) else { continue };
            let listed = volume.list(folder).map_err(|error| error.to_string())?.unwrap_or_default();
            let listed: Vec<String> =
                listed.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".conf")).collect();
            let mut then = seen.iter().filter(|(at, place, _)| (*at, *place) == (partition, folder));
            let same = listed.iter().all(|name| then.next().is_some_and(|(_, _, other)| other == name));
            if !same || then.next().is_some() || (listed.len() > 1 && !volume.knows_order()) {
                return Err(format!(
                    "the entries in {folder} are not those that the recorded boot opened, in the same order"
                ));
            }
        }
        Ok(())
    }
}

fn path_of(name: &str) -> &str {
    device_of(name).and_then(|_| name.split_once(')')).map_or(name, |(_, path)| path)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Uuid,
    Label,
    File,
}

/// A search: for what, into which variable.
struct Search<'t> {
    wanted: Wanted,
    value: &'t str,
    variable: &'t str,
}

impl<'t> Search<'t> {
    /// `None` for options that are not known.
    fn read(name: &str, arguments: &[&'t str]) -> Option<Self> {
        let by_name = match name {
            "search.fs_uuid" => Some(Wanted::Uuid),
            "search.fs_label" => Some(Wanted::Label),
            "search.file" => Some(Wanted::File),
            _ => None,
        };
        if let Some(wanted) = by_name {
            let variable = arguments.get(1).copied().unwrap_or_default();
            return Some(Self { wanted, value: arguments.first()?, variable });
        }
        let (mut wanted, mut variable, mut names) = (Wanted::File, "", Vec::new());
        let mut words = arguments.iter().copied().peekable();
        while let Some(word) = words.next() {
            match word {
                "--fs-uuid" | "-u" => wanted = Wanted::Uuid,
                "--label" | "-l" => wanted = Wanted::Label,
                "--file" | "-f" => wanted = Wanted::File,
                "--no-floppy" | "-n" | "--quiet" | "-q" => {}
                // The variable may stand behind it, or be left out.
                "--set" | "-s" => {
                    let others =
                        words.clone().chain(names.iter().copied()).filter(|word| !word.starts_with('-'));
                    let named = others.count() > 1 && words.peek().is_some_and(|word| !word.starts_with('-'));
                    variable = if named { words.next()? } else { "root" };
                }
                word if word.starts_with("--set=") => variable = word.strip_prefix("--set=")?,
                word if word.starts_with("--hint") => {}
                word if word.starts_with('-') => return None,
                word => names.push(word),
            }
        }
        match names.as_slice() {
            [value] => Some(Self { wanted, value, variable }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of Debian's and Fedora CoreOS's configurations, as GRUB logs them.
    #[test]
    fn searches_are_read() {
        for (line, expected) in [
            ("search --label boot --set prefix --no-floppy", Some((Wanted::Label, "boot", "prefix"))),
            ("search --no-floppy --fs-uuid --set=root 0-1", Some((Wanted::Uuid, "0-1", "root"))),
            ("search --set --fs-uuid 0-1", Some((Wanted::Uuid, "0-1", "root"))),
            ("search --fs-uuid --set 0-1", Some((Wanted::Uuid, "0-1", "root"))),
            ("search.fs_uuid 0-1 root hd0,gpt2", Some((Wanted::Uuid, "0-1", "root"))),
            ("search --no-floppy --file --set=r3 /vmlinuz", Some((Wanted::File, "/vmlinuz", "r3"))),
            ("search --unheard-of x", None),
            ("search --label one two", None),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let found = Search::read(words.first().expect("a name"), words.get(1..).unwrap_or_default());
            let found = found.map(|search| (search.wanted, search.value, search.variable));
            assert_eq!(found, expected, "{line}");
        }
    }
}
