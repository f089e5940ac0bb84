//! UDP listeners through the amphora.

use std::{collections::HashSet, net::SocketAddr};

use anyhow::Context as _;
use lb_model::{
    enums::{LbAlgorithm, ListenerProtocol, PoolProtocol, SessionPersistenceType},
    resource::SessionPersistence,
};
use tokio::{net::UdpSocket, time::timeout};

use crate::{
    client::PATIENCE,
    rig::{PORT, Rig, listener, pool},
};

/// A member that answers each datagram with its name and the datagram, as long as this lives.
struct Member {
    address: SocketAddr,
    task: tokio::task::JoinHandle<Option<()>>,
}

impl Member {
    async fn start(name: &'static str) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let task = lb_telemetry::task::spawn("member", async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let answer = [name.as_bytes(), buffer.get(..length).unwrap_or_default()].concat();
                if socket.send_to(&answer, from).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { address, task })
    }

    async fn stop(self) {
        self.task.abort();
        // Then the socket is closed.
        drop(self.task.await);
    }
}

async fn rig(workers: usize, members: &[&Member]) -> anyhow::Result<Rig> {
    let mut rig = Rig::start_with(workers, None).await?;
    let members: Vec<_> = members.iter().map(|member| member.address).collect();
    let mut pool = pool(1, &members);
    pool.protocol = PoolProtocol::Udp;
    rig.spec.pools = vec![pool];
    rig.spec.listeners = vec![listener(1, ListenerProtocol::Udp, PORT, Some(1))];
    rig.apply().await?;
    Ok(rig)
}

async fn client(rig: &Rig) -> anyhow::Result<UdpSocket> {
    client_at(rig, "127.0.0.1").await
}

async fn client_at(rig: &Rig, address: &str) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0)).await?;
    socket.connect(rig.at(PORT)).await?;
    Ok(socket)
}

async fn ask(client: &UdpSocket, text: &str) -> anyhow::Result<String> {
    client.send(text.as_bytes()).await?;
    hear(client).await
}

async fn hear(client: &UdpSocket) -> anyhow::Result<String> {
    let mut buffer = vec![0; 64 << 10];
    let length = timeout(PATIENCE, client.recv(&mut buffer))
        .await
        .context("no answer")??;
    buffer.truncate(length);
    Ok(String::from_utf8(buffer)?)
}

#[tokio::test]
async fn datagrams_pass_both_ways_whole_and_are_counted() -> anyhow::Result<()> {
    let one = Member::start("1").await?;
    let mut rig = rig(1, &[&one]).await?;
    let client = client(&rig).await?;
    assert_eq!(ask(&client, "question").await?, "1question");
    assert_eq!(ask(&client, "").await?, "1");
    let large = "x".repeat(60_000);
    assert_eq!(ask(&client, &large).await?, format!("1{large}"));
    let status = rig
        .status(|status| status.listeners.iter().any(|it| it.bytes_out == 60_011))
        .await?;
    let counted = &status.listeners[0];
    assert_eq!(
        (counted.bytes_in, counted.bytes_out, counted.request_errors),
        (60_008, 60_011, 0)
    );
    assert_eq!(
        (counted.total_connections, counted.active_connections),
        (1, 1)
    );
    // A session holds up no drain.
    assert_eq!(status.connections, 0);
    Ok(())
}

#[tokio::test]
async fn clients_are_spread_by_weight_and_each_stays_with_its_member() -> anyhow::Result<()> {
    let (one, two) = (Member::start("1").await?, Member::start("2").await?);
    let mut rig = rig(1, &[&one, &two]).await?;
    rig.spec.pools[0].members[1].weight = 3;
    rig.apply().await?;
    let mut seen = Vec::new();
    for _ in 0..8 {
        let client = client(&rig).await?;
        let first = ask(&client, "").await?;
        for _ in 0..3 {
            assert_eq!(ask(&client, "").await?, first);
        }
        seen.push(first);
    }
    assert_eq!(seen.iter().filter(|name| *name == "1").count(), 2);
    Ok(())
}

#[tokio::test]
async fn every_worker_serves_and_answers_come_from_the_vip() -> anyhow::Result<()> {
    let one = Member::start("1").await?;
    let mut rig = rig(3, &[&one]).await?;
    // Connected: what does not come from the VIP's port is not heard.
    let mut clients = Vec::new();
    for number in 0..64 {
        let client = client(&rig).await?;
        assert_eq!(
            ask(&client, &number.to_string()).await?,
            format!("1{number}")
        );
        clients.push(client);
    }
    let status = rig
        .status(|status| {
            status
                .listeners
                .iter()
                .any(|it| it.active_connections == 64)
        })
        .await?;
    assert_eq!(status.listeners[0].total_connections, 64);
    Ok(())
}

#[tokio::test]
async fn a_source_stays_on_its_member_whatever_its_port() -> anyhow::Result<()> {
    let (one, two) = (Member::start("1").await?, Member::start("2").await?);
    let mut rig = rig(1, &[&one, &two]).await?;
    rig.spec.pools[0].session_persistence = Some(SessionPersistence {
        kind: SessionPersistenceType::SourceIp,
        cookie_name: None,
        persistence_timeout: Some(60),
        persistence_granularity: Some("255.255.255.255".to_owned()),
    });
    rig.apply().await?;
    let mut members = HashSet::new();
    for source in ["127.0.0.41", "127.0.0.42"] {
        let first = ask(&client_at(&rig, source).await?, "").await?;
        for _ in 0..3 {
            assert_eq!(ask(&client_at(&rig, source).await?, "").await?, first);
        }
        members.insert(first);
    }
    assert_eq!(members.len(), 2);
    Ok(())
}

#[tokio::test]
async fn source_ip_port_gives_equal_clients_equal_members() -> anyhow::Result<()> {
    let (one, two) = (Member::start("1").await?, Member::start("2").await?);
    let mut rig = rig(1, &[&one, &two]).await?;
    rig.spec.pools[0].lb_algorithm = LbAlgorithm::SourceIpPort;
    rig.spec.listeners[0].timeout_client_data_ms = 50;
    rig.apply().await?;
    let client = client(&rig).await?;
    let first = ask(&client, "").await?;
    for sessions in 1..4 {
        rig.status(|status| {
            let counted = &status.listeners[0];
            counted.active_connections == 0 && counted.total_connections == sessions
        })
        .await?;
        assert_eq!(ask(&client, "").await?, first);
    }
    Ok(())
}

#[tokio::test]
async fn a_drained_member_keeps_its_sessions_and_one_that_is_removed_does_not() -> anyhow::Result<()>
{
    let (one, two) = (Member::start("1").await?, Member::start("2").await?);
    let mut rig = rig(1, &[&one, &two]).await?;
    let old = client(&rig).await?;
    let first = ask(&old, "").await?;
    let index = usize::from(first == "2");
    rig.spec.pools[0].members[index].weight = 0;
    rig.apply().await?;
    assert_eq!(ask(&old, "").await?, first);
    for _ in 0..3 {
        assert_ne!(ask(&client(&rig).await?, "").await?, first);
    }
    rig.spec.pools[0].members.remove(index);
    rig.apply().await?;
    assert_ne!(ask(&old, "").await?, first);
    Ok(())
}

#[tokio::test]
async fn a_member_that_refuses_loses_its_clients_to_the_others() -> anyhow::Result<()> {
    let (one, two) = (Member::start("1").await?, Member::start("2").await?);
    let mut rig = rig(1, &[&one, &two]).await?;
    let (a, b) = (client(&rig).await?, client(&rig).await?);
    let names = [ask(&a, "").await?, ask(&b, "").await?];
    assert_eq!(names, ["1", "2"]);
    one.stop().await;
    // This one is lost: its refusal tells.
    a.send(b"lost").await?;
    rig.status(|status| status.listeners[0].active_connections == 1)
        .await?;
    // Round robin may try the refusing one first, which costs a datagram again.
    let mut answered = None;
    for _ in 0..2 {
        a.send(b"").await?;
        if let Ok(answer) = timeout(PATIENCE / 20, hear(&a)).await {
            answered = Some(answer?);
            break;
        }
    }
    assert_eq!(answered.as_deref(), Some("2"));
    assert_eq!(ask(&b, "").await?, "2");
    Ok(())
}

#[tokio::test]
async fn beyond_the_limit_only_unanswered_sessions_give_way() -> anyhow::Result<()> {
    let silent = UdpSocket::bind("127.0.0.1:0").await?;
    let member = Member::start("1").await?;
    let mut rig = rig(1, &[&member]).await?;
    rig.spec.listeners[0].connection_limit = Some(2);
    rig.apply().await?;
    let (a, b) = (client(&rig).await?, client(&rig).await?);
    ask(&a, "").await?;
    ask(&b, "").await?;
    // Both are served: the third is not.
    let late = client(&rig).await?;
    late.send(b"late").await?;
    rig.status(|status| status.listeners[0].request_errors == 1)
        .await?;
    assert_eq!(ask(&a, "").await?, "1");
    // A member that answers nobody: whoever came last has the place.
    let mut quiet = pool(2, &[silent.local_addr()?]);
    quiet.protocol = PoolProtocol::Udp;
    rig.spec.pools.push(quiet);
    let mut other = listener(2, ListenerProtocol::Udp, PORT + 1, Some(2));
    other.connection_limit = Some(2);
    rig.spec.listeners.push(other);
    rig.apply().await?;
    let mut buffer = [0; 8];
    for number in 0..5_u8 {
        let client = UdpSocket::bind("127.0.0.1:0").await?;
        client.connect(rig.at(PORT + 1)).await?;
        client.send(&[number]).await?;
        let (length, _) = timeout(PATIENCE, silent.recv_from(&mut buffer)).await??;
        assert_eq!(buffer.get(..length), Some([number].as_slice()));
    }
    let status = rig
        .status(|status| status.listeners.len() == 2 && status.listeners[1].total_connections == 5)
        .await?;
    let counted = &status.listeners[1];
    assert_eq!((counted.active_connections, counted.request_errors), (2, 0));
    Ok(())
}

#[tokio::test]
async fn silent_sessions_end_and_a_change_elsewhere_ends_none() -> anyhow::Result<()> {
    let one = Member::start("1").await?;
    let mut rig = rig(1, &[&one]).await?;
    let client = client(&rig).await?;
    ask(&client, "").await?;
    // A TCP listener on the same port is another one.
    rig.spec.pools.push(pool(2, &[one.address]));
    rig.spec
        .listeners
        .push(listener(2, ListenerProtocol::Tcp, PORT, Some(2)));
    rig.apply().await?;
    ask(&client, "").await?;
    let status = rig.status(|status| status.listeners.len() == 2).await?;
    assert_eq!(status.listeners[0].total_connections, 1);
    rig.spec.listeners[0].timeout_client_data_ms = 100;
    rig.apply().await?;
    // The timer that runs still has the old time: the next session has the new one.
    rig.spec.listeners.remove(0);
    rig.apply().await?;
    rig.spec.listeners.insert(0, {
        let mut back = listener(3, ListenerProtocol::Udp, PORT, Some(1));
        back.timeout_client_data_ms = 100;
        back
    });
    rig.apply().await?;
    assert_eq!(ask(&client, "").await?, "1");
    rig.status(|status| {
        let back = status
            .listeners
            .iter()
            .find(|it| it.bytes_in == 0 && it.bytes_out == 1);
        back.is_some_and(|it| it.active_connections == 0 && it.total_connections == 1)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn without_a_member_datagrams_are_counted_as_errors() -> anyhow::Result<()> {
    let mut rig = rig(1, &[]).await?;
    client(&rig).await?.send(b"anyone?").await?;
    rig.status(|status| status.listeners[0].request_errors == 1)
        .await?;
    rig.shut_down().await
}

#[tokio::test]
async fn a_takeover_leaves_every_client_with_its_member() -> anyhow::Result<()> {
    let members = [
        Member::start("one ").await?,
        Member::start("two ").await?,
        Member::start("three ").await?,
    ];
    let mut rig = rig(2, &members.each_ref()).await?;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let client = client(&rig).await?;
        let answer = ask(&client, "x").await?;
        clients.push((client, answer));
    }
    let served: HashSet<_> = clients.iter().map(|(_, answer)| answer.clone()).collect();
    assert_eq!(served.len(), 3, "{served:?}");
    for workers in [3, 1] {
        rig.take_over(workers).await?;
        // It serves what it is told, as the one before did.
        rig.apply().await?;
        for (client, before) in &clients {
            assert_eq!(&ask(client, "x").await?, before);
        }
    }
    rig.shut_down().await
}
