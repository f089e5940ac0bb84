//! The strict gate: what clients are told, and what reaches the member.

use anyhow::Context as _;

use lb_model::enums::L7PolicyAction;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    client::Client,
    member::{Behaviour, Member},
    rig::{Rig, policy},
};

const REFUSED: &[&str] = &[
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n",
    "GET ! HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    "G\u{e9}T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "GET http://other/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "POST * HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx",
    "REFUSED-BY-GATE / HTTP/1.1\r\nHost: a\r\n\r\n",
];

#[tokio::test]
async fn heads_without_one_meaning_are_400_and_reach_nobody() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    for head in REFUSED {
        let mut client = rig.client().await?;
        client.send(head).await?;
        let answer = client.answer().await?;
        assert_eq!(answer.code, 400, "{head:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{head:?}");
        assert_eq!(client.rest().await?, "", "{head:?}");
    }
    assert_eq!(member.requests(), Vec::<String>::new());
    let refused = u64::try_from(REFUSED.len())?;
    rig.status(|status| {
        status
            .listeners
            .iter()
            .all(|listener| listener.request_errors == refused)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn every_head_of_a_connection_is_seen() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Echoes).await?;
    let rig = Rig::serving(&[member.address]).await?;
    for bad in REFUSED {
        let mut client = rig.client().await?;
        let good = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none";
        client.send(&format!("{good}{good}{bad}{good}")).await?;
        assert_eq!(client.answer().await?.body, "one", "{bad:?}");
        assert_eq!(client.answer().await?.body, "one", "{bad:?}");
        let answer = client.answer().await.with_context(|| format!("{bad:?}"))?;
        assert_eq!(answer.code, 400, "{bad:?}");
        assert_eq!(client.rest().await?, "", "{bad:?}");
    }
    let expected = "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\none";
    let requests = member.requests();
    assert_eq!(requests.len(), 2 * REFUSED.len());
    assert!(
        requests.iter().all(|request| request == expected),
        "{requests:?}"
    );
    Ok(())
}

#[tokio::test]
async fn malformed_chunks_are_400_and_do_not_poison_the_members_connection() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Echoes).await?;
    let rig = Rig::serving(&[member.address]).await?;
    for body in [
        "0_2e\r\n",
        "+1\r\nx\r\n",
        "1 \r\nx\r\n",
        "1\nx\r\n",
        "1\r\nxy\r\n",
        "x\r\n",
        "0\r\nbad header\r\n\r\n",
    ] {
        let mut client = rig.client().await?;
        client
            .send(&format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n{body}"))
            .await?;
        let answer = client.answer().await?;
        assert_eq!(answer.code, 400, "{body:?}");
        assert_eq!(client.rest().await?, "", "{body:?}");
        assert_eq!(rig.client().await?.get("/").await?.code, 200, "{body:?}");
    }
    let answered: Vec<_> = member.requests();
    assert!(
        answered.iter().all(|request| request.starts_with("GET / ")),
        "{answered:?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_answer_is_seen_although_the_client_goes_on_sending() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    for listener in &mut rig.spec.listeners {
        listener.l7policies = vec![policy(L7PolicyAction::Reject, "/no")];
    }
    rig.apply().await?;
    let much = "x".repeat(8 << 20);
    let length = much.len();
    for (head, code) in [
        (
            format!("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"),
            403,
        ),
        (
            format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"),
            400,
        ),
    ] {
        let client = rig.client().await?;
        let (reader, mut writer) = client.stream.into_split();
        let mut client = Client::over(tokio::io::join(reader, tokio::io::sink()));
        let much = much.clone();
        let sending = lb_telemetry::task::spawn("send", async move {
            writer.write_all(head.as_bytes()).await?;
            writer.write_all(much.as_bytes()).await
        });
        assert_eq!(client.answer().await?.code, code);
        sending.abort();
    }
    Ok(())
}

#[tokio::test]
async fn a_head_that_dribbles_in_passes_unchanged() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    let head = "PUT /a%2Fb?c=d HTTP/1.1\r\nHost: a\r\nX-Y: z\r\nContent-Length: 2\r\n\r\nhi";
    for byte in head.chars() {
        client.send(&byte.to_string()).await?;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer().await?.code, 200);
    client
        .send("GET http://A/abs?q HTTP/1.1\r\nHost: a\r\n\r\n")
        .await?;
    assert_eq!(client.answer().await?.code, 200);
    client
        .send("GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n")
        .await?;
    assert_eq!(client.answer().await?.code, 200);
    let requests = member.requests();
    assert!(
        requests[0].starts_with("PUT /a%2Fb?c=d HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert!(requests[0].ends_with("\r\n\r\nhi"), "{requests:?}");
    assert!(
        requests[1].starts_with("GET /abs?q HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert!(
        requests[2].starts_with("GET /?q HTTP/1.1\r\n"),
        "{requests:?}"
    );
    Ok(())
}

#[tokio::test]
async fn heads_beyond_the_limits_are_431() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let rig = Rig::serving(&[member.address]).await?;
    let fits = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "y".repeat(60 << 10)
    );
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "y".repeat(64 << 10)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(128)
    );
    for (head, code) in [(fits, 200), (long, 431), (many, 431)] {
        let mut client = rig.client().await?;
        client.send(&head).await?;
        assert_eq!(client.answer().await?.code, code, "{} bytes", head.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_length_said_twice_is_passed_on_once() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Echoes).await?;
    let rig = Rig::serving(&[member.address]).await?;
    for (method, length, body) in [("POST", 2, "hi"), ("GET", 0, "")] {
        let mut client = rig.client().await?;
        let line = format!("Content-Length: {length}\r\n");
        client
            .send(&format!(
                "{method} / HTTP/1.1\r\nHost: a\r\n{line}X-Between: y\r\n{line}\r\n{body}"
            ))
            .await?;
        assert_eq!(client.answer().await?.body, body);
        assert_eq!(client.get("/").await?.code, 200);
    }
    let requests = member.requests();
    for request in &requests {
        assert!(request.matches("content-length").count() <= 1, "{request}");
    }
    assert_eq!(requests.len(), 4, "{requests:?}");
    Ok(())
}

#[tokio::test]
async fn options_for_the_whole_server_reaches_the_member_as_such() -> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    assert_eq!(client.answer().await?.code, 200);
    let requests = member.requests();
    assert_eq!(requests, ["OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"]);
    Ok(())
}

#[tokio::test]
async fn early_hints_come_before_the_answer_and_an_unasked_continue_does_not() -> anyhow::Result<()>
{
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let member = Member::start(Behaviour::Raw(format!("{interim}{answer}"))).await?;
    let rig = Rig::serving(&[member.address]).await?;
    let mut client = rig.client().await?;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        let head = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        let mut seen = vec![0; head.len()];
        client.stream.read_exact(&mut seen).await?;
        assert_eq!(String::from_utf8(seen)?, head);
    }
    Ok(())
}
