//! Making a spare, and what makes an amphora of it.

use std::{os::fd::AsFd as _, sync::Arc};

use lb_model::id::AmphoraId;
use lb_sys::{bpf::Map, netns, pidfd::Pidfd};

use super::{Spare, clean, end, files, identity};
use crate::{
    Error, Result,
    bpf::Datapath,
    edge::{AmphoraNetwork, netns_name, veth_name},
    host::Host,
    supervisor::{Files, start_spare},
};

/// Makes one; nothing is left of one that cannot be made.
pub(super) async fn make(host: &Arc<Host>, mtus: Vec<u32>) -> Result<Spare> {
    let id = AmphoraId(uuid::Uuid::new_v4());
    // First: from here on it is found, whatever becomes of us.
    files(host, id).begin()?;
    let made = try_make(host, id, mtus).await;
    if made.is_err() {
        clean(host, id).await;
    }
    made
}

async fn try_make(host: &Arc<Host>, id: AmphoraId, mtus: Vec<u32>) -> Result<Spare> {
    let veths = AmphoraNetwork::spare(id, &mtus).prepare(&host.edge).await?;
    let host = Arc::clone(host);
    blocking(move || {
        for number in 0..veths.len() {
            host.datapath.attach_answer(&veth_name(id, number))?;
        }
        let binary = identity(&host.config.binary);
        let page = Datapath::heartbeat_spare()?;
        let process = start_spare(&host.config.binary, &files(&host, id), id, page.as_fd())?;
        tracing::debug!(spare = %id, pid = process.pid(), "an amphora is kept ready");
        Ok(Spare {
            id,
            mtus,
            veths,
            process,
            page,
            binary,
        })
    })
    .await
}

/// Names first, its directory last: before that it is still a spare, which an agent that starts
/// removes; after that it is an amphora, which it finds.
pub(super) async fn become_amphora(
    host: &Arc<Host>,
    spare: Spare,
    to: AmphoraId,
) -> Result<(Pidfd, Map)> {
    let from = spare.id;
    let renamed = async {
        let namespace = blocking(move || Ok(netns::rename(&netns_name(from), &netns_name(to))?));
        let names = async {
            for (number, index) in spare.veths.iter().enumerate() {
                let (old, new) = (veth_name(from, number), veth_name(to, number));
                host.edge.rename(*index, &new).await?;
                host.datapath.answer_renamed(*index, &old, &new)?;
            }
            Ok(())
        };
        let (namespace, names): (Result<()>, Result<()>) = tokio::join!(namespace, names);
        namespace.and(names)?;
        files(host, from).hand_over(&Files::new(&host.config, to))
    };
    match renamed.await {
        Ok(()) => Ok((spare.process, spare.page)),
        Err(error) => {
            end(&spare.process);
            Err(error)
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Other(error.to_string()))?
}
