//! Removing spares: what was made of them, whether it was finished or not.

use std::{path::Path, sync::Arc};

use lb_model::id::AmphoraId;

use super::{VETHS_MAX, end};
use crate::{
    AgentConfig, Error, Result,
    edge::{Netlink, netns_name, remove_amphora, veth_name},
    host::Host,
    supervisor::{Files, kill_strays, recorded_spare},
};

/// Removes one that is nobody's.
pub(crate) async fn clean(host: &Arc<Host>, id: AmphoraId) {
    let done = remove(&host.config, &host.edge, id, |veth| {
        Ok(host.datapath.detach(crate::bpf::Attachment::Answer, veth)?)
    });
    if let Err(error) = done.await {
        tracing::warn!(spare = %id, %error, "a spare amphora cannot be removed");
    }
}

/// Removes all that a former agent left. `detach` takes the program off a veth by its name.
///
/// # Errors
/// When one of them cannot be removed; the others are removed all the same.
pub(crate) async fn remove_left(
    config: &AgentConfig,
    edge: &Netlink,
    detach: impl Fn(&str) -> Result<()>,
) -> Result<()> {
    let mut outcome = Ok(());
    for id in left(&config.spares_dir()) {
        let removed = remove(config, edge, id, &detach).await;
        outcome = outcome.and(removed);
    }
    outcome
}

fn left(dir: &Path) -> Vec<AmphoraId> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// The directory goes last: as long as anything is left, it is found again.
async fn remove(
    config: &AgentConfig,
    edge: &Netlink,
    id: AmphoraId,
    detach: impl Fn(&str) -> Result<()>,
) -> Result<()> {
    let files = Files::spare(config, id);
    let (name, known) = (netns_name(id), files.clone());
    let killed = tokio::task::spawn_blocking(move || {
        // By its file too: its namespace may have the name of an amphora already.
        if let Some(process) = recorded_spare(&known) {
            end(&process);
        }
        kill_strays(&name);
    });
    killed
        .await
        .map_err(|error| Error::Other(error.to_string()))?;
    for number in 0..VETHS_MAX {
        let veth = veth_name(id, number);
        detach(&veth)?;
        if let Some(link) = edge.link(&veth).await? {
            edge.delete_link(link.index).await?;
        }
    }
    remove_amphora(edge, id).await?;
    files.remove();
    Ok(())
}
