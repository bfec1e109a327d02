//! Options that belong to one format: described beside its code, typed by the command line.

use std::collections::BTreeMap;

use super::forms::Form;

/// An option of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its word, without the dashes.
    pub name: &'static str,
    /// What stands for its value in help texts.
    pub value: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// What it takes.
    pub kind: OptionKind,
    /// What its text has to look like.
    pub form: Form,
    /// Without it the format can't be written.
    pub required: bool,
    /// Its value when it is not given.
    pub default: Option<&'static str>,
}

/// Where objects of Kubernetes go.
pub(super) const NAMESPACE: OptionSpec =
    OptionSpec::text("namespace", "NAME", "Kubernetes namespace of the objects")
        .form(Form::Namespace)
        .default("default");

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// A word or text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Several texts: the option may be repeated.
    Texts,
    /// A file, whose content counts.
    File,
    /// Several files.
    Files,
    /// Nothing: it is there or not.
    Flag,
}

impl OptionSpec {
    /// An optional text.
    #[must_use]
    pub const fn text(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { name, value, help, kind: OptionKind::Text, form: Form::Text, required: false, default: None }
    }

    /// The same option, of another kind.
    #[must_use]
    pub const fn kind(self, kind: OptionKind) -> Self {
        Self { kind, ..self }
    }

    /// The same option, whose text has to look so.
    #[must_use]
    pub const fn form(self, form: Form) -> Self {
        Self { form, ..self }
    }

    /// The same option, without which the format can't be written.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same option, with a value for when it is not given.
    #[must_use]
    pub const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }
}

impl OptionSpec {
    /// Why a text is not what the option takes.
    fn problem(&self, text: &str) -> Option<String> {
        match self.kind {
            OptionKind::Choice(words) if words.contains(&text) => None,
            OptionKind::Choice(words) => Some(format!("expected one of {}", words.join(", "))),
            OptionKind::Text | OptionKind::Texts => self.form.problem(text),
            OptionKind::File | OptionKind::Files | OptionKind::Flag => None,
        }
    }
}

/// What was given for an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionValue {
    /// The text, or the file's name.
    pub text: String,
    /// The file's content.
    pub content: Vec<u8>,
}

/// The options that were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options(BTreeMap<String, Vec<OptionValue>>);

/// An option that is missing, or whose value is no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// The format needs it.
    #[error("{format} needs --{name} {value}: {help}")]
    Missing {
        /// The format.
        format: &'static str,
        /// The option.
        name: &'static str,
        /// What it takes.
        value: &'static str,
        /// What it is for.
        help: &'static str,
    },
    /// The format doesn't have it.
    #[error("--{name} is no option of {format}")]
    Foreign {
        /// The format.
        format: &'static str,
        /// The option.
        name: String,
    },
    /// Its value is no good.
    #[error("--{name} '{value}': {problem}")]
    Bad {
        /// The option.
        name: &'static str,
        /// As given.
        value: String,
        /// What is wrong.
        problem: String,
    },
}

impl Options {
    /// Adds a text.
    pub fn add(&mut self, name: &str, text: impl Into<String>) {
        self.add_file(name, text, Vec::new());
    }

    /// Adds a file.
    pub fn add_file(&mut self, name: &str, file: impl Into<String>, content: Vec<u8>) {
        self.0.entry(name.to_owned()).or_default().push(OptionValue { text: file.into(), content });
    }

    /// Refuses options that the format doesn't have, and misses those that it needs.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn check(&self, format: &'static str, specs: &[OptionSpec]) -> Result<(), OptionError> {
        for name in self.0.keys() {
            if !specs.iter().any(|spec| spec.name == name) {
                return Err(OptionError::Foreign { format, name: name.clone() });
            }
        }
        for spec in specs {
            let OptionSpec { name, value, help, .. } = *spec;
            if spec.required && self.values(name).is_empty() {
                return Err(OptionError::Missing { format, name, value, help });
            }
            for value in self.values(name) {
                if let Some(problem) = spec.problem(&value.text) {
                    return Err(OptionError::Bad { name, value: value.text.clone(), problem });
                }
            }
        }
        Ok(())
    }

    /// The text of an option.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values(name).last().map(|value| value.text.as_str())
    }

    /// It was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// All values of an option.
    #[must_use]
    pub fn values(&self, name: &str) -> &[OptionValue] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}
