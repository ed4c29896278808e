//! What commands print: aligned tables for people, JSON for programs, colours only on a terminal.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::exit::{Failure, Outcome, code};

/// Emphasis.
pub const BOLD: Style = Style::new().bold();
/// What matters less.
pub const DIM: Style = Style::new().dimmed();
/// Good news.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// A warning.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Bad news.
pub const RED: Style = AnsiColor::Red.on_default();

/// `text` in `style`; the stream that it is printed to drops the style where there is no terminal.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints a line to standard output.
///
/// # Errors
/// The output is closed.
pub fn line(text: impl std::fmt::Display) -> Outcome {
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{text}") {
        // `admit ... | head` closes the pipe when it has seen enough: nothing went wrong.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(code::OK),
        Err(e) => Err(Failure::io("writing the output")(e)),
        Ok(()) => Ok(code::OK),
    }
}

/// Prints data as JSON, indented for a terminal's sake.
///
/// # Errors
/// The output is closed.
pub fn json(data: &impl Serialize) -> Outcome {
    line(serde_json::to_string_pretty(data).map_err(|e| Failure::Other(e.to_string()))?)
}

/// Prints a line for the user beside the output, on standard error.
pub fn note(text: impl std::fmt::Display) {
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(anstream::stderr().lock(), "admit: {text}");
}

/// Prints why a command failed as JSON, on standard error.
pub fn problem(problem: &serde_json::Value) {
    let _ = writeln!(anstream::stderr().lock(), "{problem}");
}

/// The characters of a cell that a terminal shows; a name may have five hundred.
const MAX_CELL: usize = 60;

/// Rows of text under a heading, aligned. A cell may be styled.
pub struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [usize],
}

impl Table {
    /// A table with these headings; columns in `right` hold numbers and align to the right.
    pub fn new(headings: &[&str], right: &'static [usize]) -> Table {
        Table { rows: vec![headings.iter().map(|text| (*text).to_owned()).collect()], right }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Prints it, or `empty` if it has no rows.
    ///
    /// # Errors
    /// The output is closed.
    pub fn print(&self, empty: &str) -> Outcome {
        if self.rows.len() < 2 {
            return line(empty);
        }
        // Programs get all of it.
        line(self.render(if io::stdout().is_terminal() { MAX_CELL } else { usize::MAX }))
    }

    fn render(&self, widest: usize) -> String {
        let columns = self.rows[0].len();
        let shorten = |row: &Vec<String>| row.iter().map(|cell| shorten(cell, widest)).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(shorten).collect();
        let widths: Vec<usize> =
            (0..columns).map(|c| rows.iter().map(|row| width(&row[c])).max().unwrap_or(0)).collect();
        let mut lines = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let mut text = String::new();
            for (c, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[c] - width(cell));
                let cell = if at == 0 { paint(BOLD, cell) } else { cell.clone() };
                let cell = if self.right.contains(&c) { pad + &cell } else { cell + &pad };
                text += &cell;
                text += "  ";
            }
            lines.push(text.trim_end().to_owned());
        }
        lines.join("\n")
    }
}

/// The columns that a text takes: its characters without styles.
fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

/// A text that takes no more than `widest` columns: its middle is left out, as names often differ at their
/// ends. What is shortened loses its style.
fn shorten(text: &str, widest: usize) -> String {
    if width(text) <= widest {
        return text.to_owned();
    }
    let plain: Vec<char> = anstream::adapter::strip_str(text).to_string().chars().collect();
    let (head, tail) = (widest / 2, widest - widest / 2 - 1);
    let parts = [&plain[..head], &['\u{2026}'], &plain[plain.len() - tail..]];
    parts.concat().into_iter().collect()
}

/// Text from elsewhere on one line: control characters could move a terminal's cursor.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_also_where_cells_are_styled() {
        let mut table = Table::new(&["NAME", "MAX"], &[1]);
        table.row(["ü".into(), "5".into()]);
        table.row([paint(RED, "longer"), "1000".into()]);
        let plain = anstream::adapter::strip_str(&table.render(usize::MAX)).to_string();
        assert_eq!(plain, "NAME     MAX\nü          5\nlonger  1000");
    }

    #[test]
    fn what_is_too_wide_loses_its_middle() {
        let check = |text: &str, expect: &str| assert_eq!(shorten(text, 5), expect);
        check("short", "short");
        check("longer", "lo\u{2026}er");
        check(&paint(RED, "short"), &paint(RED, "short"));
        check(&paint(RED, "ümläut"), "üm\u{2026}ut");
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
