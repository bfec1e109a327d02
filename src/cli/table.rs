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
        let width = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| width(name)).collect();
        for row in &self.rows {
            for (column, cell) in widths.iter_mut().zip(row) {
                *column = (*column).max(width(&cell.text));
            }
        }
        let headings: Vec<Cell> = self.columns.iter().map(|(name, _)| Cell::styled(name, STRONG)).collect();
        let mut text = String::new();
        let with_headings = self.columns.iter().any(|(name, _)| !name.is_empty());
        for row in with_headings.then_some(&headings).into_iter().chain(&self.rows) {
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
        text
    }
}
