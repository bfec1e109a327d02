//! From words to arguments (GRUB `grub-core/script/execute.c`, `grub_script_arglist_to_argv`).

use super::{Grub, Stop, stop};
use crate::grub::script::{Part, Word};

/// Most bytes that one command's arguments have.
const MAX_ARGUMENTS: usize = 1 << 20;

/// Arguments under way: the last one may have nothing yet, and is dropped then.
#[derive(Default)]
struct Arguments {
    list: Vec<Option<String>>,
    size: usize,
}

impl Arguments {
    fn next(&mut self) {
        if !matches!(self.list.last(), Some(None)) {
            self.list.push(None);
        }
    }

    fn append(&mut self, text: &str) -> Result<(), Stop> {
        self.size = self.size.saturating_add(text.len());
        if self.size > MAX_ARGUMENTS {
            return Err(stop("a command of the configuration is longer than is followed"));
        }
        if let Some(last) = self.list.last_mut() {
            last.get_or_insert_default().push_str(text);
        }
        Ok(())
    }

    /// Spaces separate arguments; one in front leaves an empty argument.
    fn split(&mut self, mut text: &str) -> Result<(), Stop> {
        let space = |character: char| character.is_ascii_whitespace() || character == '\x0b';
        while !text.is_empty() {
            let end = text.find(space).unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            self.append(word)?;
            text = rest.trim_start_matches(space);
            if !text.is_empty() {
                self.next();
            }
        }
        Ok(())
    }
}

impl Grub<'_> {
    /// The arguments that words stand for.
    pub(super) fn expand(&self, words: &[Word]) -> Result<Vec<String>, Stop> {
        let mut arguments = Arguments::default();
        for word in words {
            arguments.next();
            for part in word {
                match part {
                    Part::Text(text) if text.contains(['*', '?']) => {
                        return Err(stop(format!(
                            "the pattern '{text}' of the configuration is not followed"
                        )));
                    }
                    Part::Text(text) | Part::Quoted(text) | Part::Block(text) => arguments.append(text)?,
                    Part::Variable(name) => match name.as_str() {
                        "@" | "*" => {
                            for (index, argument) in self.arguments.iter().enumerate() {
                                if index > 0 {
                                    arguments.next();
                                }
                                arguments.split(unpatterned(argument)?)?;
                            }
                        }
                        _ => arguments.split(unpatterned(&self.variable(name)?.unwrap_or_default())?)?,
                    },
                    Part::QuotedVariable(name) => match name.as_str() {
                        "@" => {
                            for (index, argument) in self.arguments.iter().enumerate() {
                                if index > 0 {
                                    arguments.next();
                                }
                                arguments.append(argument)?;
                            }
                        }
                        "*" => arguments.append(&self.arguments.join(" "))?,
                        _ => arguments.append(&self.variable(name)?.unwrap_or_default())?,
                    },
                }
            }
        }
        Ok(arguments.list.into_iter().flatten().collect())
    }

    fn variable(&self, name: &str) -> Result<Option<String>, Stop> {
        if name == "?" {
            return match self.succeeded {
                Some(true) => Ok(Some("0".to_owned())),
                _ => Err(stop("the configuration depends on a command's error number")),
            };
        }
        if name == "#" {
            return Ok(Some(self.arguments.len().to_string()));
        }
        if let Ok(number) = name.parse::<usize>() {
            if number == 0 {
                return Err(stop("the configuration uses $0, which is not followed"));
            }
            return Ok(self.arguments.get(number.saturating_sub(1)).cloned());
        }
        Ok(self.environment.get(name)?.map(str::to_owned))
    }
}

/// A value outside quotes is a pattern, too (GRUB `grub-core/script/execute.c`, `wildcard_expand`).
fn unpatterned(value: &str) -> Result<&str, Stop> {
    match value.contains(['*', '?', '[', '\\']) {
        true => Err(stop(format!("the pattern '{value}' of a variable is not followed"))),
        false => Ok(value),
    }
}
