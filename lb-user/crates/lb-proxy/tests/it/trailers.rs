//! Trailers, announced or not, and bodies on their way to members: as the member's bytes.

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    client::PATIENCE,
    member::{Behaviour, Member},
    rig::Rig,
};

/// Reads from a member's connection until it ends with `end`.
async fn until(stream: &mut TcpStream, end: &str) -> anyhow::Result<String> {
    let mut seen = Vec::new();
    let reading = async {
        while !seen.ends_with(end.as_bytes()) {
            anyhow::ensure!(stream.read_buf(&mut seen).await? > 0, "closed");
        }
        anyhow::Ok(())
    };
    let read = timeout(PATIENCE, reading).await;
    let text = String::from_utf8_lossy(&seen).into_owned();
    read.context(text.clone())??;
    Ok(text)
}

#[tokio::test]
async fn trailers_that_nobody_announced_reach_the_member() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let rig = Rig::serving(&[listener.local_addr()?]).await?;
    let mut client = rig.client().await?;
    client
        .send("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n")
        .await?;
    let (mut member, _) = timeout(PATIENCE, listener.accept()).await??;
    let request = until(&mut member, "\r\n\r\n").await?;
    let rest = if request.ends_with("0\r\nx-sum: 7\r\n\r\n") {
        String::new()
    } else {
        until(&mut member, "0\r\nx-sum: 7\r\n\r\n").await?
    };
    assert_eq!(
        request + &rest,
        "POST /up HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"
    );
    member
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        .await?;
    assert_eq!(client.answer().await?.body, "hi");
    // The connection is used again, and nothing is left of the request before.
    client
        .send("POST /again HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        .await?;
    assert_eq!(
        until(&mut member, "\r\n\r\nx").await?,
        "POST /again HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx"
    );
    Ok(())
}

#[tokio::test]
async fn large_bodies_reach_the_member_whole_in_both_framings() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Echoes).await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    let body: String = (0..300_000_u32)
        .map(|it| char::from(b'a' + u8::try_from(it % 23).unwrap_or(0)))
        .collect();
    for _ in 0..2 {
        let length = body.len();
        client
            .send(&format!(
                "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await?;
        assert!(client.answer().await?.body == body);
        let mut chunked = String::new();
        for part in body.as_bytes().chunks(70_001) {
            chunked += &format!("{:X}\r\n{}\r\n", part.len(), std::str::from_utf8(part)?);
        }
        client
            .send(&format!(
                "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"
            ))
            .await?;
        assert_eq!(client.answer().await?.code, 200);
    }
    assert_eq!(member.connections(), 1, "each left its connection clean");
    for request in member.requests().iter().skip(1).step_by(2) {
        let (_, mut rest) = request.split_once("\r\n\r\n").context("a head")?;
        let mut whole = String::new();
        while let Some((size, after)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16)?;
            whole += after.get(..size).context("a chunk")?;
            rest = after.get(size + 2..).unwrap_or_default();
        }
        assert!(whole == body);
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_passed_on() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let rig = Rig::serving(&[listener.local_addr()?]).await?;
    let mut client = rig.client().await?;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nbegin")
        .await?;
    let (mut member, _) = timeout(PATIENCE, listener.accept()).await??;
    until(&mut member, "begin").await?;
    member
        .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        .await?;
    let answer = client.answer().await?;
    assert_eq!((answer.code, answer.body.as_str()), (413, "big"));
    Ok(())
}

#[tokio::test]
async fn answers_that_are_none_are_502_and_their_connection_is_not_used_again() -> anyhow::Result<()>
{
    let member = Member::start(Behaviour::Raw(String::new())).await?;
    let rig = Rig::serving(&[member.address]).await?;
    for bad in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ] {
        member.behave(Behaviour::Raw(bad.to_owned()));
        let mut client = rig.client().await?;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
            .await?;
        assert_eq!(client.answer().await?.code, 502, "{bad:?}");
    }
    assert_eq!(member.connections(), 4);
    Ok(())
}
