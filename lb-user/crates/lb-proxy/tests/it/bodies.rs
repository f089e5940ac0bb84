//! Large bodies of answers: through a pipe where both ends are sockets, copied otherwise.

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Duration, timeout},
};

use crate::{
    client::PATIENCE,
    member::{Behaviour, Member},
    rig::Rig,
};

/// No two of its parts are alike.
fn text(length: usize) -> String {
    (0_u32..)
        .flat_map(|number| format!("{number:x},").into_bytes())
        .take(length)
        .map(char::from)
        .collect()
}

#[tokio::test]
async fn bodies_of_any_size_arrive_whole_and_their_connection_is_used_again() -> anyhow::Result<()>
{
    let member = Member::named("").await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    let edges = [16 << 10, 64 << 10, 80 << 10, 128 << 10];
    let sizes = edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1]);
    for size in sizes.chain([1 << 20, (3 << 20) + 7]) {
        let body = text(size);
        member.behave(Behaviour::Says(body.clone()));
        for path in ["/first", "/again"] {
            let answer = client.get(path).await?;
            assert!(answer.body == body, "{size}: {}", answer.body.len());
        }
    }
    assert_eq!(member.connections(), 1, "each left its connection clean");
    Ok(())
}

#[tokio::test]
async fn large_chunked_bodies_arrive_whole_and_their_connection_is_used_again() -> anyhow::Result<()>
{
    let body = text(1 << 20);
    let mut chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for chunk in body.as_bytes().chunks(100_000) {
        let chunk = std::str::from_utf8(chunk)?;
        chunked += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    chunked += "0\r\n\r\n";
    let member = Member::start(Behaviour::Raw(chunked)).await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    for _ in 0..3 {
        assert!(client.get("/").await?.body == body);
    }
    assert_eq!(member.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_within_a_body_leaves_nothing_to_others() -> anyhow::Result<()> {
    let body = text(32 << 20);
    let member = Member::start(Behaviour::Says(body)).await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    for _ in 0..3 {
        let mut client = rig.client().await?;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        client.stream.read_exact(&mut vec![0; 1 << 20]).await?;
    }
    rig.status(|status| status.connections == 0).await?;
    assert_eq!(member.connections(), 3, "none was used again");
    member.behave(Behaviour::Says("clean".to_owned()));
    assert_eq!(rig.client().await?.get("/").await?.body, "clean");
    Ok(())
}

#[tokio::test]
async fn a_member_that_ends_within_a_body_is_told_by_an_end_and_not_used_again()
-> anyhow::Result<()> {
    let part = text(1 << 20);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 << 20);
    let member = Member::start(Behaviour::RawThenClose(head + &part)).await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let answer = client.rest().await?;
    let (_, came) = answer.split_once("\r\n\r\n").context("a head")?;
    assert!(came == part, "what came was given, and no byte more");
    member.behave(Behaviour::Says("clean".to_owned()));
    let mut client = rig.client().await?;
    assert_eq!(client.get("/").await?.body, "clean");
    assert_eq!(member.connections(), 2);
    Ok(())
}

#[tokio::test]
async fn what_follows_a_body_unasked_is_nobodys_answer() -> anyhow::Result<()> {
    let body = text(200 << 10);
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let whole = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}{poison}",
        body.len()
    );
    let member = Member::start(Behaviour::Raw(whole)).await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    for _ in 0..5 {
        assert!(client.get("/").await?.body == body);
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_member_back() -> anyhow::Result<()> {
    const TOTAL: usize = 256 << 20;
    const HELD_MAX: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let rig = Rig::serving(&[listener.local_addr()?]).await?;
    let mut client = rig.client().await?;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let (mut member, _) = timeout(PATIENCE, listener.accept()).await??;
    member.read_exact(&mut [0; 20]).await?;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n");
    member.write_all(head.as_bytes()).await?;
    let block = vec![b'x'; 1 << 20];
    let mut sent = 0;
    // What is held is in the kernel's buffers of four sockets and a pipe.
    while let Ok(written) = timeout(Duration::from_secs(1), member.write(&block)).await {
        sent += written?;
        assert!(sent < HELD_MAX, "{sent} bytes are held somewhere");
    }
    let rest = lb_telemetry::task::spawn("rest of the body", async move {
        pour(&mut member, TOTAL - sent, &block).await?;
        anyhow::Ok(member)
    });
    let mut left = head.len() + TOTAL;
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let read = timeout(PATIENCE, client.stream.read(&mut buffer)).await??;
        anyhow::ensure!(read > 0, "closed with {left} bytes to come");
        left -= read;
    }
    drop(rest.await?.context("panicked")??);
    Ok(())
}

async fn pour(to: &mut TcpStream, mut bytes: usize, block: &[u8]) -> anyhow::Result<()> {
    while bytes > 0 {
        let part = block.get(..bytes.min(block.len())).context("a part")?;
        to.write_all(part).await?;
        bytes -= part.len();
    }
    Ok(())
}
