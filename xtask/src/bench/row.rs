//! A measured case, as a line for people or an object for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::shell;

/// What was measured of one case.
#[derive(Clone, Debug, Default)]
pub struct Row {
    columns: Vec<(&'static str, Value)>,
}

impl Row {
    /// Adds a column.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.columns.push((name, value.into()));
        self
    }

    /// Prints it at once: a bench that is stopped has shown what it measured so far.
    pub fn print(&self, as_json: bool) {
        if as_json {
            let object: Map<String, Value> = self
                .columns
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect();
            shell::say(&json!(object).to_string());
            return;
        }
        let mut line = String::new();
        for (name, value) in self.columns.iter().filter(|(_, value)| !value.is_null()) {
            let shown = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            // Writing to a String cannot fail.
            write!(line, "{name} {shown:<12} ").unwrap_or_default();
        }
        shell::say(line.trim_end());
    }
}

/// A number with the digits that mean something.
pub fn rounded(value: f64) -> Value {
    let factor = if value.abs() < 10.0 { 100.0 } else { 10.0 };
    json!((value * factor).round() / factor)
}
