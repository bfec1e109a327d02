//! From characters to words and operators.

use super::parser::{Problem, ScriptError};
use super::{Part, Word};

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word.
    Word(Word),
    /// `{`
    Open,
    /// `}`
    Close,
    /// Newline or `;`.
    End,
    /// An operator that GRUB knows and never runs: `|`, `&`, `<`, `>`.
    Operator(char),
}

/// Reads tokens. Knows where it is in the text, so that blocks can be taken as they are written.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The text from `start` up to here.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Line of the text, counted from 1.
    pub(super) fn line(&self) -> usize {
        let before = self.text.get(..self.at).unwrap_or_default();
        before.matches('\n').count().saturating_add(1)
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at = self.at.saturating_add(next.len_utf8());
        Some(next)
    }

    fn skip_blank(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => {
                    self.take();
                }
                Some('\\') if self.text.get(self.at..).is_some_and(|rest| rest.starts_with("\\\n")) => {
                    self.take();
                    self.take();
                }
                Some('#') => {
                    while self.peek().is_some_and(|next| next != '\n') {
                        self.take();
                    }
                }
                _ => return,
            }
        }
    }

    /// The next token; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Token>, ScriptError> {
        self.skip_blank();
        let Some(first) = self.peek() else { return Ok(None) };
        let token = match first {
            '\n' | ';' => Token::End,
            '{' => Token::Open,
            '}' => Token::Close,
            '|' | '&' | '<' | '>' => Token::Operator(first),
            _ => return self.word().map(|word| Some(Token::Word(word))),
        };
        self.take();
        Ok(Some(token))
    }

    fn word(&mut self) -> Result<Word, ScriptError> {
        let mut word = Word::new();
        let mut text = String::new();
        let flush = |text: &mut String, word: &mut Word| {
            if !text.is_empty() {
                word.push(Part::Text(std::mem::take(text)));
            }
        };
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' | '\r' | '\n' | ';' | '{' | '}' | '|' | '&' | '<' | '>' => break,
                '\'' => {
                    flush(&mut text, &mut word);
                    self.take();
                    word.push(Part::Quoted(self.single_quoted()?));
                }
                '"' => {
                    flush(&mut text, &mut word);
                    self.take();
                    self.double_quoted(&mut word)?;
                }
                '\\' => {
                    self.take();
                    match self.take() {
                        Some('\n') => {}
                        Some(escaped) => text.push(escaped),
                        None => return Err(self.error(Problem::Ends)),
                    }
                }
                '$' => {
                    self.take();
                    match self.variable()? {
                        Some(name) => {
                            flush(&mut text, &mut word);
                            word.push(Part::Variable(name));
                        }
                        None => text.push('$'),
                    }
                }
                _ => text.extend(self.take()),
            }
        }
        flush(&mut text, &mut word);
        Ok(word)
    }

    fn single_quoted(&mut self) -> Result<String, ScriptError> {
        let mut text = String::new();
        loop {
            match self.take() {
                Some('\'') => return Ok(text),
                Some(next) => text.push(next),
                None => return Err(self.error(Problem::Ends)),
            }
        }
    }

    fn double_quoted(&mut self, word: &mut Word) -> Result<(), ScriptError> {
        let mut text = String::new();
        // An empty pair of quotes makes a word, too.
        word.push(Part::Quoted(String::new()));
        loop {
            match self.take() {
                Some('"') => {
                    word.push(Part::Quoted(text));
                    return Ok(());
                }
                Some('\\') => match self.peek() {
                    Some('\n') => {
                        self.take();
                    }
                    Some(escaped @ ('$' | '"' | '\\')) => {
                        self.take();
                        text.push(escaped);
                    }
                    _ => text.push('\\'),
                },
                Some('$') => match self.variable()? {
                    Some(name) => {
                        word.push(Part::Quoted(std::mem::take(&mut text)));
                        word.push(Part::QuotedVariable(name));
                    }
                    None => text.push('$'),
                },
                Some(next) => text.push(next),
                None => return Err(self.error(Problem::Ends)),
            }
        }
    }

    /// The name behind a `$`; `None` when there is none and the `$` stands for itself.
    fn variable(&mut self) -> Result<Option<String>, ScriptError> {
        let braced = self.peek() == Some('{');
        if braced {
            self.take();
        }
        let mut name = String::new();
        match self.peek() {
            Some(special @ ('?' | '@' | '*' | '#')) => {
                self.take();
                name.push(special);
            }
            Some(first) if first.is_ascii_alphabetic() || first == '_' => {
                while let Some(next) = self.peek().filter(|next| next.is_ascii_alphanumeric() || *next == '_')
                {
                    self.take();
                    name.push(next);
                }
            }
            _ => {
                while let Some(next) = self.peek().filter(char::is_ascii_digit) {
                    self.take();
                    name.push(next);
                }
            }
        }
        if braced && self.take() != Some('}') {
            return Err(self.error(Problem::Variable));
        }
        if name.is_empty() && braced {
            return Err(self.error(Problem::Variable));
        }
        Ok((!name.is_empty()).then_some(name))
    }

    pub(super) fn error(&self, problem: Problem) -> ScriptError {
        ScriptError { line: self.line(), problem }
    }
}
