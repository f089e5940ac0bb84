//! `lbaas bpf`: what the data path's maps hold, decoded. Reads pinned maps; needs root, no agent.

mod rows;

pub(crate) use rows::{address, algorithm_of, fate, kind, low};

use clap::{Args, Subcommand};
use lb_agent::{Disk, View};
use lb_plan::datapath::Allocations;
use serde_json::{Map, Value};

use crate::{
    cli::{print, table::columns},
    config::Config,
    failure::Failure,
};

/// Flows printed unless told otherwise: a full table has half a million.
const FLOWS: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    /// One JSON list of objects.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// VIPs and their ports.
    Vip,
    /// Listeners: kind, algorithm, limits.
    Listener,
    /// Members: addresses, next hop, whether they get new flows.
    Member,
    /// The flow table.
    Flow {
        /// At most so many.
        #[arg(long, default_value_t = FLOWS)]
        limit: usize,
    },
    /// Tables of pools: which share of the slots each member has.
    Maglev,
    /// Counters of listeners and members.
    Stats,
    /// Packets by what became of them.
    Drops,
}

/// One line: names and values, in order.
type Row = Map<String, Value>;

pub(crate) fn run(options: &Options, config: &Config) -> Result<(), Failure> {
    let view = View::open(&config.agent.bpf_dir).map_err(Failure::failed)?;
    let names = names(config);
    let rows = match options.what {
        What::Vip => rows::vips(&view, &names),
        What::Listener => rows::listeners(&view, &names),
        What::Member => rows::members(&view, &names),
        What::Flow { limit } => rows::flows(&view, &names, limit),
        What::Maglev => rows::tables(&view, &names),
        What::Stats => rows::stats(&view, &names),
        What::Drops => rows::reasons(&view),
    };
    let rows = rows.map_err(Failure::failed)?;
    print(&render(&rows, options.json)?)
}

/// Whose the indices are; without the agent's state indices stay numbers.
fn names(config: &Config) -> Allocations {
    let disk = Disk::open(config.state_dir.join("agent"));
    disk.and_then(|disk| disk.allocations())
        .ok()
        .flatten()
        .unwrap_or_else(|| Allocations::new(0))
}

fn render(rows: &[Row], json: bool) -> Result<String, Failure> {
    if json {
        let text = serde_json::to_string_pretty(rows).map_err(Failure::failed)?;
        return Ok(format!("{text}\n"));
    }
    let Some(first) = rows.first() else {
        return Ok("none\n".to_owned());
    };
    let heads: Vec<String> = first
        .keys()
        .map(|key| key.replace('_', " ").to_uppercase())
        .collect();
    let lines = rows.iter().map(|row| row.values().map(cell).collect());
    let all: Vec<Vec<String>> = std::iter::once(heads).chain(lines).collect();
    Ok(columns(&all))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_a_table_or_a_list_of_objects() {
        let row = |value: Value| value.as_object().cloned().unwrap();
        let rows = [
            row(json!({"a_b": "x", "c": null})),
            row(json!({"a_b": ["y", 7], "c": true})),
        ];
        assert_eq!(render(&rows, false).unwrap(), "A B  C\nx    -\ny,7  true\n");
        let text = render(&rows, true).unwrap();
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back[1]["a_b"][1], 7);
        assert_eq!(render(&[], false).unwrap(), "none\n");
    }
}
