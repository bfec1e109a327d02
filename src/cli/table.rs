//! Plain tables: columns as wide as their longest cell, two spaces between, no frame.

use super::output::{STRONG, printable, styled};
use anstyle::Style;

/// How a column lines up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A cell: text from anywhere (made printable here) and its style.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: printable(text.as_ref()), style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<(&'static str, Align)>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, each line indented by `indent` spaces.
    pub(crate) fn render(&self, indent: usize) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in self.headings().iter().chain(&self.rows) {
            self.line(row, &widths, indent, &mut text);
        }
        text
    }

    /// Hands the table to `write` in pieces, while the rows come: no more than [`CHUNK`](Self::CHUNK) of them are
    /// held. The first piece sets the widths; later cells that are wider push their line out.
    pub(crate) fn stream<E>(
        mut self,
        rows: impl Iterator<Item = Vec<Cell>>,
        mut write: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rows = rows.peekable();
        let mut widths = None;
        while rows.peek().is_some() || widths.is_none() {
            self.rows = rows.by_ref().take(Self::CHUNK).collect();
            let is_first = widths.is_none();
            let widths = widths.get_or_insert_with(|| self.widths());
            let mut text = String::new();
            let headings = self.headings();
            for row in headings.iter().filter(|_| is_first).chain(&self.rows) {
                self.line(row, widths, 0, &mut text);
            }
            write(&text)?;
        }
        Ok(())
    }

    /// Rows that are laid out together. Logs of real machines have some hundred.
    const CHUNK: usize = 4096;

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| width(name)).collect();
        for row in &self.rows {
            for (column, cell) in widths.iter_mut().zip(row) {
                *column = (*column).max(width(&cell.text));
            }
        }
        widths
    }

    /// The line of headings, if the columns have any.
    fn headings(&self) -> Option<Vec<Cell>> {
        let named = self.columns.iter().any(|(name, _)| !name.is_empty());
        named.then(|| self.columns.iter().map(|(name, _)| Cell::styled(name, STRONG)).collect())
    }

    fn line(&self, row: &[Cell], widths: &[usize], indent: usize, text: &mut String) {
        let mut line = " ".repeat(indent);
        for (index, (cell, (_, align))) in row.iter().zip(&self.columns).enumerate() {
            let padding = widths.get(index).copied().unwrap_or(0).saturating_sub(width(&cell.text));
            let last = index.saturating_add(1) == row.len();
            if *align == Align::Right {
                line.push_str(&" ".repeat(padding));
            }
            line.push_str(&styled(cell.style, &cell.text));
            if !last {
                if *align == Align::Left {
                    line.push_str(&" ".repeat(padding));
                }
                line.push_str("  ");
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_in_pieces_is_the_table() {
        let rows = |count: usize| (0..count).map(|row| vec![Cell::from(row.to_string()), Cell::from("x")]);
        for count in [0, 1, Table::CHUNK, Table::CHUNK + 1, 9000] {
            let table = || Table::new([("number", Align::Right), ("", Align::Left)]);
            let mut whole = table();
            rows(count).for_each(|row| whole.row(row));
            let mut pieces = String::new();
            let outcome: Result<(), std::convert::Infallible> = table().stream(rows(count), |piece| {
                pieces.push_str(piece);
                Ok(())
            });
            assert!(outcome.is_ok());
            assert_eq!(pieces, whole.render(0), "{count}");
        }
    }
}
