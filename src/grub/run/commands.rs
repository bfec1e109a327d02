//! Commands: those that boots are made of, and the line that is measured for each.

use super::{Flow, Grub, Step, Stop, stop};
use crate::grub::script::Word;

/// Commands that neither open files nor decide anything; whether they succeed, the machine knows.
const HARMLESS: [&str; 10] = [
    "terminal_input",
    "terminal_output",
    "terminal",
    "serial",
    "clear",
    "sleep",
    "play",
    "background_color",
    "export",
    "echo",
];

impl Grub<'_> {
    /// Measures a command and runs it.
    pub(super) fn simple(&mut self, words: &[Word]) -> Flow {
        let arguments = self.expand(words)?;
        if arguments.is_empty() {
            return Ok(());
        }
        self.trace.steps.push(Step::Command(arguments.join(" ")));
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

    fn dispatch(&mut self, name: &str, arguments: &[String]) -> Flow {
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
            "insmod" => return self.insmod(arguments),
            "menuentry" => return self.add_entry(arguments, false),
            "submenu" => return self.add_entry(arguments, true),
            "setparams" => self.arguments = arguments.to_vec(),
            "source" | "." => return self.run_file(one(name, arguments)?),
            "configfile" => {
                self.menu.clear();
                let file = one(name, arguments)?;
                self.run_file(file)?;
                return self.run_menu();
            }
            "loadfont" => {
                for font in arguments {
                    if !font.starts_with(['(', '/']) {
                        return Err(stop(format!("where GRUB finds the font {font} is not followed")));
                    }
                    self.succeeded = Some(self.open(font)?.is_some());
                }
            }
            "linux" | "linuxefi" => return self.linux(arguments),
            "initrd" | "initrdefi" => return self.initrd(arguments),
            "boot" if self.loaded => {}
            _ if HARMLESS.contains(&name) => self.succeeded = None,
            _ => return self.call(name, arguments),
        }
        Ok(())
    }

    /// A function, or at last an assignment.
    fn call(&mut self, name: &str, arguments: &[String]) -> Flow {
        if let Some(body) = self.functions.get(name).cloned() {
            let outer = std::mem::replace(&mut self.arguments, arguments.to_vec());
            let flow = self.nested(|grub| grub.script(&body));
            self.arguments = outer;
            return flow;
        }
        match name.split_once('=') {
            Some((variable, value)) if arguments.is_empty() && !variable.is_empty() => {
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

    fn assign(&mut self, name: &str, value: &str) -> Flow {
        self.environment.set(name, value.to_owned())?;
        if name == "prefix" {
            self.read_lists()?;
        }
        Ok(())
    }

    /// A module that is built in is there already; one that is not comes from a file.
    fn insmod(&mut self, arguments: &[String]) -> Flow {
        let name = one("insmod", arguments)?;
        if self.image.modules.contains(name) {
            return Ok(());
        }
        let file = if name.starts_with(['(', '/']) {
            name.to_owned()
        } else {
            format!("{}/x86_64-efi/{name}.mod", self.environment.plain("prefix"))
        };
        match self.look(&file)? {
            None => {
                self.succeeded = Some(false);
                Ok(())
            }
            Some(_) => Err(stop(format!("whether GRUB loads the module {file} is not followed"))),
        }
    }

    /// The kernel's file is measured when it is opened, the kernel when shim is asked, then the command line.
    fn linux(&mut self, arguments: &[String]) -> Flow {
        let path = arguments.first().ok_or_else(|| stop("linux has no kernel"))?;
        let Some(file) = self.open(path)? else {
            return Err(stop(format!("the kernel {path} is not there")));
        };
        let on_volume = match self.trace.steps.last() {
            Some(Step::File { path, .. }) => path.clone(),
            _ => return Err(stop("the kernel lies on the memory disk")),
        };
        self.trace.steps.push(Step::Kernel { path: on_volume, file });
        let text = arguments.iter().map(|argument| quoted(argument)).collect::<Vec<_>>().join(" ");
        self.trace.steps.push(Step::KernelCommandLine(text.clone()));
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
            let Some(file) = self.open(name)? else {
                return Err(stop(format!("the initrd {name} is not there")));
            };
            let Some(Step::File { path, .. }) = self.trace.steps.last() else {
                return Err(stop("an initrd lies on the memory disk"));
            };
            self.trace.initrds.push((path.clone(), file));
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
