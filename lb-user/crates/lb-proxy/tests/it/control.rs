//! The agent's connection and the heartbeat.

use std::{fs::File, io::Write as _, time::Duration};

use lb_common::heartbeat::{BUSY_BIT, is_dead};
use lb_model::amphora::FromAmphora;
use lb_sys::{clock::monotonic_ns, heartbeat::HeartbeatReader};

use crate::{
    client::PATIENCE,
    member::Member,
    rig::{Agent, Rig},
};

#[tokio::test]
async fn the_newest_agent_wins_and_without_one_service_goes_on() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let mut newest = Agent::connect(&rig.socket).await?;
    newest
        .say(&lb_model::amphora::ToAmphora::Drain { draining: false })
        .await?;
    let status = newest.hear().await?;
    let FromAmphora::Status { generation, .. } = status else {
        anyhow::bail!("{status:?}");
    };
    assert_eq!(
        generation, rig.spec.generation,
        "what it serves is told at once"
    );
    while rig.agent.hear().await.is_ok() {}
    drop(newest);
    assert_eq!(rig.client().await?.get("/").await?.code, 200);
    // Nonsense closes the session, not the amphora.
    let mut confused = Agent::connect(&rig.socket).await?;
    confused.say_raw("{\"type\":\"configure\"}\n").await?;
    while confused.hear().await.is_ok() {}
    rig.agent = Agent::connect(&rig.socket).await?;
    rig.apply().await?;
    assert_eq!(rig.client().await?.get("/").await?.code, 200);
    rig.shut_down().await
}

#[tokio::test]
async fn shutdown_lets_what_is_being_answered_finish() -> anyhow::Result<()> {
    let member = Member::start(crate::member::Behaviour::Late(Duration::from_millis(300))).await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut idle = rig.client().await?;
    let mut busy = rig.client().await?;
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    while member.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    let (ended, answer) = tokio::join!(rig.shut_down(), busy.answer());
    ended?;
    assert_eq!(answer?.body, "late");
    assert_eq!(idle.rest().await?, "");
    Ok(())
}

/// Waits until a stamp `fits`.
async fn stamp(page: &HeartbeatReader, fits: impl Fn(u64) -> bool) -> anyhow::Result<()> {
    let waiting = async {
        while !fits(page.read().deadline_ns) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    Ok(tokio::time::timeout(PATIENCE, waiting).await?)
}

#[tokio::test]
async fn the_heartbeat_is_idle_busy_and_dead_as_the_amphora_is() -> anyhow::Result<()> {
    let mut file: File = tempfile::tempfile()?;
    file.write_all(&[0; 4096])?;
    let page = HeartbeatReader::map(&file)?;
    let member = Member::named("one").await?;
    let mut rig = Rig::start_with(1, Some(file.try_clone()?.into())).await?;
    rig.spec.listeners = vec![crate::rig::listener(
        1,
        lb_model::enums::ListenerProtocol::Http,
        crate::rig::PORT,
        Some(1),
    )];
    rig.spec.pools = vec![crate::rig::pool(1, &[member.address])];
    rig.apply().await?;
    let alive = |word| !is_dead(word, monotonic_ns());
    stamp(&page, |word| alive(word) && word & BUSY_BIT == 0).await?;
    let mut client = rig.client().await?;
    stamp(&page, |word| alive(word) && word & BUSY_BIT != 0).await?;
    assert_eq!(client.get("/").await?.code, 200);
    drop(client);
    stamp(&page, |word| alive(word) && word & BUSY_BIT == 0).await?;
    rig.shut_down().await?;
    stamp(&page, |word| !alive(word)).await
}
