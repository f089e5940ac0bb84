//! TCP listeners through the amphora.

use std::net::SocketAddr;

use anyhow::Context as _;
use lb_model::{
    enums::{ListenerProtocol, PoolProtocol, SessionPersistenceType},
    resource::SessionPersistence,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Duration, timeout},
};

use crate::{
    client::PATIENCE,
    rig::{PORT, Rig, listener, pool},
};

async fn rig(members: &[SocketAddr], protocol: ListenerProtocol) -> anyhow::Result<Rig> {
    let mut rig = Rig::start().await?;
    let mut pool = pool(1, members);
    pool.protocol = PoolProtocol::Tcp;
    rig.spec.pools = vec![pool];
    rig.spec.listeners = vec![listener(1, protocol, PORT, Some(1))];
    rig.apply().await?;
    Ok(rig)
}

async fn member() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    Ok(timeout(PATIENCE, listener.accept())
        .await
        .context("nobody came")??
        .0)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_ends_pass_on() -> anyhow::Result<()> {
    let (listener, address) = member().await?;
    for protocol in [ListenerProtocol::Tcp, ListenerProtocol::Https] {
        let mut rig = rig(&[address], protocol).await?;
        let mut client = TcpStream::connect(rig.at(PORT)).await?;
        let mut server = accept(&listener).await?;
        // The server may speak first.
        server.write_all(b"hello").await?;
        let mut five = [0; 5];
        client.read_exact(&mut five).await?;
        assert_eq!(&five, b"hello");
        client.write_all(b"question").await?;
        client.shutdown().await?;
        let mut question = String::new();
        server.read_to_string(&mut question).await?;
        assert_eq!(question, "question");
        server.write_all(b"answer").await?;
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await?;
        assert_eq!(answer, "answer");
        let status = rig
            .status(|status| status.connections == 0 && status.listeners[0].bytes_out > 0)
            .await?;
        let counted = &status.listeners[0];
        assert_eq!((counted.bytes_in, counted.bytes_out), (8, 11));
        assert_eq!(
            (counted.total_connections, counted.active_connections),
            (1, 0)
        );
    }
    Ok(())
}

#[tokio::test]
async fn bulk_arrives_whole_and_is_counted() -> anyhow::Result<()> {
    let (listener, address) = member().await?;
    let mut rig = rig(&[address], ListenerProtocol::Tcp).await?;
    let client = TcpStream::connect(rig.at(PORT)).await?;
    let server = accept(&listener).await?;
    let bytes: Vec<u8> = (0..24_u32 << 20)
        .map(|at| ((at * 31) >> 7).to_le_bytes()[0])
        .collect();
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let (up, down) = (bytes.clone(), bytes.clone());
    let sending = lb_telemetry::task::spawn("up", async move {
        client_write.write_all(&up).await?;
        client_write.shutdown().await
    });
    let answering = lb_telemetry::task::spawn("down", async move {
        server_write.write_all(&down).await?;
        server_write.shutdown().await
    });
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    let (one, other) = tokio::join!(
        server_read.read_to_end(&mut at_server),
        client_read.read_to_end(&mut at_client)
    );
    one?;
    other?;
    sending.await?.context("panicked")??;
    answering.await?.context("panicked")??;
    assert!(at_server == bytes && at_client == bytes);
    let status = rig
        .status(|status| status.connections == 0 && status.listeners[0].bytes_out > 0)
        .await?;
    let total = u64::try_from(bytes.len())?;
    let counted = &status.listeners[0];
    assert_eq!((counted.bytes_in, counted.bytes_out), (total, total));
    Ok(())
}

#[tokio::test]
async fn proxy_headers_come_first_and_members_that_refuse_are_left() -> anyhow::Result<()> {
    let (gone, dead) = member().await?;
    drop(gone);
    let (listener, address) = member().await?;
    let mut rig = rig(&[dead, address], ListenerProtocol::Tcp).await?;
    rig.spec.pools[0].protocol = PoolProtocol::Proxy;
    rig.apply().await?;
    for _ in 0..2 {
        let mut client = TcpStream::connect(rig.at(PORT)).await?;
        client.write_all(b"body").await?;
        client.shutdown().await?;
        let mut text = String::new();
        accept(&listener).await?.read_to_string(&mut text).await?;
        let port = client.local_addr()?.port();
        assert_eq!(
            text,
            format!("PROXY TCP4 127.0.0.1 {} {port} {PORT}\r\nbody", rig.vip)
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_client_stays_on_its_member() -> anyhow::Result<()> {
    let (one, first) = member().await?;
    let (other, second) = member().await?;
    let mut rig = rig(&[first, second], ListenerProtocol::Tcp).await?;
    rig.spec.pools[0].session_persistence = Some(SessionPersistence {
        kind: SessionPersistenceType::SourceIp,
        cookie_name: None,
        persistence_timeout: None,
        persistence_granularity: None,
    });
    rig.apply().await?;
    let to = rig.at(PORT);
    let connect = |source: &'static str| async move {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source.parse()?, 0))?;
        anyhow::Ok(socket.connect(to).await?)
    };
    for _ in 0..3 {
        let _client = connect("127.0.0.31").await?;
        accept(&one).await?;
        let _client = connect("127.0.0.32").await?;
        accept(&other).await?;
    }
    Ok(())
}

#[tokio::test]
async fn silent_connections_end_and_without_members_there_is_none() -> anyhow::Result<()> {
    let (listener, address) = member().await?;
    let mut rig = rig(&[address], ListenerProtocol::Tcp).await?;
    rig.spec.listeners[0].timeout_client_data_ms = 200;
    rig.apply().await?;
    let mut client = TcpStream::connect(rig.at(PORT)).await?;
    let mut server = accept(&listener).await?;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(80)).await;
        server.write_all(b"x").await?;
    }
    let mut text = String::new();
    timeout(PATIENCE, client.read_to_string(&mut text)).await??;
    assert_eq!(text, "xxxxxx");
    rig.spec.pools[0].members.clear();
    rig.apply().await?;
    let mut client = TcpStream::connect(rig.at(PORT)).await?;
    let read = timeout(PATIENCE, client.read(&mut [0; 1])).await?;
    assert!(matches!(read, Ok(0) | Err(_)));
    rig.status(|status| status.listeners[0].request_errors == 1)
        .await?;
    Ok(())
}
