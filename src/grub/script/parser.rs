//! From tokens to commands.

use super::scanner::{Scanner, Token};
use super::{Command, Part, Script, Word};

/// Deepest nesting of blocks and conditions that is followed.
const MAX_DEPTH: usize = 32;
/// Most commands of a script.
const MAX_COMMANDS: usize = 100_000;

/// A script that can't be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ScriptError {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text ends within quotes, a block or a condition.
    #[error("ends before what it began is complete")]
    Ends,
    /// `${` without a name and `}`.
    #[error("a variable has no name or no closing brace")]
    Variable,
    /// A word or operator where it can't be.
    #[error("something stands where it can't")]
    Misplaced,
    /// Too deep or too long.
    #[error("nested deeper, or longer, than is followed")]
    TooMuch,
}

pub(super) fn parse(text: &str) -> Result<Script, ScriptError> {
    let mut parser = Parser { scanner: Scanner::new(text), ahead: None, depth: 0, commands: 0 };
    let script = parser.commands(&[])?;
    match parser.next()? {
        None => Ok(script),
        Some(_) => Err(parser.error(Problem::Misplaced)),
    }
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    /// A token that was read and not yet used, with where it began.
    ahead: Option<Option<Token>>,
    depth: usize,
    commands: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<Option<Token>, ScriptError> {
        match self.ahead.take() {
            Some(token) => Ok(token),
            None => self.scanner.next(),
        }
    }

    fn peek(&mut self) -> Result<Option<&Token>, ScriptError> {
        if self.ahead.is_none() {
            self.ahead = Some(self.scanner.next()?);
        }
        Ok(self.ahead.as_ref().and_then(Option::as_ref))
    }

    fn error(&self, problem: Problem) -> ScriptError {
        self.scanner.error(problem)
    }

    /// Commands up to one of these keywords, a `}` or the end, which stay.
    fn commands(&mut self, until: &[&str]) -> Result<Script, ScriptError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(self.error(Problem::TooMuch));
        }
        let mut commands = Vec::new();
        loop {
            match self.peek()? {
                None | Some(Token::Close) => break,
                Some(Token::End) => {
                    self.next()?;
                }
                Some(Token::Word(word)) if keyword(word).is_some_and(|word| until.contains(&word)) => break,
                Some(Token::Word(_)) => {
                    self.commands = self.commands.saturating_add(1);
                    if self.commands > MAX_COMMANDS {
                        return Err(self.error(Problem::TooMuch));
                    }
                    commands.push(self.command()?);
                }
                Some(Token::Open | Token::Operator(_)) => return Err(self.error(Problem::Misplaced)),
            }
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(Script(commands))
    }

    fn command(&mut self) -> Result<Command, ScriptError> {
        let Some(Token::Word(word)) = self.next()? else { return Err(self.error(Problem::Misplaced)) };
        match keyword(&word) {
            Some("if") => self.condition(),
            Some("for") => self.for_loop(),
            Some(kind @ ("while" | "until")) => {
                let until = kind == "until";
                let condition = self.commands(&["do"])?;
                self.expect("do")?;
                let body = self.commands(&["done"])?;
                self.expect("done")?;
                Ok(Command::While { condition, body, until })
            }
            Some("function") => {
                let Some(Token::Word(name)) = self.next()? else {
                    return Err(self.error(Problem::Misplaced));
                };
                let name = keyword(&name).ok_or_else(|| self.error(Problem::Misplaced))?.to_owned();
                while self.peek()? == Some(&Token::End) {
                    self.next()?;
                }
                let (body, _) = self.block()?;
                Ok(Command::Function { name, body })
            }
            Some("then" | "elif" | "else" | "fi" | "do" | "done" | "case" | "esac" | "select") => {
                Err(self.error(Problem::Misplaced))
            }
            _ => self.simple(word),
        }
    }

    fn simple(&mut self, first: Word) -> Result<Command, ScriptError> {
        let mut words = vec![first];
        loop {
            match self.peek()? {
                Some(Token::Word(_)) => {
                    if let Some(Token::Word(word)) = self.next()? {
                        words.push(word);
                    }
                }
                Some(Token::Open) => {
                    let (_, text) = self.block()?;
                    words.push(vec![Part::Block(text)]);
                }
                None | Some(Token::End | Token::Close) => return Ok(Command::Simple(words)),
                Some(Token::Operator(_)) => return Err(self.error(Problem::Misplaced)),
            }
        }
    }

    /// `{...}`, parsed and as it is written.
    fn block(&mut self) -> Result<(Script, String), ScriptError> {
        if self.next()? != Some(Token::Open) {
            return Err(self.error(Problem::Misplaced));
        }
        // Nothing was read behind the brace yet.
        let start = self.scanner.offset().saturating_sub(1);
        let script = self.commands(&[])?;
        if self.next()? != Some(Token::Close) {
            return Err(self.error(Problem::Ends));
        }
        Ok((script, self.scanner.since(start).to_owned()))
    }

    fn condition(&mut self) -> Result<Command, ScriptError> {
        let mut branches = Vec::new();
        loop {
            let condition = self.commands(&["then"])?;
            self.expect("then")?;
            let body = self.commands(&["elif", "else", "fi"])?;
            branches.push((condition, body));
            match self.keyword()? {
                "elif" => {}
                "else" => {
                    let otherwise = self.commands(&["fi"])?;
                    self.expect("fi")?;
                    return Ok(Command::If { branches, otherwise });
                }
                _ => return Ok(Command::If { branches, otherwise: Script::default() }),
            }
        }
    }

    fn for_loop(&mut self) -> Result<Command, ScriptError> {
        let Some(Token::Word(name)) = self.next()? else { return Err(self.error(Problem::Misplaced)) };
        let name = keyword(&name).ok_or_else(|| self.error(Problem::Misplaced))?.to_owned();
        self.expect("in")?;
        let mut words = Vec::new();
        while let Some(Token::Word(_)) = self.peek()? {
            if let Some(Token::Word(word)) = self.next()? {
                words.push(word);
            }
        }
        while self.peek()? == Some(&Token::End) {
            self.next()?;
        }
        self.expect("do")?;
        let body = self.commands(&["done"])?;
        self.expect("done")?;
        Ok(Command::For { name, words, body })
    }

    fn expect(&mut self, wanted: &'static str) -> Result<(), ScriptError> {
        match self.next()? {
            Some(Token::Word(word)) if keyword(&word) == Some(wanted) => Ok(()),
            None => Err(self.error(Problem::Ends)),
            Some(_) => Err(self.error(Problem::Misplaced)),
        }
    }

    /// One of the keywords that end a branch.
    fn keyword(&mut self) -> Result<&'static str, ScriptError> {
        match self.next()? {
            Some(Token::Word(word)) => {
                let found = ["elif", "else", "fi"].into_iter().find(|known| keyword(&word) == Some(known));
                found.ok_or_else(|| self.error(Problem::Misplaced))
            }
            None => Err(self.error(Problem::Ends)),
            Some(_) => Err(self.error(Problem::Misplaced)),
        }
    }
}

/// The text of a word that is nothing but unquoted text.
fn keyword(word: &Word) -> Option<&str> {
    match word.as_slice() {
        [Part::Text(text)] => Some(text),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn text(text: &str) -> Word {
        vec![Part::Text(text.to_owned())]
    }

    #[test]
    fn commands_and_words() {
        let script = parse("set a=b # comment\necho 'x y' \"$a\"$b;true").expect("a script");
        let quoted = Part::Quoted(String::new());
        let second = vec![
            text("echo"),
            vec![Part::Quoted("x y".to_owned())],
            vec![
                quoted.clone(),
                quoted.clone(),
                Part::QuotedVariable("a".to_owned()),
                quoted,
                Part::Variable("b".to_owned()),
            ],
        ];
        assert_eq!(script.0[0], Command::Simple(vec![text("set"), text("a=b")]));
        assert_eq!(script.0[1], Command::Simple(second));
        assert_eq!(script.0[2], Command::Simple(vec![text("true")]));
    }

    #[test]
    fn blocks_are_kept_as_written() {
        let script = parse("menuentry 'A' --id a {\n\tlinux /v # x\n}\n").expect("a script");
        let Command::Simple(words) = &script.0[0] else { panic!("{script:?}") };
        assert_eq!(words[4], vec![Part::Block("{\n\tlinux /v # x\n}".to_owned())]);
    }

    #[test]
    fn conditions_nest() {
        let script =
            parse("if [ a ]; then b; elif c\nthen d; else if e; then f; fi; fi; g").expect("a script");
        let Command::If { branches, otherwise } = &script.0[0] else { panic!("{script:?}") };
        assert_eq!(branches.len(), 2);
        assert!(matches!(otherwise.0[0], Command::If { .. }));
        assert_eq!(script.0.len(), 2);
        let loops =
            parse("for x in 1 2; do a; done\nwhile b; do c; done\nfunction f {\n d\n}").expect("loops");
        assert_eq!(loops.0.len(), 3);
    }

    #[test]
    fn what_is_broken_is_named_with_its_line() {
        for (text, line) in [
            ("a\nif b; then c", 2),
            ("menuentry x {\na\n", 3),
            ("a '", 1),
            ("a \"$", 1),
            ("a ${b c", 1),
            ("}", 1),
            ("fi", 1),
            ("a | b", 1),
            ("then", 1),
        ] {
            assert_eq!(parse(text).expect_err(text).line, line, "{text}");
        }
        let deep = "if a; then ".repeat(100);
        assert_eq!(parse(&deep).expect_err("deep").problem, Problem::TooMuch);
    }
}
