//! Requests that cannot be answered as hoped.

use std::{net::SocketAddr, time::Duration};

use tokio::net::TcpListener;

use crate::{
    member::{Behaviour, Member},
    rig::{Rig, pool},
};

/// An address nobody listens on.
async fn nobody() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

#[tokio::test]
async fn without_a_usable_member_the_answer_is_503() -> anyhow::Result<()> {
    let mut rig = Rig::serving(&[]).await?;
    let mut client = rig.client().await?;
    let answer = client.get("/").await?;
    assert_eq!(answer.code, 503);
    assert!(answer.body.contains("503 Service Unavailable"));
    let dead = nobody().await?;
    rig.spec.pools = vec![pool(1, &[dead])];
    rig.apply().await?;
    assert_eq!(client.get("/").await?.code, 503, "refused");
    for listener in &mut rig.spec.listeners {
        listener.default_pool_id = None;
    }
    rig.apply().await?;
    assert_eq!(client.get("/").await?.code, 503, "no pool");
    let status = rig
        .status(|status| {
            status
                .listeners
                .iter()
                .all(|listener| listener.request_errors == 3)
        })
        .await?;
    assert_eq!(status.connections, 1, "503 keeps the connection");
    Ok(())
}

#[tokio::test]
async fn a_member_that_refuses_is_left_for_another() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Echoes).await?;
    let rig = Rig::serving(&[nobody().await?, nobody().await?, member.address]).await?;
    let mut client = rig.client().await?;
    for _ in 0..6 {
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
            .await?;
        let answer = client.answer().await?;
        assert_eq!((answer.code, answer.body.as_str()), (200, "body"));
    }
    Ok(())
}

#[tokio::test]
async fn a_pooled_connection_that_has_closed_costs_no_request() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    assert_eq!(client.get("/").await?.code, 200);
    let at = member.address;
    drop(member);
    // Its connections close with it; the next one answers once before it is gone as well.
    let member = loop {
        match Member::start_at(at, Behaviour::Says("two".to_owned())).await {
            Ok(member) => break member,
            Err(_still_closing) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(client.get("/").await?.body, "two");
    assert_eq!(member.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn an_idempotent_request_is_repeated_on_a_fresh_connection_only() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    assert_eq!(client.get("/").await?.code, 200);
    // From now on it closes instead of answering: once on the pooled one, once on the fresh one.
    member.behave(Behaviour::Closes);
    let answer = client.get("/x").await?;
    assert_eq!(answer.code, 502);
    assert_eq!(member.requests().len(), 3);
    client
        .send("POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz")
        .await?;
    assert_eq!(client.answer().await?.code, 502);
    assert_eq!(member.requests().len(), 4, "not repeated");
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_502() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Raw("SSH-2.0-x\r\n\r\n".to_owned())).await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    assert_eq!(client.get("/").await?.code, 502);
    member.behave(Behaviour::Raw(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_owned(),
    ));
    assert_eq!(client.get("/").await?.code, 502, "not asked for");
    Ok(())
}

#[tokio::test]
async fn a_member_that_is_late_is_504_and_its_connection_is_not_used_again() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Late(Duration::from_secs(60))).await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    for listener in &mut rig.spec.listeners {
        listener.timeout_member_data_ms = 100;
    }
    rig.apply().await?;
    let mut client = rig.client().await?;
    assert_eq!(client.get("/").await?.code, 504);
    member.behave(Behaviour::Says("again".to_owned()));
    assert_eq!(client.get("/").await?.body, "again");
    assert_eq!(member.connections(), 2);
    Ok(())
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_the_clients_connection() -> anyhow::Result<()> {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let member = Member::start(Behaviour::RawThenClose(cut.to_owned())).await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let answer = client.rest().await?;
    assert!(answer.ends_with("half"), "{answer}");
    // Silence in the middle is an end as well.
    for listener in &mut rig.spec.listeners {
        listener.timeout_member_data_ms = 100;
    }
    rig.apply().await?;
    member.behave(Behaviour::Raw(cut.to_owned()));
    let mut client = rig.client().await?;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    assert!(client.rest().await?.ends_with("half"));
    Ok(())
}

#[tokio::test]
async fn slow_clients_get_408_and_idle_ones_are_closed() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    for listener in &mut rig.spec.listeners {
        listener.timeout_client_data_ms = 200;
    }
    rig.apply().await?;
    let mut silent = rig.client().await?;
    assert_eq!(silent.rest().await?, "");
    let mut slow = rig.client().await?;
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n").await?;
    let answer = slow.rest().await?;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let mut stalled = rig.client().await?;
    stalled
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        .await?;
    let answer = stalled.rest().await?;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let mut kept = rig.client().await?;
    assert_eq!(kept.get("/").await?.code, 200);
    assert_eq!(kept.rest().await?, "", "closed without a word");
    // A client that waits for a slow member is not idle.
    member.behave(Behaviour::Late(Duration::from_millis(600)));
    assert_eq!(rig.client().await?.get("/").await?.body, "late");
    Ok(())
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() -> anyhow::Result<()> {
    let body = "x".repeat(64 << 20);
    let member = Member::start(Behaviour::Says(body)).await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    for listener in &mut rig.spec.listeners {
        listener.timeout_client_data_ms = 200;
    }
    rig.apply().await?;
    let mut client = rig.client().await?;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    // It may have come and gone between two statuses.
    rig.status(|status| {
        let mut listeners = status.listeners.iter();
        status.connections == 0 && listeners.any(|listener| listener.total_connections == 1)
    })
    .await?;
    Ok(())
}
