//! Between values and columns: rows as lists of named values on the way in, typed reads on the way
//! out. The only place where a statement is made of parts.
//!
//! A row that is written is data ([`NewRow`]), so two states of a tree can be compared row by row and
//! only what differs is written; its statement is made from its column names, which are constants of
//! this crate.

mod query;
pub(crate) mod union;

use std::str::FromStr;

use lb_model::time::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

#[cfg(test)]
pub(crate) use query::prepare;
pub(crate) use query::{ATTEMPTS_MAX, Builder, Query, is_broken, query, query_scalar};

use self::union::{Part, Places};
use crate::{
    db::{Cell, Connection, Row},
    error::StoreError,
};

/// Rows written by one statement; a power of two.
const ROWS_AT_ONCE: usize = 64;

/// One column's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    OptText(Option<String>),
    Int(i64),
    OptInt(Option<i64>),
    Bool(bool),
}

/// A column's name with a value for it.
pub(crate) type Column = (&'static str, Value);

/// A row to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewRow {
    pub(crate) table: &'static str,
    pub(crate) id: Uuid,
    columns: Vec<Column>,
}

impl NewRow {
    pub(crate) fn new(table: &'static str, id: Uuid) -> Self {
        Self {
            table,
            id,
            columns: vec![("id", Value::Text(id.to_string()))],
        }
    }

    pub(crate) fn set(mut self, column: &'static str, value: Value) -> Self {
        self.columns.push((column, value));
        self
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a row is written in one chain; ids and enumerations are passed as they are"
    )]
    pub(crate) fn text(self, column: &'static str, value: impl ToString) -> Self {
        self.set(column, Value::Text(value.to_string()))
    }

    pub(crate) fn opt_text(self, column: &'static str, value: Option<impl ToString>) -> Self {
        self.set(column, Value::OptText(value.map(|value| value.to_string())))
    }

    pub(crate) fn int(self, column: &'static str, value: impl Into<i64>) -> Self {
        self.set(column, Value::Int(value.into()))
    }

    pub(crate) fn opt_int(self, column: &'static str, value: Option<impl Into<i64>>) -> Self {
        self.set(column, Value::OptInt(value.map(Into::into)))
    }

    pub(crate) fn bool(self, column: &'static str, value: bool) -> Self {
        self.set(column, Value::Bool(value))
    }

    pub(crate) fn json(
        self,
        column: &'static str,
        value: &impl Serialize,
    ) -> Result<Self, StoreError> {
        let text = to_json(value)?;
        Ok(self.set(column, Value::Text(text)))
    }

    pub(crate) fn opt_json(
        self,
        column: &'static str,
        value: Option<&impl Serialize>,
    ) -> Result<Self, StoreError> {
        let text = value.map(to_json).transpose()?;
        Ok(self.set(column, Value::OptText(text)))
    }

    /// Inserts so many rows like this one, or replaces those with their ids.
    pub(crate) fn upsert_sql(&self, rows: usize) -> String {
        let names = self.columns.iter().skip(1);
        let updates: Vec<String> = names
            .map(|(name, _value)| format!("{name} = excluded.{name}"))
            .collect();
        format!(
            "{} ON CONFLICT (id) DO UPDATE SET {}",
            self.insert_sql(rows),
            updates.join(", ")
        )
    }

    fn insert_sql(&self, rows: usize) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _value)| *name).collect();
        let width = names.len();
        let row = |row: usize| {
            let places = (1..=width).map(|place| format!("${}", row * width + place));
            format!("({})", places.collect::<Vec<_>>().join(", "))
        };
        format!(
            "INSERT INTO {} ({}) VALUES {}",
            self.table,
            names.join(", "),
            (0..rows).map(row).collect::<Vec<_>>().join(", "),
        )
    }

    // Table and columns are constants of this crate, values are bound.
    fn bound(self, query: Query) -> Query {
        let values = self.columns.into_iter().map(|(_name, value)| value);
        values.fold(query, Query::bind)
    }

    /// Inserts the row unless one of its unique values is taken; says whether it did.
    pub(crate) async fn insert_unless_taken(
        self,
        connection: &mut Connection,
    ) -> Result<bool, StoreError> {
        let sql = format!("{} ON CONFLICT DO NOTHING", self.insert_sql(1));
        let done = self.bound(Query::built(sql)).execute(connection).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Inserts the row, which is a new one.
    pub(crate) async fn insert(self, connection: &mut Connection) -> Result<(), StoreError> {
        let sql = self.insert_sql(1);
        self.bound(Query::built(sql)).execute(connection).await?;
        Ok(())
    }

    pub(crate) async fn upsert(self, connection: &mut Connection) -> Result<(), StoreError> {
        Self::upsert_all(vec![self], connection).await
    }

    /// What is not as in `old`, a row of the same table.
    pub(crate) fn differing(&self, old: &Self) -> Vec<Column> {
        let pairs = self.columns.iter().zip(&old.columns);
        let differing = pairs.filter(|(new, old)| new != old);
        differing.map(|(new, _old)| new.clone()).collect()
    }

    /// Inserts or replaces rows of one table, in few statements.
    pub(crate) async fn upsert_all(
        rows: Vec<Self>,
        connection: &mut Connection,
    ) -> Result<(), StoreError> {
        Self::write_all(rows, Self::upsert_sql, connection).await
    }

    /// Inserts rows of one table, which are new ones, in few statements.
    pub(crate) async fn insert_all(
        rows: Vec<Self>,
        connection: &mut Connection,
    ) -> Result<(), StoreError> {
        Self::write_all(rows, Self::insert_sql, connection).await
    }

    /// As many rows as is a power of two at a time, so that few different statements come of it.
    async fn write_all(
        mut rows: Vec<Self>,
        sql: fn(&Self, usize) -> String,
        connection: &mut Connection,
    ) -> Result<(), StoreError> {
        while let Some(first) = rows.first() {
            let largest = 1 << rows.len().ilog2();
            let count = largest.min(ROWS_AT_ONCE);
            let query = Query::built(sql(first, count));
            let query = rows
                .drain(..count)
                .fold(query, |query, row| row.bound(query));
            query.execute(&mut *connection).await?;
        }
        Ok(())
    }
}

macro_rules! value_from {
    ($($from:ty => |$it:ident| $value:expr),+ $(,)?) => {$(
        impl From<$from> for Value {
            fn from($it: $from) -> Self {
                $value
            }
        }
    )+};
}

value_from!(
    String => |text| Self::Text(text),
    &String => |text| Self::Text(text.clone()),
    &str => |text| Self::Text(text.to_owned()),
    Option<String> => |text| Self::OptText(text),
    Option<&str> => |text| Self::OptText(text.map(str::to_owned)),
    i64 => |number| Self::Int(number),
    Option<i64> => |number| Self::OptInt(number),
    bool => |flag| Self::Bool(flag),
);

pub(crate) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// A counter as it is stored. Above `i64::MAX` it stays there.
pub(crate) fn counter(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Reads one row, naming table and column where it cannot be understood.
pub(crate) struct Reader<'r> {
    table: &'static str,
    row: &'r Row,
    /// Where its columns stand, when they have no names of their own.
    part: Option<(&'static Part, Places)>,
}

impl<'r> Reader<'r> {
    pub(crate) const fn new(table: &'static str, row: &'r Row) -> Self {
        Self {
            table,
            row,
            part: None,
        }
    }

    /// A row of a union, read as one of its table.
    pub(crate) const fn of_part(part: &'static Part, places: Places, row: &'r Row) -> Self {
        Self {
            table: part.table,
            row,
            part: Some((part, places)),
        }
    }

    fn cell<T: Cell>(&self, column: &str) -> Result<T, StoreError> {
        match self.part {
            None => self.row.try_get(column),
            Some((part, places)) => self.row.try_get(places.of_column(part, column)?),
        }
    }

    pub(crate) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.cell(column)
    }

    pub(crate) fn opt_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.cell(column)
    }

    pub(crate) fn bool(&self, column: &str) -> Result<bool, StoreError> {
        self.cell(column)
    }

    pub(crate) fn parse<T: FromStr>(&self, column: &str) -> Result<T, StoreError> {
        self.parsed(column, &self.text(column)?)
    }

    pub(crate) fn opt_parse<T: FromStr>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let text = self.opt_text(column)?;
        text.map(|text| self.parsed(column, &text)).transpose()
    }

    pub(crate) fn int<T: TryFrom<i64>>(&self, column: &str) -> Result<T, StoreError> {
        let number: i64 = self.cell(column)?;
        T::try_from(number).map_err(|_out_of_range| self.corrupt(column, number))
    }

    pub(crate) fn opt_int<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let number: Option<i64> = self.cell(column)?;
        let convert =
            |number| T::try_from(number).map_err(|_out_of_range| self.corrupt(column, number));
        number.map(convert).transpose()
    }

    pub(crate) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        Ok(Timestamp(self.int(column)?))
    }

    pub(crate) fn opt_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.opt_int(column)?.map(Timestamp))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|error| self.corrupt(column, error))
    }

    pub(crate) fn opt_json<T: DeserializeOwned>(
        &self,
        column: &str,
    ) -> Result<Option<T>, StoreError> {
        let Some(text) = self.opt_text(column)? else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| self.corrupt(column, error))
    }

    fn parsed<T: FromStr>(&self, column: &str, text: &str) -> Result<T, StoreError> {
        text.parse().map_err(|_unknown| self.corrupt(column, text))
    }

    fn corrupt(&self, column: &str, what: impl std::fmt::Display) -> StoreError {
        StoreError::Corrupt(format!("{}.{column}: {what}", self.table))
    }
}
