//! A run of GRUB's configuration: which commands it runs, which files it opens, which kernel it starts.
//!
//! The run follows the automatic boot: nobody touches a key. It stops at the first command whose effect depends on
//! something that is not on the volumes at hand, and says which.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod bls;
mod commands;
mod environment;
mod expansion;
mod files;
mod menu;
mod modules;
mod names;
mod search;
mod test;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use super::build::GrubBuild;
use super::image::GrubImage;
use super::script::{Command, Script};
use crate::source::Blob;

pub use files::{GrubFiles, GrubPartition};

/// Most commands that a run executes.
const MAX_COMMANDS: usize = 20_000;
/// Deepest nesting of functions, files and menus.
const MAX_DEPTH: usize = 32;
/// Largest script, in bytes.
const MAX_SCRIPT: u64 = 1 << 20;
/// Most bytes of commands that are measured.
const MAX_MEASURED: usize = 16 << 20;

/// One thing that GRUB does and that is measured.
#[derive(Debug, Clone)]
pub enum Step {
    /// A command: its words after expansion, joined by spaces. PCR 8.
    Command(String),
    /// A file that was opened. PCR 9.
    File {
        /// Its name as it was opened.
        name: String,
        /// Its path on the volume.
        path: String,
        /// Its content.
        file: Blob,
    },
    /// The kernel is handed to shim, and started. PCR 4, how often depends on the build.
    Kernel {
        /// Its path on the volume.
        path: String,
        /// Its content.
        file: Blob,
    },
    /// The kernel's command line with its path in front. PCR 8.
    KernelCommandLine(String),
}

/// Why a run was not followed to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Stop(pub String);

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// What is measured, in order.
    pub steps: Vec<Step>,
    /// The command line of the kernel that was started, its path in front.
    pub command_line: Option<String>,
    /// The initrds given to it, with their paths.
    pub initrds: Vec<(String, Blob)>,
    /// The menu waits for a key unless nobody presses one.
    pub waits: bool,
    /// Whether the firmware has a setup decided something; it was taken to have one.
    pub asked_for_setup: bool,
    /// The build, where it was known or showed.
    pub build: Option<&'static GrubBuild>,
    /// Why it could not be followed to the start of a kernel.
    pub stopped: Option<Stop>,
}

/// A GRUB that is about to run.
#[derive(Debug)]
pub struct Grub<'a> {
    image: &'a GrubImage,
    build: Option<&'static GrubBuild>,
    files: &'a dyn GrubFiles,
    /// Secure Boot is on, so that modules are refused.
    secure: bool,
    /// The device that GRUB was loaded from.
    home: String,
    trace: Trace,
    environment: environment::Environment,
    functions: BTreeMap<String, Script>,
    menu: Vec<menu::MenuEntry>,
    /// Modules that are built in or were loaded.
    loaded_modules: BTreeSet<String>,
    /// Which module brings a command (`command.lst`), once the list was read.
    commands_of_modules: BTreeMap<String, String>,
    /// `fs.lst` was read: a device without a file system makes GRUB load every module that it names.
    knows_file_systems: bool,
    /// The module `normal` runs; until then commands are the rescue parser's, which measures none.
    normal: bool,
    /// Arguments of the entry or function that runs.
    arguments: Vec<String>,
    /// How the last command ended; `None` where that is not known.
    succeeded: Option<bool>,
    /// A kernel is loaded.
    loaded: bool,
    /// An environment block was written.
    saved: bool,
    /// Bytes of commands so far.
    measured: usize,
    /// It was started, so that nothing runs any more.
    started: bool,
    commands: usize,
    depth: usize,
}

/// How a piece of script went on.
type Flow = Result<(), Stop>;

fn stop(reason: impl Into<String>) -> Stop {
    Stop(reason.into())
}

impl<'a> Grub<'a> {
    /// GRUB as loaded from the file `path` of the device `device` (`hd0,gpt1`). Without a build, the module `normal` that it
    /// loads shows which one it is.
    #[must_use]
    pub fn new(
        image: &'a GrubImage,
        build: Option<&'static GrubBuild>,
        device: &str,
        files: &'a dyn GrubFiles,
    ) -> Self {
        Self {
            image,
            build,
            files,
            secure: false,
            home: device.to_owned(),
            trace: Trace::default(),
            environment: environment::Environment::new(image, device),
            functions: BTreeMap::new(),
            menu: Vec::new(),
            loaded_modules: image.modules.clone(),
            commands_of_modules: BTreeMap::new(),
            knows_file_systems: false,
            normal: image.modules.contains("normal"),
            arguments: Vec::new(),
            succeeded: Some(true),
            loaded: false,
            saved: false,
            measured: 0,
            started: false,
            commands: 0,
            depth: 0,
        }
    }

    /// With Secure Boot on.
    #[must_use]
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Runs from the start to the kernel.
    #[must_use]
    pub fn run(mut self) -> Trace {
        let flow = self.boot();
        if !self.started {
            self.trace.stopped = Some(flow.err().unwrap_or_else(|| stop("no kernel starts")));
        }
        self.trace.build = self.build;
        self.trace
    }

    /// The kernel that was loaded starts: the run ends, from however deep.
    fn start(&mut self) -> Flow {
        self.started = true;
        Err(stop("the kernel was started"))
    }

    /// Adds to what is measured: nothing is before the module `tpm` is there.
    fn measure(&mut self, step: Step) {
        if let Step::Command(text) = &step {
            self.measured = self.measured.saturating_add(text.len());
        }
        let is_kernel = matches!(step, Step::Kernel { .. });
        if is_kernel || self.loaded_modules.contains("tpm") {
            self.trace.steps.push(step);
        }
    }

    /// `grub_main`: the configuration that is built in, then `grub.cfg` in the prefix unless that ran another one.
    fn boot(&mut self) -> Flow {
        let early: Vec<String> =
            self.image.early.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        for line in
            early.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            match line.strip_prefix("normal ") {
                Some(name) if !name.contains(['$', '"', '\'', ' ', '\\']) && self.normal => {
                    return self.start_normal(name);
                }
                _ => self.rescue(line)?,
            }
        }
        if !self.normal && !self.load("normal")? {
            return Err(stop(
                "the module normal is not where GRUB looks for it: its rescue prompt waits for commands",
            ));
        }
        let name = format!("{}/grub.cfg", self.environment.plain("prefix"));
        self.start_normal(&name)
    }

    /// A line of the configuration that is built in, by the rescue parser (GRUB `grub-core/kern/rescue_parser.c`).
    fn rescue(&mut self, line: &str) -> Flow {
        let script =
            Script::parse(line).map_err(|error| stop(format!("its built-in configuration, {error}")))?;
        for command in &script.0 {
            let Command::Simple(words) = command else {
                return Err(stop(format!("its built-in configuration '{line}' is not followed")));
            };
            let arguments = self.expand(words)?;
            let Some((name, arguments)) = arguments.split_first() else { continue };
            let known = name == "set" || (name.starts_with("search.") && self.has(name)?);
            if !known {
                return Err(stop(format!("its built-in configuration '{line}' is not followed")));
            }
            let normal = std::mem::replace(&mut self.normal, false);
            let flow = self.dispatch(name, arguments);
            self.normal = normal;
            flow?;
        }
        Ok(())
    }

    /// The command `normal`: a configuration and then its menu.
    fn start_normal(&mut self, name: &str) -> Flow {
        let Some(build) = self.build else {
            return Err(stop(
                "its module normal does not show which build it is, or one that was not observed",
            ));
        };
        // The module begins with loading this one; built in, it would look for it before there is a prefix.
        if self.image.modules.contains("normal") {
            if !self.image.modules.contains("gzio") {
                return Err(stop("whether it loads the module gzio is not followed"));
            }
        } else {
            self.load("gzio")?;
        }
        self.normal = true;
        // Up to the last time it is only looked at. A file that was named is opened once.
        let named = self.image.early.iter().any(|text| text.contains("normal "));
        for _ in 1..if named { 1 } else { build.opens_configuration } {
            self.open(name)?;
        }
        self.read_lists()?;
        self.configuration(name)?;
        self.run_menu()
    }

    /// A configuration: while it runs, these variables name it (GRUB `grub-core/normal/main.c`, `read_config_file`).
    fn configuration(&mut self, name: &str) -> Flow {
        let outer = ["config_file", "config_directory"].map(|name| self.environment.plain(name).to_owned());
        let (device, path) = self.locate(name)?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.environment.set("config_directory", format!("({device}){folder}"))?;
        self.environment.set("config_file", name.to_owned())?;
        self.run_file(name)?;
        let [file, directory] = outer;
        self.environment.set("config_file", file)?;
        self.environment.set("config_directory", directory)
    }

    /// Runs a file, if there is one.
    fn run_file(&mut self, name: &str) -> Flow {
        let Some(file) = self.open(name)? else {
            self.succeeded = Some(false);
            return Ok(());
        };
        if file.len() > MAX_SCRIPT {
            return Err(stop(format!("{name} is larger than is read")));
        }
        let bytes = file.read(MAX_SCRIPT).map_err(|error| stop(format!("{name}: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| stop(format!("{name} is not UTF-8")))?;
        // GRUB `grub_file_getline` drops every one, wherever it stands.
        self.run_text(name, &text.replace('\r', ""))
    }

    fn run_text(&mut self, name: &str, text: &str) -> Flow {
        let script = Script::parse(text).map_err(|error| stop(format!("{name}, {error}")))?;
        self.nested(|grub| grub.script(&script))
    }

    /// Goes one level deeper.
    fn nested(&mut self, run: impl FnOnce(&mut Self) -> Flow) -> Flow {
        if self.depth >= MAX_DEPTH {
            return Err(stop("functions and files nest deeper than is followed"));
        }
        self.depth = self.depth.saturating_add(1);
        let flow = run(self);
        self.depth = self.depth.saturating_sub(1);
        flow
    }

    fn script(&mut self, script: &Script) -> Flow {
        script.0.iter().try_for_each(|command| self.command(command))
    }

    fn command(&mut self, command: &Command) -> Flow {
        self.count()?;
        match command {
            Command::Simple(words) => self.simple(words),
            Command::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.holds(condition)? {
                        return self.nested(|grub| grub.script(body));
                    }
                }
                self.succeeded = Some(true);
                self.nested(|grub| grub.script(otherwise))
            }
            Command::For { name, words, body } => {
                for value in self.expand(words)? {
                    self.environment.set(name, value)?;
                    self.nested(|grub| grub.script(body))?;
                    self.count()?;
                }
                Ok(())
            }
            Command::While { condition, body, until } => {
                while self.holds(condition)? != *until {
                    self.nested(|grub| grub.script(body))?;
                    self.count()?;
                }
                Ok(())
            }
            Command::Function { name, body } => {
                self.functions.insert(name.clone(), body.clone());
                self.succeeded = Some(true);
                Ok(())
            }
        }
    }

    fn count(&mut self) -> Flow {
        self.commands = self.commands.saturating_add(1);
        if self.measured > MAX_MEASURED {
            return Err(stop("the configuration measures longer commands than are followed"));
        }
        if self.commands > MAX_COMMANDS {
            return Err(stop("the configuration runs more commands than are followed"));
        }
        Ok(())
    }

    fn holds(&mut self, condition: &Script) -> Result<bool, Stop> {
        self.nested(|grub| grub.script(condition))?;
        self.succeeded.ok_or_else(|| {
            let last = self.trace.steps.iter().rev().find_map(|step| match step {
                Step::Command(text) => Some(text.clone()),
                _ => None,
            });
            stop(format!("whether '{}' succeeds depends on the machine", last.unwrap_or_default()))
        })
    }
}
