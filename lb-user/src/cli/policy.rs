//! `lbaas policy`: who may do what, worked out from the rules in force.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use lb_policy::{Credentials, Row, matrix};

use crate::{cli::print, config::Config, failure::Failure, role::access::Access};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints what a caller may: every rule, on objects of its own project and of another.
    Check(Check),
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// A role the caller has; repeatable.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// The project the caller's token is for.
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// The caller.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The caller's token is for the whole deployment (system scope).
    #[arg(long)]
    system: bool,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &Command, config: &Config) -> Result<(), Failure> {
    let Command::Check(check) = command;
    let access = Access::prepare(config)?;
    let caller = Credentials {
        user_id: check.user.as_deref(),
        project_id: check.project.as_deref(),
        system_scope: check.system.then_some("all"),
        roles: &check.roles,
        ..Credentials::default()
    };
    let policy = access.rules().borrow().clone();
    let rows = matrix(&policy, &caller);
    let mut text = String::new();
    let written = if check.json {
        write_json(&mut text, &rows)
    } else {
        write_table(&mut text, &rows)
    };
    // Writing into a String cannot fail.
    written.unwrap_or_default();
    print(&text)
}

fn write_table(out: &mut String, rows: &[Row]) -> std::fmt::Result {
    let width = rows.iter().map(|row| row.action.name().len()).max();
    let width = width.unwrap_or_default();
    writeln!(out, "{:width$}  own project  other project", "rule")?;
    for row in rows {
        let own = word(row.own);
        writeln!(
            out,
            "{:width$}  {own:11}  {}",
            row.action.name(),
            word(row.other)
        )?;
    }
    Ok(())
}

fn write_json(out: &mut String, rows: &[Row]) -> std::fmt::Result {
    for Row { action, own, other } in rows {
        writeln!(
            out,
            "{{\"rule\": \"{action}\", \"own\": {own}, \"other\": {other}}}"
        )?;
    }
    Ok(())
}

const fn word(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "denied" }
}
