//! A run of GRUB's configuration: which commands it runs, which files it opens, which kernel it starts.
//!
//! The run follows the automatic boot: nobody touches a key. It stops at the first command whose effect depends on
//! something that is not on the volumes at hand, and says which.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod commands;
mod environment;
mod expansion;
mod files;
mod menu;
mod test;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::build::GrubBuild;
use super::image::GrubImage;
use super::script::{Command, Script};
use crate::source::Blob;

pub use files::GrubFiles;

/// Most commands that a run executes.
const MAX_COMMANDS: usize = 20_000;
/// Deepest nesting of functions, files and menus.
const MAX_DEPTH: usize = 32;
/// Largest script, in bytes.
const MAX_SCRIPT: u64 = 1 << 20;

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
    /// Why it could not be followed to the start of a kernel.
    pub stopped: Option<Stop>,
}

/// A GRUB that is about to run.
#[derive(Debug)]
pub struct Grub<'a> {
    image: &'a GrubImage,
    build: &'static GrubBuild,
    files: &'a dyn GrubFiles,
    trace: Trace,
    environment: environment::Environment,
    functions: BTreeMap<String, Script>,
    menu: Vec<menu::MenuEntry>,
    /// Arguments of the entry or function that runs.
    arguments: Vec<String>,
    /// How the last command ended; `None` where that is not known.
    succeeded: Option<bool>,
    /// A kernel is loaded.
    loaded: bool,
    commands: usize,
    depth: usize,
}

/// How a piece of script went on.
type Flow = Result<(), Stop>;

fn stop(reason: impl Into<String>) -> Stop {
    Stop(reason.into())
}

impl<'a> Grub<'a> {
    /// GRUB as loaded from the file `path` of the device `device` (`hd0,gpt1`).
    #[must_use]
    pub fn new(
        image: &'a GrubImage,
        build: &'static GrubBuild,
        device: &str,
        path: &str,
        files: &'a dyn GrubFiles,
    ) -> Self {
        Self {
            image,
            build,
            files,
            trace: Trace::default(),
            environment: environment::Environment::new(image, device, path),
            functions: BTreeMap::new(),
            menu: Vec::new(),
            arguments: Vec::new(),
            succeeded: Some(true),
            loaded: false,
            commands: 0,
            depth: 0,
        }
    }

    /// Runs from the start to the kernel.
    #[must_use]
    pub fn run(mut self) -> Trace {
        if let Err(stop) = self.boot() {
            self.trace.stopped = Some(stop);
        }
        self.trace
    }

    /// `grub_main`: the configuration that is built in, else `grub.cfg` in the prefix.
    fn boot(&mut self) -> Flow {
        let early: Vec<&str> = self.image.early.iter().flat_map(|text| text.lines()).collect();
        let early: Vec<&str> = early.into_iter().map(str::trim).filter(|line| !line.is_empty()).collect();
        match early.as_slice() {
            [] => {
                let name = format!("{}/grub.cfg", self.environment.plain("prefix"));
                // Up to the last time it is only looked at.
                for _ in 1..self.build.opens_configuration {
                    self.open(&name)?;
                }
                self.normal(&name)
            }
            // The rescue parser runs it, which measures nothing.
            [line] => match line.strip_prefix("normal ") {
                Some(name) if !name.contains(['$', '"', '\'', ' ', '\\']) => self.normal(name),
                _ => Err(stop(format!("its built-in configuration '{line}' is not followed"))),
            },
            _ => Err(stop("its built-in configuration of several commands is not followed")),
        }
    }

    /// The command `normal`: a configuration and then its menu.
    fn normal(&mut self, name: &str) -> Flow {
        self.read_lists()?;
        self.run_file(name)?;
        self.run_menu()
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
        self.run_text(name, &text)
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
