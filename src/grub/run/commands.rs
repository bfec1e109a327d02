//! Commands: those that boots are made of, and the line that is measured for each.

use super::names::COMMANDS;
use super::search::Wanted;
use super::{Flow, Grub, Step, Stop, stop};
use crate::disk::Volume;
use crate::grub::script::Word;

/// Commands that neither open files nor decide anything; whether they succeed, the machine knows.
const HARMLESS: [&str; 7] = ["serial", "clear", "sleep", "play", "background_color", "echo", "gettext"];

/// Terminals that are there without a module, or with the module of that name.
const TERMINALS: [&str; 3] = ["console", "gfxterm", "serial"];

impl Grub<'_> {
    /// Measures a command and runs it.
    pub(super) fn simple(&mut self, words: &[Word]) -> Flow {
        let arguments = self.expand(words)?;
        if arguments.is_empty() {
            return Ok(());
        }
        self.measure(Step::Command(arguments.join(" ")));
        let (invert, arguments) = match arguments.split_first() {
            Some((first, rest)) if first == "!" => (true, rest),
            _ => (false, arguments.as_slice()),
        };
        let Some((name, arguments)) = arguments.split_first() else {
            return Err(stop("the configuration has a ! without a command"));
        };
        self.dispatch(name, arguments)?;
        if invert {
            self.succeeded = self.succeeded.map(|succeeded| !succeeded);
        }
        Ok(())
    }

    /// Runs a command, where there is such a one; else a function of that name.
    pub(super) fn dispatch(&mut self, name: &str, arguments: &[String]) -> Flow {
        if !self.has(name)? {
            return self.call(name, arguments);
        }
        self.succeeded = Some(true);
        match name {
            "[" => match arguments.split_last() {
                Some((last, rest)) if last == "]" => self.succeeded = Some(self.test(rest)?),
                _ => return Err(stop("a test has no closing bracket")),
            },
            "test" => self.succeeded = Some(self.test(arguments)?),
            "true" => {}
            "false" => self.succeeded = Some(false),
            "set" => return self.set(arguments),
            "unset" => arguments.iter().for_each(|name| self.environment.unset(name)),
            "export" => arguments.iter().try_for_each(|name| self.environment.export(name))?,
            "insmod" => return self.insmod(arguments),
            "menuentry" => return self.add_entry(arguments, false),
            "submenu" => return self.add_entry(arguments, true),
            "setparams" => self.arguments = arguments.to_vec(),
            "source" | "." => return self.configuration(one(name, arguments)?),
            "configfile" => return self.configfile(one(name, arguments)?),
            "loadfont" => arguments.iter().try_for_each(|font| self.load_font(font))?,
            "load_env" => return self.load_env(arguments),
            "search" => return self.search(arguments),
            "search.fs_uuid" => return self.search_by(Wanted::Uuid, arguments),
            "search.fs_label" => return self.search_by(Wanted::Label, arguments),
            "search.file" => return self.search_by(Wanted::File, arguments),
            "blscfg" => return self.boot_loader_entries(arguments),
            "linux" | "linuxefi" => return self.linux(arguments),
            "initrd" | "initrdefi" => return self.initrd(arguments),
            "boot" if self.loaded => return self.start(),
            "terminal_input" | "terminal_output" => self.terminals(arguments)?,
            "fwsetup" => self.ask_for_setup(arguments)?,
            "save_env" => {
                self.saved = true;
                self.succeeded = None;
            }
            _ if HARMLESS.contains(&name) => self.succeeded = None,
            _ => return Err(stop(format!("what the command '{name}' does is not followed"))),
        }
        Ok(())
    }

    /// A configuration with variables and a menu of its own.
    fn configfile(&mut self, file: &str) -> Flow {
        self.menu.clear();
        self.environment = self.environment.inherited();
        self.configuration(file)?;
        self.run_menu()
    }

    /// A terminal whose module is not loaded would be looked for in `terminal.lst`.
    fn terminals(&mut self, arguments: &[String]) -> Flow {
        self.succeeded = None;
        for name in arguments.iter().map(|name| name.trim_start_matches(['+', '-'])) {
            let there = name == "console" || self.loaded_modules.contains(name);
            if !TERMINALS.contains(&name) || !there {
                return Err(stop(format!("which module GRUB loads for the terminal {name} is not followed")));
            }
        }
        Ok(())
    }

    /// `fwsetup --is-supported`: firmware that has a setup says so (UEFI `OsIndicationsSupported`).
    fn ask_for_setup(&mut self, arguments: &[String]) -> Flow {
        let asks = self.build.is_some_and(|build| build.asks_for_setup);
        if !asks || arguments != ["--is-supported"] {
            return Err(stop("fwsetup restarts the machine into the firmware's setup"));
        }
        self.trace.asked_for_setup = true;
        Ok(())
    }

    /// A font, by its file or by its name: on the memory disk where there is one, which holds Debian's, else in the prefix.
    fn load_font(&mut self, font: &str) -> Flow {
        let by_name = !font.starts_with(['(', '/']);
        if by_name && self.image.memdisk.is_some() {
            let there = match &self.image.memdisk {
                Some(Ok(disk)) => matches!(disk.open(&format!("/fonts/{font}.pf2")), Ok(Some(_))),
                _ => self.image.has_debians_memory_disk() && font == "unicode",
            };
            if !there {
                return Err(stop(format!("where GRUB finds the font {font} is not followed")));
            }
            return Ok(());
        }
        let name = match by_name {
            true => format!("{}/fonts/{font}.pf2", self.environment.plain("prefix")),
            false => font.to_owned(),
        };
        if !by_name && self.secure {
            return Err(stop(format!(
                "whether GRUB takes the font {font} under Secure Boot is not followed"
            )));
        }
        let file = self.open(&name)?;
        let is_font =
            file.as_ref().map(|file| file.read_prefix(12).is_ok_and(|head| head.ends_with(b"PFF2")));
        match is_font {
            Some(false) => Err(stop(format!("whether GRUB takes the font {name} is not followed"))),
            found => {
                self.succeeded = Some(found.is_some());
                Ok(())
            }
        }
    }

    /// A function, or at last an assignment.
    fn call(&mut self, name: &str, arguments: &[String]) -> Flow {
        if let Some(body) = self.functions.get(name).cloned() {
            // A command comes before a function, and which of those that are not followed are built in is not looked at.
            if COMMANDS.contains(&name) {
                return Err(stop(format!(
                    "the function '{name}' has the name of a command, which may come first"
                )));
            }
            let outer = std::mem::replace(&mut self.arguments, arguments.to_vec());
            let flow = self.nested(|grub| grub.script(&body));
            self.arguments = outer;
            return flow;
        }
        match name.split_once('=') {
            Some((variable, value)) if arguments.is_empty() && !variable.is_empty() => {
                self.succeeded = Some(true);
                self.assign(variable, value)
            }
            _ => Err(stop(format!("what the command '{name}' does is not followed"))),
        }
    }

    fn set(&mut self, arguments: &[String]) -> Flow {
        let Some(argument) = arguments.first() else { return Ok(()) };
        match argument.split_once('=') {
            Some((name, value)) => self.assign(name, value),
            None => {
                self.succeeded = Some(false);
                Ok(())
            }
        }
    }

    pub(super) fn assign(&mut self, name: &str, value: &str) -> Flow {
        self.environment.set(name, value.to_owned())?;
        match name {
            "check_signatures" if !matches!(value, "" | "no") => Err(stop(
                "with check_signatures GRUB asks for a signature beside each file, which is not followed",
            )),
            "prefix" => self.read_lists(),
            "lang" | "locale_dir" => self.open_translation(),
            "secondary_locale_dir" => Err(stop("translations of a second folder are not followed")),
            _ => Ok(()),
        }
    }

    /// A module that is built in is there already; one that is not comes from a file.
    fn insmod(&mut self, arguments: &[String]) -> Flow {
        let name = one("insmod", arguments)?;
        let loaded = if name.starts_with(['(', '/']) { self.load_file(name)? } else { self.load(name)? };
        // Of a module that Secure Boot refuses it says so, too.
        self.succeeded = Some(loaded || (self.secure && self.look_for_module(name)?));
        Ok(())
    }

    /// Whether there is the file of a module.
    fn look_for_module(&self, name: &str) -> Result<bool, Stop> {
        let prefix = self.environment.plain("prefix");
        let file = if name.starts_with(['(', '/']) {
            name.to_owned()
        } else {
            format!("{prefix}/x86_64-efi/{name}.mod")
        };
        Ok(self.look(&file)?.is_some())
    }

    /// `load_env [--file FILE] [--skip-sig]`: variables of a file of lines `name=value` behind its mark, padded with `#`
    /// (GRUB `grub-core/commands/loadenv.c`, `grub-core/lib/envblk.c`).
    fn load_env(&mut self, arguments: &[String]) -> Flow {
        const MARK: &str = "# GRUB Environment Block\n";
        const MAX_BLOCK: u64 = 64 << 10;
        if self.saved {
            return Err(stop("load_env after save_env reads what this boot wrote"));
        }
        let (mut file, mut skips) = (None, false);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--file" | "-f" => file = arguments.next().cloned(),
                "--skip-sig" | "-s" => skips = true,
                text if text.starts_with("--file=") => file = text.strip_prefix("--file=").map(str::to_owned),
                _ => return Err(stop("load_env with names of variables is not followed")),
            }
        }
        let name = file.unwrap_or_else(|| format!("{}/grubenv", self.environment.plain("prefix")));
        let found = if skips { self.find(&name)?.map(|(_, file, _)| file) } else { self.open(&name)? };
        let Some(found) = found else {
            self.succeeded = Some(false);
            return Ok(());
        };
        let bytes = found.read(MAX_BLOCK).map_err(|error| stop(format!("{name}: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| stop(format!("{name} is not UTF-8")))?;
        let Some(lines) = text.strip_prefix(MARK) else {
            self.succeeded = Some(false);
            return Ok(());
        };
        if lines.contains('\\') {
            return Err(stop(format!("{name} has values with backslashes, which are not followed")));
        }
        for line in lines.lines().filter(|line| !line.starts_with('#')) {
            let Some((variable, value)) = line.split_once('=') else {
                return Err(stop(format!("{name}: the line '{line}' has no =")));
            };
            self.assign(variable, value)?;
        }
        self.succeeded = Some(true);
        Ok(())
    }

    /// The kernel's file is measured when it is opened, the kernel when shim is asked, then the command line.
    fn linux(&mut self, arguments: &[String]) -> Flow {
        let path = arguments.first().ok_or_else(|| stop("linux has no kernel"))?;
        let Some((on_volume, file, measured)) = self.find(path)? else {
            return Err(stop(format!("the kernel {path} is not there")));
        };
        if !measured {
            return Err(stop("the kernel lies on the memory disk"));
        }
        self.open(path)?;
        self.measure(Step::Kernel { path: on_volume, file });
        let text = arguments.iter().map(|argument| quoted(argument)).collect::<Vec<_>>().join(" ");
        self.measure(Step::KernelCommandLine(text.clone()));
        self.trace.command_line = Some(text);
        self.trace.initrds.clear();
        self.loaded = true;
        Ok(())
    }

    fn initrd(&mut self, arguments: &[String]) -> Flow {
        if !self.loaded {
            return Err(stop("an initrd comes before the kernel"));
        }
        self.trace.initrds.clear();
        for name in arguments {
            if name.starts_with("newc:") {
                return Err(stop("initrd files with names of their own (newc:) are not followed"));
            }
            let Some((path, file, measured)) = self.find(name)? else {
                return Err(stop(format!("the initrd {name} is not there")));
            };
            if !measured {
                return Err(stop("an initrd lies on the memory disk"));
            }
            self.open(name)?;
            self.trace.initrds.push((path, file));
        }
        Ok(())
    }
}

fn one<'a>(command: &str, arguments: &'a [String]) -> Result<&'a str, Stop> {
    match arguments {
        [argument] => Ok(argument),
        _ => Err(stop(format!("{command} with other than one argument is not followed"))),
    }
}

/// An argument in the kernel's command line (GRUB `grub-core/lib/cmdline.c`): quotes around one with spaces, and a backslash
/// before quotes and backslashes, but for `\xHH`.
fn quoted(argument: &str) -> String {
    let mut text = String::with_capacity(argument.len());
    let spaces = argument.contains(' ');
    text.extend(spaces.then_some('"'));
    for (index, character) in argument.char_indices() {
        let rest = argument.get(index..).unwrap_or_default().as_bytes();
        let hexadecimal = matches!(rest, [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
        if matches!(character, '\\' | '\'' | '"') && !hexadecimal {
            text.push('\\');
        }
        text.push(character);
    }
    text.extend(spaces.then_some('"'));
    text
}
