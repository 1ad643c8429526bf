//! Tables for people: a head in capitals, columns side by side, no lines.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

/// A column: its head, and whether its cells are numbers and stand to the right.
#[derive(Clone, Copy, Debug)]
pub struct Column(&'static str, CellAlignment);

pub const fn text(head: &'static str) -> Column {
    Column(head, CellAlignment::Left)
}

pub const fn number(head: &'static str) -> Column {
    Column(head, CellAlignment::Right)
}

/// Rows under the heads of their columns. Cells must be escaped. Empty cells show as `-`.
pub fn render(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|Column(head, side)| Cell::new(head).set_alignment(*side)));
    for row in rows {
        let cells = row.into_iter().zip(columns).map(|(text, Column(_, side))| {
            Cell::new(if text.is_empty() { "-".to_owned() } else { text }).set_alignment(*side)
        });
        table.add_row(cells);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_side_by_side_and_numbers_to_the_right() {
        let rows = [vec!["shop".into(), "1".into()], vec!["日本".into(), String::new()]];
        insta::assert_snapshot!(render(&[text("NAME"), number("WORKERS")], rows), @r"
        NAME  WORKERS
        shop        1
        日本        -
        ");
    }
}
