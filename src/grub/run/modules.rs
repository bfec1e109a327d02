//! Modules: what is built in, what is loaded from files, and which command makes GRUB load one (GRUB
//! `grub-core/kern/dl.c`, `grub-core/normal/dyncmd.c`).

use super::{Flow, Grub, Stop, stop};
use crate::grub::build::{GrubBuild, GrubVersion};
use crate::grub::module::Module;
use crate::source::Blob;

/// Largest module, in bytes.
const MAX_MODULE: u64 = 16 << 20;
/// Largest list of commands, in bytes.
const MAX_LIST: u64 = 1 << 20;

/// Commands that are followed, by the module that brings them: the source file that registers them.
const COMMANDS: [(&str, &str); 38] = [
    ("set", "kernel"),
    ("unset", "kernel"),
    ("insmod", "kernel"),
    ("menuentry", "normal"),
    ("submenu", "normal"),
    ("setparams", "normal"),
    ("export", "normal"),
    ("clear", "normal"),
    ("configfile", "configfile"),
    ("source", "configfile"),
    (".", "configfile"),
    ("[", "test"),
    ("test", "test"),
    ("true", "true"),
    ("false", "true"),
    ("echo", "echo"),
    ("sleep", "sleep"),
    ("play", "play"),
    ("serial", "serial"),
    ("terminal_input", "terminal"),
    ("terminal_output", "terminal"),
    ("background_color", "gfxterm_background"),
    ("loadfont", "font"),
    ("load_env", "loadenv"),
    ("save_env", "loadenv"),
    ("search", "search"),
    ("search.fs_uuid", "search_fs_uuid"),
    ("search.fs_label", "search_label"),
    ("search.file", "search_fs_file"),
    ("linux", "linux"),
    ("initrd", "linux"),
    ("linuxefi", "linuxefi"),
    ("initrdefi", "linuxefi"),
    ("boot", "boot"),
    ("fwsetup", "efifwsetup"),
    ("gettext", "gettext"),
    ("blscfg", "blsuki"),
    ("uki", "blsuki"),
];

impl Grub<'_> {
    /// Whether there is such a command, loading the module that `command.lst` names for it.
    pub(super) fn has(&mut self, command: &str) -> Result<bool, Stop> {
        let known = COMMANDS.iter().find(|(name, _)| *name == command).map(|(_, module)| *module);
        match known {
            Some("kernel") => return Ok(true),
            Some("normal") => return Ok(self.normal),
            Some(module) if self.loaded_modules.contains(module) => return Ok(true),
            _ => {}
        }
        let Some(module) = self.commands_of_modules.get(command).cloned() else { return Ok(false) };
        if known.is_none() {
            return Err(stop(format!("what the command '{command}' does is not followed")));
        }
        let loaded = self.load(&module)?;
        if self.secure && !loaded {
            return Err(stop(format!("the command '{command}' is in a module that Secure Boot refuses")));
        }
        Ok(loaded)
    }

    /// `command.lst`: a command, with `*` in front where its options are parsed for it, and its module.
    pub(super) fn read_commands(&mut self, name: &str, file: &Blob) -> Flow {
        let text = file.read(MAX_LIST).map_err(|error| stop(format!("{name}: {error}")))?;
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let entry = |(command, module): (&str, &str)| {
            (command.trim().trim_start_matches('*').to_owned(), module.trim().to_owned())
        };
        self.commands_of_modules = lines.map(entry).collect();
        Ok(())
    }

    /// Loads a module by name, unless it is there.
    pub(super) fn load(&mut self, name: &str) -> Result<bool, Stop> {
        if self.loaded_modules.contains(name) {
            return Ok(true);
        }
        let prefix = self.environment.plain("prefix");
        if prefix.is_empty() {
            return Ok(false);
        }
        let file = format!("{prefix}/x86_64-efi/{name}.mod");
        self.load_file(&file)
    }

    /// Loads a module from a file: it is opened, then what it depends on is loaded. Under Secure Boot it is opened and
    /// refused.
    pub(super) fn load_file(&mut self, name: &str) -> Result<bool, Stop> {
        let Some(file) = self.open(name)? else { return Ok(false) };
        if self.secure {
            return Ok(false);
        }
        if file.len() > MAX_MODULE {
            return Err(stop(format!("{name} is larger than is read")));
        }
        let bytes = file.read(MAX_MODULE).map_err(|error| stop(format!("{name}: {error}")))?;
        let Some(module) = Module::parse(&bytes) else {
            return Err(stop(format!("{name} is no module of GRUB")));
        };
        if self.loaded_modules.contains(&module.name) {
            return Ok(false);
        }
        if let Some(version) = &module.version {
            self.recognise(version)?;
        }
        self.nested(|grub| {
            for needed in &module.dependencies {
                if !grub.load(needed)? {
                    return Err(stop(format!("{name} needs the module {needed}, which is not there")));
                }
            }
            Ok(())
        })?;
        self.loaded_modules.insert(module.name);
        Ok(true)
    }

    /// The module `normal` shows which build this is. One of another build than the image is refused, or breaks.
    fn recognise(&mut self, version: &str) -> Flow {
        let found = GrubVersion::from_package(version);
        let Some(build) = GrubBuild::of(&found) else {
            return Err(stop(format!("what the build {found} measures was not observed")));
        };
        if self.build.is_some_and(|known| known != build) {
            return Err(stop(format!("its module normal is of another build, {version}")));
        }
        self.build = Some(build);
        Ok(())
    }
}
