//! A new amphora takes the place of a running one, on its sockets.

use std::{
    fs::File,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use lb_common::heartbeat::is_dead;
use lb_sys::{clock::monotonic_ns, heartbeat::HeartbeatReader};

use crate::{
    member::{Behaviour, Member},
    rig::{DRAIN_WITHIN, PORT, Rig, listener, pool},
};

/// Requests on new connections until told to stop: how many there were; any failure is an error.
async fn load(rig_at: std::net::SocketAddr, stop: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let mut requests = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut client = crate::client::Client::connect(rig_at).await?;
        let answer = client.get("/").await?;
        anyhow::ensure!(answer.code == 200, "{answer:?}");
        requests += 1;
    }
    Ok(requests)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeovers_under_load_cost_no_request_and_no_heartbeat() -> anyhow::Result<()> {
    let mut file: File = tempfile::tempfile()?;
    file.write_all(&[0; 4096])?;
    let page = HeartbeatReader::map(&file)?;
    let member = Member::named("one").await?;
    let mut rig = Rig::start_with(2, Some(file.into())).await?;
    rig.serve(&[member.address]).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..4)
        .map(|_| lb_telemetry::task::spawn("load", load(rig.at(PORT), Arc::clone(&stop))))
        .collect();
    let gaps = Arc::new(AtomicU64::new(0));
    let watch = {
        let (gaps, stop) = (Arc::clone(&gaps), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut alive = false;
            while !stop.load(Ordering::Relaxed) {
                let is_alive = !is_dead(page.read().deadline_ns, monotonic_ns());
                gaps.fetch_add(u64::from(alive && !is_alive), Ordering::Relaxed);
                alive = is_alive;
                std::thread::yield_now();
            }
        })
    };
    let mut old = Vec::new();
    // With other numbers of workers, too.
    for workers in [1, 3, 2, 2, 1] {
        old.push(rig.take_over(workers).await?.0);
        rig.apply().await?;
    }
    for old in old {
        let ended = tokio::task::spawn_blocking(|| old.join()).await?;
        ended.map_err(|_panic| anyhow::anyhow!("panicked"))??;
    }
    stop.store(true, Ordering::Relaxed);
    let mut requests = 0;
    for load in loads {
        requests += load.await?.context("panicked")??;
    }
    watch.join().map_err(|_panic| anyhow::anyhow!("watch"))?;
    assert!(requests > 0);
    assert_eq!(gaps.load(Ordering::Relaxed), 0, "gaps of the heartbeat");
    // Whoever was served by one that has ended is still counted.
    let status = rig
        .status(|status| status.listeners[0].total_connections >= requests)
        .await?;
    assert_eq!(status.listeners[0].request_errors, 0);
    rig.shut_down().await
}

#[tokio::test]
async fn what_is_open_goes_on_with_the_old_one_until_it_ends() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let mut kept = rig.client().await?;
    assert_eq!(kept.get("/").await?.code, 200);
    let mut forgotten = rig.client().await?;
    assert_eq!(forgotten.get("/").await?.code, 200);
    member.behave(Behaviour::Late(std::time::Duration::from_millis(300)));
    let mut busy = rig.client().await?;
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    while member.requests().len() < 3 {
        tokio::task::yield_now().await;
    }
    let (old, _session) = rig.take_over(1).await?;
    rig.status(|status| status.connections == 3).await?;
    assert_eq!(busy.answer().await?.body, "late");
    let answer = kept.get("/").await?;
    assert_eq!(answer.header("connection"), Some("close"));
    // Somebody who says nothing is left by the deadline.
    let since = tokio::time::Instant::now();
    let ended = tokio::task::spawn_blocking(|| old.join()).await?;
    ended.map_err(|_panic| anyhow::anyhow!("panicked"))??;
    assert!(since.elapsed() < DRAIN_WITHIN + DRAIN_WITHIN);
    assert_eq!(forgotten.rest().await?, "");
    rig.status(|status| status.connections == 0).await?;
    assert_eq!(rig.client().await?.get("/").await?.code, 200);
    rig.shut_down().await
}

#[tokio::test]
async fn a_successor_that_does_not_come_to_serve_changes_nothing() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let stream = std::os::unix::net::UnixStream::connect(&rig.socket)?;
    let asks = move || lb_proxy::AmphoraArgs::succeed(stream.into(), std::num::NonZeroUsize::MIN);
    let asks = tokio::task::spawn_blocking(asks).await??;
    drop(asks);
    rig.spec.listeners.push(listener(
        2,
        lb_model::enums::ListenerProtocol::Http,
        PORT + 1,
        Some(1),
    ));
    rig.spec.pools = vec![pool(1, &[member.address])];
    rig.apply().await?;
    let mut client = crate::client::Client::connect(rig.at(PORT + 1)).await?;
    assert_eq!(client.get("/").await?.code, 200);
    rig.shut_down().await
}
