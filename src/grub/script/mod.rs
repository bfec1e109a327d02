//! GRUB's script language (GRUB `grub-core/script/parser.y`, `yylex.l`).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod parser;
mod scanner;

pub use parser::ScriptError;

/// A parsed script.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script(pub Vec<Command>);

/// One command of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A command with arguments, an assignment, or a call of a function.
    Simple(Vec<Word>),
    /// `if`, with `elif`s as further branches.
    If {
        /// Conditions with what they guard.
        branches: Vec<(Script, Script)>,
        /// `else`.
        otherwise: Script,
    },
    /// `for`.
    For {
        /// The variable.
        name: String,
        /// What it takes on.
        words: Vec<Word>,
        /// What is repeated.
        body: Script,
    },
    /// `while` and `until`.
    While {
        /// The condition.
        condition: Script,
        /// What is repeated.
        body: Script,
        /// Repeated until the condition holds.
        until: bool,
    },
    /// `function`.
    Function {
        /// Its name.
        name: String,
        /// What it does.
        body: Script,
    },
}

/// A word: parts that stand together without a space.
pub(super) type Word = Vec<Part>;

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// Text in quotes: it makes a word even when it is empty.
    Quoted(String),
    /// `$name`, whose spaces separate words.
    Variable(String),
    /// `"$name"`, which stays one word.
    QuotedVariable(String),
    /// `{...}`, with the braces.
    Block(String),
}

impl Script {
    /// Parses a script.
    ///
    /// # Errors
    /// [`ScriptError`] with the line.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        parser::parse(text)
    }
}
