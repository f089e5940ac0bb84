//! Requests that go well.

use lb_model::enums::ListenerProtocol;
use lb_model::spec::PortSpec;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    client::Client,
    member::{Behaviour, Member},
    rig::{PORT, Rig, listener, pool, subnet},
};

#[tokio::test]
async fn connections_are_kept_alive_on_both_sides() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    for n in 0..5 {
        let answer = client.get(&format!("/{n}")).await?;
        assert_eq!((answer.code, answer.body.as_str()), (200, "one"));
        assert_eq!(answer.header("connection"), None);
    }
    assert_eq!(member.connections(), 1);
    drop(client);
    let gone = |listener: &lb_model::spec::ListenerReport| {
        listener.total_connections > 0 && listener.active_connections == 0
    };
    let status = rig
        .status(|status| status.connections == 0 && status.listeners.iter().all(gone))
        .await?;
    let listener = status.listeners.first().expect("reported");
    assert_eq!(
        (listener.total_connections, listener.active_connections),
        (1, 0)
    );
    assert!(
        listener.bytes_in > 100 && listener.bytes_out > 100,
        "{listener:?}"
    );
    assert_eq!(listener.request_errors, 0);
    rig.shut_down().await
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Echoes).await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\
             POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n\
             POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nthree",
        )
        .await?;
    assert_eq!(client.answer().await?.body, "one");
    assert_eq!(client.answer().await?.body, "3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(client.answer().await?.body, "three");
    assert_eq!(client.rest().await?, "");
    Ok(())
}

#[tokio::test]
async fn large_bodies_pass_both_ways() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Echoes).await?;
    let rig = Rig::serving(&[member.address]).await?;
    let body = "0123456789abcdef".repeat(512 << 10);
    let client = rig.client().await?;
    let (mut reader, mut writer) = client.stream.into_split();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let sent = body.clone();
    let sending = lb_telemetry::task::spawn("send", async move {
        writer.write_all(head.as_bytes()).await?;
        writer.write_all(sent.as_bytes()).await?;
        anyhow::Ok(writer)
    });
    let mut answer = String::new();
    reader.read_to_string(&mut answer).await?;
    assert!(answer.ends_with(&body), "{} bytes came back", answer.len());
    drop(sending.await?);
    Ok(())
}

#[tokio::test]
async fn chunked_answers_and_answers_without_length_and_head_pass() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Raw(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: x\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
    ))
    .await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    let answer = client.get("/").await?;
    assert_eq!(
        (answer.body.as_str(), answer.header("keep-alive")),
        ("hello", None)
    );

    member.behave(Behaviour::RawThenClose(
        "HTTP/1.0 200 OK\r\n\r\nuntil the end".to_owned(),
    ));
    assert_eq!(client.get("/").await?.body, "until the end");

    member.behave(Behaviour::Raw(
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".to_owned(),
    ));
    client
        .send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await?;
    let answer = client.rest().await?;
    assert!(
        answer.contains("content-length: 7") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    Ok(())
}

#[tokio::test]
async fn http_1_0_clients_are_served_without_host() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    client.send("GET /old HTTP/1.0\r\n\r\n").await?;
    let answer = client.rest().await?;
    assert!(
        answer.starts_with("HTTP/1.0 200") && answer.ends_with("one"),
        "{answer}"
    );
    let request = member.requests().join("");
    assert_eq!(
        request,
        format!("GET /old HTTP/1.1\r\nhost: {}\r\n\r\n", rig.at(PORT))
    );
    Ok(())
}

#[tokio::test]
async fn half_closed_clients_get_their_answer() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Late(std::time::Duration::from_millis(50))).await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    client.stream.shutdown().await?;
    assert_eq!(client.answer().await?.body, "late");
    Ok(())
}

#[tokio::test]
async fn forwarded_headers_are_inserted_when_asked() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let names = ["X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"];
    for listener in &mut rig.spec.listeners {
        listener.insert_headers = names.map(str::to_owned).to_vec();
    }
    rig.apply().await?;
    let mut client = rig.client().await?;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n")
        .await?;
    client.answer().await?;
    let request = member.requests().join("");
    assert!(
        request.contains("x-forwarded-for: 192.0.2.9\r\nx-forwarded-for: 127.0.0.1\r\n"),
        "{request}"
    );
    assert!(request.contains("x-forwarded-port: 8080\r\n"), "{request}");
    assert!(request.contains("x-forwarded-proto: http\r\n"), "{request}");
    Ok(())
}

#[tokio::test]
async fn websockets_pass_through_and_outlive_changes() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Switches).await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    client
        .send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n")
        .await?;
    let answer = client.answer().await?;
    assert_eq!(
        (answer.code, answer.header("upgrade")),
        (101, Some("websocket"))
    );
    for text in ["not HTTP\n", "\0\r\r\n"] {
        client.send(text).await?;
        let mut echo = vec![0; text.len()];
        client.stream.read_exact(&mut echo).await?;
        assert_eq!(echo, text.as_bytes());
        rig.spec.listeners.clear();
        rig.apply().await?;
    }
    assert_eq!(rig.status(|_| true).await?.connections, 1);
    drop(client);
    rig.status(|status| status.connections == 0).await?;
    Ok(())
}

#[tokio::test]
async fn members_are_reached_from_the_amphoras_own_address() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    for amphora in &mut rig.spec.amphorae {
        amphora.ports = vec![PortSpec {
            subnet_id: subnet(),
            address: "127.0.0.77".parse()?,
        }];
    }
    rig.apply().await?;
    assert_eq!(rig.client().await?.get("/").await?.code, 200);
    let from: Vec<_> = member
        .peers()
        .iter()
        .map(|peer| peer.ip().to_string())
        .collect();
    assert_eq!(from, ["127.0.0.77"]);
    Ok(())
}

#[tokio::test]
async fn several_workers_and_listeners_share_one_amphora() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::start_with(3, None).await?;
    rig.spec.pools = vec![pool(1, &[member.address])];
    rig.spec.listeners = vec![
        listener(1, ListenerProtocol::Http, PORT, Some(1)),
        listener(2, ListenerProtocol::Http, PORT + 1, Some(1)),
    ];
    rig.apply().await?;
    for _ in 0..10 {
        for port in [PORT, PORT + 1] {
            assert_eq!(
                Client::connect(rig.at(port)).await?.get("/").await?.code,
                200
            );
        }
    }
    rig.status(|status| {
        let totals = status
            .listeners
            .iter()
            .map(|listener| listener.total_connections);
        status.connections == 0 && totals.eq([10, 10])
    })
    .await?;
    rig.shut_down().await
}

#[tokio::test]
async fn a_trace_goes_through_unchanged() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let rig = Rig::serving(&[member.address]).await?;
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=1,b=2\r\n";
    let mut client = rig.client().await?;
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n",
    ] {
        client.send(&format!("{head}{trace}\r\n")).await?;
        assert_eq!(client.answer().await?.code, 200);
    }
    let requests = member.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert!(request.contains(trace), "{request}");
    }
    Ok(())
}
