//! Between values and columns: rows as lists of named values on the way in, typed reads on the way
//! out. The only place where a statement is made of parts.
//!
//! A row that is written is data ([`NewRow`]), so two states of a tree can be compared row by row and
//! only what differs is written; its statement is made from its column names, which are constants of
//! this crate.

mod query;

use std::str::FromStr;

use lb_model::time::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

#[cfg(test)]
pub(crate) use query::prepare;
pub(crate) use query::{ATTEMPTS_MAX, Builder, Query, is_broken, query, query_scalar};

use crate::{
    db::{Connection, Row},
    error::StoreError,
};

/// One column's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    OptText(Option<String>),
    Int(i64),
    OptInt(Option<i64>),
    Bool(bool),
}

/// A row to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewRow {
    pub(crate) table: &'static str,
    pub(crate) id: Uuid,
    columns: Vec<(&'static str, Value)>,
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

    /// Inserts the row, or replaces the one with its id.
    pub(crate) fn upsert_sql(&self) -> String {
        let names = self.columns.iter().skip(1);
        let updates: Vec<String> = names
            .map(|(name, _value)| format!("{name} = excluded.{name}"))
            .collect();
        format!(
            "{} (id) DO UPDATE SET {}",
            self.on_conflict_sql(),
            updates.join(", ")
        )
    }

    fn insert_sql(&self) -> String {
        format!("{} DO NOTHING", self.on_conflict_sql())
    }

    fn on_conflict_sql(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _value)| *name).collect();
        let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT",
            self.table,
            names.join(", "),
            places.join(", "),
        )
    }

    /// Inserts the row unless one of its unique values is taken; says whether it did.
    pub(crate) async fn insert_unless_taken(
        self,
        connection: &mut Connection,
    ) -> Result<bool, StoreError> {
        let values = self.columns.iter().map(|(_name, value)| value.clone());
        let query = values.fold(Query::built(self.insert_sql()), Query::bind);
        Ok(query.execute(connection).await?.rows_affected() > 0)
    }

    pub(crate) async fn upsert(self, connection: &mut Connection) -> Result<(), StoreError> {
        // Table and columns are constants of this crate, values are bound.
        let values = self.columns.iter().map(|(_name, value)| value.clone());
        let query = values.fold(Query::built(self.upsert_sql()), Query::bind);
        query.execute(connection).await?;
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
}

impl<'r> Reader<'r> {
    pub(crate) const fn new(table: &'static str, row: &'r Row) -> Self {
        Self { table, row }
    }

    pub(crate) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.row.try_get(column)
    }

    pub(crate) fn opt_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.row.try_get(column)
    }

    pub(crate) fn bool(&self, column: &str) -> Result<bool, StoreError> {
        self.row.try_get(column)
    }

    pub(crate) fn parse<T: FromStr>(&self, column: &str) -> Result<T, StoreError> {
        self.parsed(column, &self.text(column)?)
    }

    pub(crate) fn opt_parse<T: FromStr>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let text = self.opt_text(column)?;
        text.map(|text| self.parsed(column, &text)).transpose()
    }

    pub(crate) fn int<T: TryFrom<i64>>(&self, column: &str) -> Result<T, StoreError> {
        let number: i64 = self.row.try_get(column)?;
        T::try_from(number).map_err(|_out_of_range| self.corrupt(column, number))
    }

    pub(crate) fn opt_int<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let number: Option<i64> = self.row.try_get(column)?;
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
