//! Options of the formats, as command-line options: declared beside each format's code, so that a new format touches
//! nothing here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::input::{display_name, read_small};
use crate::export::{EXPORTERS, OptionKind, OptionSpec, Options};

/// Largest file that an option may name.
const MAX_OPTION_FILE: u64 = 64 << 20;

/// What was given for the formats' own options, by option.
#[derive(Debug, Clone, Default)]
pub(super) struct FormatOptions(BTreeMap<&'static str, Vec<String>>);

impl FormatOptions {
    /// The options with the files that they name.
    pub(super) fn read(&self) -> anyhow::Result<Options> {
        let mut options = Options::default();
        for (spec, _) in specs() {
            for value in self.0.get(spec.name).into_iter().flatten() {
                if matches!(spec.kind, OptionKind::File | OptionKind::Files) {
                    let path = PathBuf::from(value);
                    options.add_file(spec.name, display_name(&path), read_small(&path, MAX_OPTION_FILE)?);
                } else {
                    options.add(spec.name, value);
                }
            }
        }
        Ok(options)
    }
}

impl FormatOptions {
    /// The files that options name.
    pub(super) fn files(&self) -> impl Iterator<Item = &std::path::Path> {
        let of_files =
            specs().into_iter().filter(|(spec, _)| matches!(spec.kind, OptionKind::File | OptionKind::Files));
        of_files.filter_map(|(spec, _)| self.0.get(spec.name)).flatten().map(std::path::Path::new)
    }
}

/// Every option once, with the formats that have it.
fn specs() -> Vec<(&'static OptionSpec, Vec<&'static str>)> {
    let mut specs: Vec<(&'static OptionSpec, Vec<&'static str>)> = Vec::new();
    for exporter in EXPORTERS {
        for spec in exporter.options {
            match specs.iter_mut().find(|(known, _)| known.name == spec.name) {
                Some((_, formats)) => formats.push(exporter.name),
                None => specs.push((spec, vec![exporter.name])),
            }
        }
    }
    specs
}

fn argument((spec, formats): (&'static OptionSpec, Vec<&'static str>)) -> Arg {
    // Formats may have different defaults; --list-formats shows each.
    let mut same =
        EXPORTERS.iter().flat_map(|exporter| exporter.options).filter(|other| other.name == spec.name);
    let default = spec.default.filter(|_| same.all(|other| other.default == spec.default));
    let default = default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
    let argument = Arg::new(spec.name)
        .long(spec.name)
        .help(format!("{}: {}{default}", formats.join(", "), spec.help))
        .help_heading("Options of formats");
    match spec.kind {
        OptionKind::Flag => argument.action(ArgAction::SetTrue),
        OptionKind::Texts | OptionKind::Files => argument.value_name(spec.value).action(ArgAction::Append),
        _ => argument.value_name(spec.value).action(ArgAction::Set),
    }
}

impl Args for FormatOptions {
    fn augment_args(command: Command) -> Command {
        command.args(specs().into_iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FormatOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut options = Self::default();
        options.update_from_arg_matches(matches)?;
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (spec, _) in specs() {
            let values: Vec<String> = match spec.kind {
                OptionKind::Flag if matches.get_flag(spec.name) => vec!["true".to_owned()],
                OptionKind::Flag => Vec::new(),
                _ => matches.get_many::<String>(spec.name).into_iter().flatten().cloned().collect(),
            };
            if !values.is_empty() {
                self.0.insert(spec.name, values);
            }
        }
        Ok(())
    }
}
