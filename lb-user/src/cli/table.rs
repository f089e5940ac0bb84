//! Text in columns.

pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    columns(rows)
}

/// As [`table`], for as many columns as there are.
pub(super) fn columns(rows: &[impl AsRef<[String]>]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.as_ref().iter().enumerate() {
            let widest = rows
                .iter()
                .filter_map(|row| row.as_ref().get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0);
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', widest + 2 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["A", "B"], ["long", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     B\nlong  x\n");
    }
}
