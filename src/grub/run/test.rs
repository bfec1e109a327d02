//! The command `test`, or `[` (GRUB `grub-core/commands/test.c`).

use std::cmp::Ordering;

use super::{Grub, Stop, stop};
use crate::disk::EntryKind;

/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 16;

/// An expression under evaluation: `a -o b` binds looser than `a -a b`, and everything is looked at.
struct Expression {
    or: bool,
    and: bool,
    invert: bool,
}

impl Expression {
    fn new() -> Self {
        Self { or: false, and: true, invert: false }
    }

    fn update(&mut self, value: bool) {
        self.and &= value ^ self.invert;
        self.invert = false;
    }

    fn end(&self) -> bool {
        self.or || self.and
    }
}

impl Grub<'_> {
    /// Evaluates the arguments.
    pub(super) fn test(&mut self, arguments: &[String]) -> Result<bool, Stop> {
        let mut at = 0;
        self.expression(arguments, &mut at, 0)
    }

    fn expression(&mut self, arguments: &[String], at: &mut usize, depth: usize) -> Result<bool, Stop> {
        if depth > MAX_DEPTH {
            return Err(stop("a test nests deeper than is followed"));
        }
        let mut expression = Expression::new();
        while let Some(first) = arguments.get(*at) {
            let second = arguments.get(at.saturating_add(1)).map(String::as_str);
            let third = arguments.get(at.saturating_add(2));
            if let (Some(operator), Some(third)) = (second, third)
                && let Some(value) = self.compare(first, operator, third)?
            {
                expression.update(value);
                *at = at.saturating_add(3);
                continue;
            }
            if let Some(second) = second
                && let Some(value) = self.unary(first, second)?
            {
                expression.update(value);
                *at = at.saturating_add(2);
                continue;
            }
            *at = at.saturating_add(1);
            match first.as_str() {
                ")" => return Ok(expression.end()),
                "(" => {
                    let value = self.expression(arguments, at, depth.saturating_add(1))?;
                    expression.update(value);
                }
                "!" => expression.invert = !expression.invert,
                "-a" => {}
                "-o" => {
                    expression.or |= expression.and;
                    expression.and = true;
                }
                text => expression.update(!text.is_empty()),
            }
        }
        Ok(expression.end())
    }

    fn compare(&self, one: &str, operator: &str, other: &str) -> Result<Option<bool>, Stop> {
        let numbers = || number(one).cmp(&number(other));
        let value = match operator {
            "=" | "==" => one == other,
            "!=" => one != other,
            "-eq" => numbers() == Ordering::Equal,
            "-ne" => numbers() != Ordering::Equal,
            "-lt" => numbers() == Ordering::Less,
            "-le" => numbers() != Ordering::Greater,
            "-gt" => numbers() == Ordering::Greater,
            "-ge" => numbers() != Ordering::Less,
            "<" | "<=" | ">" | ">=" | "-pgt" | "-plt" | "-nt" | "-ot" => {
                return Err(stop(format!("the comparison {operator} of a test is not followed")));
            }
            _ if ["-nt", "-ot"].iter().any(|prefix| operator.starts_with(prefix)) => {
                return Err(stop(format!("the comparison {operator} of a test is not followed")));
            }
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    fn unary(&mut self, operator: &str, name: &str) -> Result<Option<bool>, Stop> {
        let value = match operator {
            "-n" => !name.is_empty(),
            "-z" => name.is_empty(),
            "-d" => self.look(name)? == Some(EntryKind::Folder),
            "-e" => self.look(name)?.is_some(),
            "-f" => matches!(self.look(name)?, Some(EntryKind::File(_))),
            // This one opens the file.
            "-s" => self.open(name)?.is_some_and(|file| !file.is_empty()),
            _ => return Ok(None),
        };
        Ok(Some(value))
    }
}

/// A number as GRUB `grub_strtosl` reads it in base 0: after an optional sign, `0x` begins hexadecimal digits and `0` octal
/// ones; 0 when there are none.
fn number(text: &str) -> i128 {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (radix, digits) = match hexadecimal {
        Some(rest) => (16, rest),
        None if digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    let length = digits.chars().take_while(|digit| digit.is_digit(radix)).count();
    let value = digits.get(..length).and_then(|digits| i128::from_str_radix(digits, radix).ok()).unwrap_or(0);
    if negative { value.saturating_neg() } else { value }
}
