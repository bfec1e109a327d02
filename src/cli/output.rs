//! What a person or a script sees: standard output, warnings, errors with hints, exit codes.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

pub(crate) use crate::report::{plain_json, printable};

/// Exit code of "looked and found a difference".
pub(crate) const EXIT_DIFFERS: u8 = 1;
/// Exit code of "could not do it".
pub(crate) const EXIT_ERROR: u8 = 2;

/// Bold: headings, and the word `error:`.
pub(crate) const STRONG: Style = Style::new().bold();
/// What is fine or known.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What deserves a second look.
pub(crate) const CAUTION: Style = AnsiColor::Yellow.on_default();
/// What is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// What may be skipped when reading.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// Text in a style; colours vanish where the stream is no terminal.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes data to standard output; colours only where it is a terminal.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes bytes to standard output as they are.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Writes a value as JSON, indented, in the order of its fields.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print_bytes(plain_json(&text).as_bytes())
}

/// Writes a result where `-o` asks for it: `-` is standard output, anything else is written atomically.
pub(crate) fn write_to(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        return print_bytes(bytes);
    }
    Ok(crate::source::write_atomically(path, bytes)?)
}

/// Refuses to write to a file that the same command reads, under whatever name.
pub(crate) fn refuse_overwriting<'p>(
    outputs: impl IntoIterator<Item = &'p Path>,
    inputs: impl IntoIterator<Item = &'p Path>,
) -> anyhow::Result<()> {
    let real = |path: &Path| std::fs::canonicalize(path).ok().filter(|_| path.as_os_str() != "-");
    let inputs: Vec<_> = inputs.into_iter().filter_map(real).collect();
    for output in outputs {
        if real(output).is_some_and(|output| inputs.contains(&output)) {
            let text = format!("{}: is read by this command and would be overwritten", output.display());
            return Err(hinted(text, "write to another file"));
        }
    }
    Ok(())
}

/// A line on standard error that does not stop the work.
pub(crate) fn warn(text: impl Display) {
    let _ = writeln!(
        anstream::stderr(),
        "{} {}",
        styled(CAUTION.bold(), "warning:"),
        printable(&text.to_string())
    );
}

/// A remark on standard error.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{} {}", styled(STRONG, "note:"), printable(&text.to_string()));
}

/// Somebody is watching standard error: a progress bar makes sense.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// An error with a line that says what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Hinted {
    text: String,
    hint: String,
}

/// An error message and what to do about it.
pub(crate) fn hinted(text: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Hinted { text: text.into(), hint: hint.into() }.into()
}

/// Prints an error, its causes on one line, and its hints below.
pub(crate) fn report(error: &anyhow::Error) {
    let mut err = anstream::stderr();
    // A cause that its parent's text already ends with would only be said twice.
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    let _ = writeln!(err, "{} {}", styled(BAD.bold(), "error:"), printable(&text));
    for hint in error.chain().filter_map(|cause| cause.downcast_ref::<Hinted>()) {
        let _ = writeln!(err, "\n{} {}", styled(STRONG, "hint:"), printable(&hint.hint));
    }
}

/// The reader of standard output went away (`| head`): not an error of ours.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
