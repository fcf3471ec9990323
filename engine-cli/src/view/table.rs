//! Columns.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

/// How a table's columns are set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// Their heads.
    pub(crate) header: &'a [&'a str],
    /// Those that hold numbers, which end under each other.
    pub(crate) right: &'a [usize],
    /// Those that may wrap. Ids and names never do: they are copied.
    pub(crate) wrapping: &'a [usize],
}

/// A table without lines. With a `width`, long cells wrap to fit it; without, each row is one line, as `grep` and `awk` like it.
pub(crate) fn table(columns: Columns<'_>, rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.header.to_vec());
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    // A table of our own knows best that no colours are wanted.
    table.force_no_tty();
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if columns.right.contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if !columns.wrapping.contains(&column.index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

/// Names on the left, values on the right.
pub(crate) fn facts(rows: &[(&str, String)]) -> String {
    let widest = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> =
        rows.iter().map(|(name, value)| format!("{name:widest$}  {value}").trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_pipe_each_row_is_one_line_and_in_a_terminal_cells_wrap() {
        let rows = vec![vec!["1".into(), "a few words that are long".into()], vec!["10".into(), "x".into()]];
        let columns = Columns { header: &["ID", "WHAT"], right: &[0], wrapping: &[1] };
        let piped = table(columns, rows.clone(), None);
        assert_eq!(piped, "ID  WHAT\n 1  a few words that are long\n10  x");
        let narrow = table(columns, rows, Some(20));
        assert!(narrow.lines().count() > 3, "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 20), "{narrow}");
        assert!(!narrow.contains('\x1b'));
    }

    #[test]
    fn facts_line_up() {
        assert_eq!(facts(&[("Run", "1".into()), ("Status", "x".into())]), "Run     1\nStatus  x");
    }
}
