//! `lbaas orphans`: what hosts carry and a restored database does not know. Asked of the database, so
//! that it works without a server and without a token.

use anyhow::{Context as _, bail};
use clap::Subcommand;
use lb_model::id::LoadBalancerId;
use lb_store::{Orphan, OrphanRegistry};

use crate::{
    cli::{backup::on_runtime, print, table::table},
    config::Config,
    failure::Failure,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists them.
    List,
    /// Confirms that one may go: its hosts take it down.
    Confirm {
        /// The load balancer.
        id: LoadBalancerId,
    },
    /// Confirms all that are listed now.
    ConfirmAll,
}

pub(crate) fn run(command: Option<&Command>, config: &Config) -> Result<(), Failure> {
    let text = on_runtime(answer(command, config))?;
    print(&text)
}

async fn answer(command: Option<&Command>, config: &Config) -> anyhow::Result<String> {
    let registry = OrphanRegistry::open(&config.database, &config.state_dir)
        .await
        .context("the database cannot be read")?;
    let text = match command {
        None | Some(Command::List) => listed(&registry.list().await?),
        Some(Command::Confirm { id }) => {
            if !registry.confirm(*id).await? {
                bail!("no host carries a load balancer {id} that the database does not know");
            }
            format!("{id} may go.\n")
        }
        Some(Command::ConfirmAll) => {
            let mut text = String::new();
            for orphan in registry.list().await? {
                registry.confirm(orphan.id).await?;
                text.push_str(&format!("{} may go.\n", orphan.id));
            }
            text
        }
    };
    registry.close().await;
    Ok(text)
}

fn listed(orphans: &[Orphan]) -> String {
    if orphans.is_empty() {
        return "No host carries what the database does not know.\n".to_owned();
    }
    let head = [
        "LOAD BALANCER",
        "HOST",
        "PROJECT",
        "ADDRESSES KEPT",
        "FOUND",
        "STATE",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(orphans.iter().map(row));
    table(&rows)
}

fn row(orphan: &Orphan) -> [String; 6] {
    let addresses: Vec<String> = orphan.addresses.iter().map(ToString::to_string).collect();
    let found = jiff::Timestamp::from_microsecond(orphan.found_at.0);
    [
        orphan.id.to_string(),
        orphan.host.clone(),
        orphan.project_id.clone().unwrap_or_else(|| "-".to_owned()),
        if addresses.is_empty() {
            "-".to_owned()
        } else {
            addresses.join(",")
        },
        found
            .map(|found| found.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_default(),
        match orphan.confirmed_at {
            Some(_when) => "may go".to_owned(),
            None => "kept".to_owned(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use lb_model::time::Timestamp;

    use super::*;

    #[test]
    fn an_orphan_is_one_line_with_what_is_known_of_it() {
        let mut orphan = Orphan {
            id: "8f6c8f2e-4b1d-4d0e-9f6c-2d8d5a3b7c10".parse().unwrap(),
            host: "a".to_owned(),
            generation: 5,
            project_id: None,
            addresses: Vec::new(),
            found_at: Timestamp(1_750_000_000_000_000),
            confirmed_at: None,
        };
        let text = listed(std::slice::from_ref(&orphan));
        let line = text.lines().nth(1).unwrap();
        assert!(line.ends_with("kept"), "{line}");
        assert!(line.contains("2025-06-15T15:06:40Z"), "{line}");
        orphan.addresses = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let text = listed(&[orphan]);
        assert!(text.contains("192.0.2.1,2001:db8::1"), "{text}");
    }
}
