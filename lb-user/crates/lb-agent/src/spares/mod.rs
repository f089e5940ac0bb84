//! Amphorae that were made before anybody needs them.
//!
//! Why: a namespace, veths with their program and a process that has started and confined itself
//! take a tenth of a second, most of it waiting for the kernel, and nothing of it depends on the load
//! balancer. A few of them wait here (`spare_amphorae`), each under a random id of its own, joined to
//! nothing (its veths are switched off) and without a configuration. When an amphora is made for the
//! first time, one of them becomes it: names change, then its directory moves, and from there on it
//! is an amphora like any other. Without a spare everything is made as always.
//!
//! Invariants: one process is one load balancer's, from its start to its end; no two have one uid;
//! a directory in `<run_dir>/spares` is there before anything of its spare is, and as long as it is
//! there the spare is nobody's, so an agent that was killed at any instruction leaves nothing that
//! the next one (or a teardown) does not remove; a spare of another binary than the next amphora
//! would run is not used.
//!
//! Left out on purpose: adopting spares of a former agent. They are ended, and made anew.

mod clean;
mod make;

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lb_model::id::AmphoraId;
use lb_sys::{
    bpf::Map,
    pidfd::{Pidfd, Send},
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{edge::AmphoraNetwork, host::Host, supervisor::Files};

pub(crate) use clean::{clean, remove_left};

/// Veths of one spare; an amphora with more gets the others when it needs them, one with fewer keeps
/// the others switched off until it does.
pub(crate) const VETHS_MAX: usize = 8;
/// Quiet since the last one was taken before new ones are made: whoever waits for an amphora comes
/// first.
const QUIET: Duration = Duration::from_millis(500);
/// Between looks at those that are ready: a process may have ended, the binary may be another.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Before the next attempt after one could not be made.
const RETRY: Duration = Duration::from_secs(5);
/// How long the process of one may take to end after SIGKILL.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Those that are ready, and those that have just become amphorae.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    ready: Vec<Spare>,
    /// Their process runs already; who starts them takes it.
    taken: BTreeMap<AmphoraId, (Pidfd, Map)>,
    /// Sizes of packets of amphorae's networks: what the next ones are made for.
    mtus: Vec<u32>,
    last_taken: Option<Instant>,
}

/// One that is ready.
#[derive(Debug)]
struct Spare {
    id: AmphoraId,
    mtus: Vec<u32>,
    /// Edge's ends of its veths.
    veths: Vec<u32>,
    process: Pidfd,
    page: Map,
    binary: Identity,
}

/// Which file a binary is.
type Identity = Option<(u64, u64, i64, i64)>;

fn identity(binary: &Path) -> Identity {
    let file = std::fs::metadata(binary).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

impl Spares {
    /// Makes one of them the amphora of `wanted`, as far as that goes without its addresses. `false`:
    /// none fits.
    pub(crate) async fn take(&self, host: &Arc<Host>, wanted: &AmphoraNetwork) -> bool {
        let Some(spare) = self.fitting(host, &wanted.mtus()) else {
            return false;
        };
        let id = spare.id;
        match make::become_amphora(host, spare, wanted.id()).await {
            Ok(started) => {
                self.lock().taken.insert(wanted.id(), started);
                true
            }
            Err(error) => {
                tracing::warn!(amphora = %wanted.id(), %error, "a spare cannot be used");
                clean(host, id).await;
                false
            }
        }
    }

    /// The process and the page of one that has become this amphora, once, if it runs.
    pub(crate) fn of(&self, id: AmphoraId) -> Option<(Pidfd, Map)> {
        let taken = self.lock().taken.remove(&id)?;
        if taken.0.has_ended() {
            end(&taken.0);
            return None;
        }
        Some(taken)
    }

    /// Ends the process of one that became this amphora and was never started as one.
    pub(crate) fn forget(&self, id: AmphoraId) {
        if let Some((process, _)) = self.of(id) {
            end(&process);
        }
    }

    fn fitting(&self, host: &Host, mtus: &[u32]) -> Option<Spare> {
        let binary = identity(&host.config.binary);
        let mut inner = self.lock();
        inner.last_taken = Some(Instant::now());
        let same = |made: &[u32]| made.iter().zip(mtus).all(|(made, wanted)| made == wanted);
        if !same(&inner.mtus) || inner.mtus.len() < mtus.len() {
            inner.mtus = mtus.iter().copied().take(VETHS_MAX).collect();
        }
        let fits = |spare: &Spare| {
            same(&spare.mtus) && spare.binary == binary && !spare.process.has_ended()
        };
        let ready = inner.ready.iter().enumerate();
        // The one to which the least must be added.
        let best = ready
            .filter(|(_, spare)| fits(spare))
            .max_by_key(|(_, spare)| spare.mtus.len())
            .map(|(at, _)| at);
        let spare = best.map(|at| inner.ready.swap_remove(at));
        drop(inner);
        self.changed.notify_one();
        spare
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change of it is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps as many ready as the configuration says, until `shutdown`.
pub(crate) async fn keep(host: Arc<Host>, shutdown: CancellationToken) {
    let limit = host.config.spare_amphorae;
    let uplinks = host.uplinks.all().iter();
    host.spares.lock().mtus = uplinks.map(|link| link.mtu).take(2).collect();
    if limit == 0 {
        return;
    }
    loop {
        let changed = host.spares.changed.notified();
        let pause = refill(&host, limit).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = changed, if pause.is_none() => {}
            () = tokio::time::sleep(pause.unwrap_or(LOOK_EVERY)) => {}
        }
    }
}

/// Makes at most one; says when to look again if there is more to do.
async fn refill(host: &Arc<Host>, limit: usize) -> Option<Duration> {
    let (unfit, mtus, full, busy) = {
        let binary = identity(&host.config.binary);
        let mut inner = host.spares.lock();
        let mtus = inner.mtus.clone();
        let (ready, unfit): (Vec<_>, Vec<_>) = std::mem::take(&mut inner.ready)
            .into_iter()
            .partition(|spare| {
                spare.mtus == mtus && spare.binary == binary && !spare.process.has_ended()
            });
        inner.ready = ready;
        let full = inner.ready.len() >= limit;
        let quiet_at = inner.last_taken.map(|at| at + QUIET);
        let busy = quiet_at.and_then(|at| at.checked_duration_since(Instant::now()));
        (unfit, mtus, full, busy)
    };
    for spare in unfit {
        end(&spare.process);
        clean(host, spare.id).await;
    }
    if full {
        return None;
    }
    if let Some(left) = busy.filter(|left| !left.is_zero()) {
        return Some(left);
    }
    match make::make(host, mtus).await {
        Ok(spare) => {
            host.spares.lock().ready.push(spare);
            Some(Duration::ZERO)
        }
        Err(error) => {
            tracing::warn!(%error, "no amphora can be kept ready");
            Some(RETRY)
        }
    }
}

/// Ends those that are nobody's: the agent stops, and [`keep`] has ended.
pub(crate) async fn close(host: &Arc<Host>) {
    let ready = std::mem::take(&mut host.spares.lock().ready);
    for spare in ready {
        end(&spare.process);
        clean(host, spare.id).await;
    }
}

fn end(process: &Pidfd) {
    let ended = process
        .send(Send::Kill)
        .and_then(|()| process.wait_ended(END_LIMIT));
    if !ended.unwrap_or(false) {
        tracing::warn!(pid = process.pid(), "a spare amphora does not end");
    }
    let reaped = process.reap();
    tracing::debug!(pid = process.pid(), reaped, "a spare amphora ended");
}

/// Files of a spare.
fn files(host: &Host, id: AmphoraId) -> Files {
    Files::spare(&host.config, id)
}
