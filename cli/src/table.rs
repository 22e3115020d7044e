//! Tables of text: upper-case headers, two spaces between columns, cells escaped.

use console::{Alignment, measure_text_width, pad_str, truncate_str};
use swarm_core::content::path::escape;

/// Alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Text.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
    /// Text that is cut to fit the line; one per table.
    Flexible(&'static str),
}

impl Column {
    const fn header(self) -> &'static str {
        match self {
            Self::Left(header) | Self::Right(header) | Self::Flexible(header) => header,
        }
    }
}

/// Least width of a flexible column, in columns of the screen.
const FLEXIBLE_MIN: usize = 8;

/// The lines of a table, the headers first. With a `width` the flexible column is cut so that lines fit in
/// it.
pub(crate) fn lines(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let headers = columns.iter().map(|column| column.header().to_owned()).collect();
    let escaped = rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(headers).chain(escaped).collect();
    let mut widths: Vec<usize> = (0..columns.len())
        .map(|at| rows.iter().map(|row| measure_text_width(&row[at])).max().unwrap_or(0))
        .collect();
    let flexible = columns.iter().position(|column| matches!(column, Column::Flexible(_)));
    if let (Some(at), Some(width)) = (flexible, width) {
        let others = widths.iter().sum::<usize>() - widths[at] + 2 * (columns.len() - 1);
        widths[at] = widths[at].min(width.saturating_sub(others).max(FLEXIBLE_MIN));
    }
    rows.iter().map(|row| line(columns, &widths, row)).collect()
}

fn line(columns: &[Column], widths: &[usize], cells: &[String]) -> String {
    let mut line = String::new();
    for ((column, &width), cell) in columns.iter().zip(widths).zip(cells) {
        let alignment = if matches!(column, Column::Right(_)) { Alignment::Right } else { Alignment::Left };
        let cell = truncate_str(cell, width, "..");
        line.push_str(&pad_str(&cell, width, alignment, None));
        line.push_str("  ");
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::Flexible("NAME"), Column::Right("SIZE"), Column::Left("STATE")];

    fn row(name: &str, size: &str) -> Vec<String> {
        vec![name.to_owned(), size.to_owned(), "complete".to_owned()]
    }

    #[test]
    fn aligns_columns() {
        let table = lines(&COLUMNS, &[row("a", "1.2 GiB"), row("update.bin", "9 B")], None);
        assert_eq!(table[0], "NAME           SIZE  STATE");
        assert_eq!(table[1], "a           1.2 GiB  complete");
        assert_eq!(table[2], "update.bin      9 B  complete");
    }

    #[test]
    fn fits_and_stays_one_line_whatever_names_hold() {
        let hostile = "\u{1b}[2Jx\n\r\u{202e}".repeat(20);
        let wide = "更新文件".repeat(30);
        let table = lines(&COLUMNS, &[row(&hostile, "1 B"), row(&wide, "2 B"), row("", "")], Some(79));
        for line in &table {
            assert!(measure_text_width(line) <= 79, "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        assert!(table[2].contains(".."), "{table:?}");
        assert!(!lines(&COLUMNS, &[row(&wide, "2 B")], None)[1].contains(".."));
    }
}
