//! Rows of several tables in one statement: one round trip for a whole load balancer instead of one a
//! table.
//!
//! Each table is a part of a `UNION ALL`. Its columns stand at the first places of their type, the
//! places it does not need are NULL, and the first column says which table a row is of. A row is read
//! by the names of its table's columns, as if it had come alone ([`super::Reader::of_part`]).

use std::fmt::Write as _;

use super::Builder;
use crate::error::StoreError;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Bool,
}

/// A table in the union.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) table: &'static str,
    /// The column that the ids asked about are in.
    pub(crate) by: &'static str,
    pub(crate) texts: &'static [&'static str],
    pub(crate) ints: &'static [&'static str],
    pub(crate) bools: &'static [&'static str],
}

/// Places of each type: as many as the widest table needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    texts: usize,
    ints: usize,
    bools: usize,
}

impl Places {
    pub(crate) fn of(parts: &[Part]) -> Self {
        let widest = |width: fn(&Part) -> usize| parts.iter().map(width).max().unwrap_or(0);
        Self {
            texts: widest(|part| part.texts.len()),
            ints: widest(|part| part.ints.len()),
            bools: widest(|part| part.bools.len()),
        }
    }

    /// Where a table's column stands in the union's rows. The first place says which table it is.
    pub(crate) fn of_column(self, part: &Part, column: &str) -> Result<usize, StoreError> {
        let place = |columns: &[&str]| columns.iter().position(|known| *known == column);
        let places = place(part.texts)
            .or_else(|| place(part.ints).map(|at| self.texts + at))
            .or_else(|| place(part.bools).map(|at| self.texts + self.ints + at));
        let missing = || StoreError::Corrupt(format!("{}.{column} is not read", part.table));
        places.map(|at| at + 1).ok_or_else(missing)
    }
}

/// The statement; `ids` are as they are bound.
pub(crate) fn statement(parts: &[Part], ids: &[String]) -> Builder {
    let places = Places::of(parts);
    // Bound once, and named by every part.
    let count = ids.len().max(1).next_power_of_two();
    let list: Vec<String> = (1..=count).map(|place| format!("${place}")).collect();
    let list = list.join(", ");
    let mut sql = String::new();
    for (number, part) in parts.iter().enumerate() {
        let all = if number == 0 { "" } else { " UNION ALL " };
        // Writing to a String cannot fail.
        write!(sql, "{all}SELECT CAST({number} AS BIGINT)").unwrap_or_default();
        push(&mut sql, part.texts, places.texts, Kind::Text);
        push(&mut sql, part.ints, places.ints, Kind::Int);
        push(&mut sql, part.bools, places.bools, Kind::Bool);
        let (table, by) = (part.table, part.by);
        write!(sql, " FROM {table} WHERE {by} IN ({list})").unwrap_or_default();
    }
    let mut builder = Builder::new(sql);
    let last = ids.last().cloned().unwrap_or_default();
    let filled = ids.iter().cloned().chain(std::iter::repeat(last));
    builder.bind_all(filled.take(count));
    builder
}

fn push(sql: &mut String, columns: &[&str], places: usize, kind: Kind) {
    let null = match kind {
        Kind::Text => "CAST(NULL AS TEXT)",
        Kind::Int => "CAST(NULL AS BIGINT)",
        Kind::Bool => "CAST(NULL AS BOOLEAN)",
    };
    for place in 0..places {
        let column = columns.get(place).copied().unwrap_or(null);
        write!(sql, ", {column}").unwrap_or_default();
    }
}
