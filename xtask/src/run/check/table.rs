//! What was seen beside what is promised.

use std::{fmt, time::Duration};

use anyhow::bail;

use crate::shell;

/// One promise.
#[derive(Debug)]
struct Row {
    what: String,
    seen: String,
    promised: String,
    kept: bool,
}

/// All promises, in the order they were tried.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a row, and says it at once: a long check should not be silent.
    pub fn row(&mut self, what: &str, seen: String, promised: &str, kept: bool) {
        shell::say(&format!(
            "{} {what}: {seen}",
            if kept { "ok " } else { "NOT" }
        ));
        let (what, promised) = (what.to_owned(), promised.to_owned());
        self.rows.push(Row {
            what,
            seen,
            promised,
            kept,
        });
    }

    /// A time that has a limit.
    pub fn within(&mut self, what: &str, seen: Duration, limit: Duration) {
        let shown = format!("{:.1} ms", seen.as_secs_f64() * 1e3);
        self.row(
            what,
            shown,
            &format!("<= {} ms", limit.as_millis()),
            seen <= limit,
        );
    }

    /// Fails when a row did.
    pub fn verdict(&self) -> anyhow::Result<()> {
        let broken = self.rows.iter().filter(|row| !row.kept).count();
        if broken > 0 {
            bail!("{broken} of {} promises were not kept", self.rows.len());
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: fn(&Row) -> &str| {
            self.rows
                .iter()
                .map(|row| text(row).len())
                .max()
                .unwrap_or(0)
        };
        let (what, seen) = (width(|row| &row.what), width(|row| &row.seen));
        for row in &self.rows {
            let mark = if row.kept { "ok" } else { "NOT KEPT" };
            writeln!(
                f,
                "{:what$}  {:seen$}  {:12}  {mark}",
                row.what, row.seen, row.promised
            )?;
        }
        Ok(())
    }
}
