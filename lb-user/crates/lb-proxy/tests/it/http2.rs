//! HTTP/2 from clients: served like HTTP/1, and floods of frames that end their connection only.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::{
    body::Frame,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_model::enums::{L7PolicyAction, ListenerProtocol};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    client::PATIENCE,
    member::{Behaviour, Member},
    rig::{PORT, Rig, listener, policy, pool},
    tls::{Certificate, certificate, trusting},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

struct World {
    rig: Rig,
    member: Member,
    certificate: Certificate,
}

async fn world() -> anyhow::Result<World> {
    let certificate = certificate("one", &["one.test"])?;
    let member = Member::named("one").await?;
    let mut rig = Rig::start().await?;
    let mut https = listener(1, ListenerProtocol::TerminatedHttps, PORT, Some(1));
    https.default_certificate = Some("one".to_owned());
    https.insert_headers = vec!["X-Forwarded-Proto".to_owned()];
    https.l7policies = vec![policy(L7PolicyAction::Reject, "/secret")];
    rig.spec.listeners = vec![https];
    rig.spec.pools = vec![pool(1, &[member.address])];
    rig.spec.certificates = vec![certificate.spec.clone()];
    rig.apply().await?;
    Ok(World {
        rig,
        member,
        certificate,
    })
}

impl World {
    async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let mut config = trusting(&[&self.certificate])?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.rig.at(PORT)).await?;
        let name = ServerName::try_from("one.test")?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        ensure!(stream.get_ref().1.alpn_protocol() == Some(&b"h2"[..]));
        Ok(stream)
    }

    async fn client(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TokioIo::new(self.connect().await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        lb_telemetry::task::spawn("test client", connection);
        Ok(sender)
    }
}

async fn get(
    sender: &mut SendRequest<Full<Bytes>>,
    path: &str,
    body: &'static str,
) -> anyhow::Result<(u16, String)> {
    let request = Request::post(format!("https://one.test{path}"))
        .version(Version::HTTP_2)
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::from(body))?;
    let response = timeout(PATIENCE, sender.send_request(request)).await??;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec())?))
}

#[tokio::test]
async fn streams_go_through_the_same_policies_and_pools() -> anyhow::Result<()> {
    let world = world().await?;
    let mut sender = world.client().await?;
    assert_eq!(get(&mut sender, "/a?b", "").await?, (200, "one".to_owned()));
    assert_eq!(get(&mut sender, "/secret", "").await?.0, 403);
    world.member.behave(Behaviour::Echoes);
    let mut others = Vec::new();
    for number in 0..20 {
        let mut sender = sender.clone();
        others.push(lb_telemetry::task::spawn("test stream", async move {
            get(&mut sender, &format!("/{number}"), "a body").await
        }));
    }
    for other in others {
        let answer = other.await?.context("panicked")??;
        assert_eq!(answer, (200, "a body".to_owned()));
    }
    let requests = world.member.requests();
    let first = requests.first().context("a request")?;
    assert!(first.starts_with("POST /a?b HTTP/1.1\r\n"), "{first}");
    for line in [
        "host: one.test",
        "cookie: a=1; b=2",
        "x-forwarded-proto: https",
    ] {
        assert!(first.contains(&format!("{line}\r\n")), "{line} in {first}");
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up_and_the_others_go_on() -> anyhow::Result<()> {
    let mut world = world().await?;
    world.rig.spec.listeners[0].timeout_client_data_ms = 500;
    world.rig.apply().await?;
    world.member.behave(Behaviour::Echoes);
    let stream = TokioIo::new(world.connect().await?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    lb_telemetry::task::spawn("test client", connection);
    let never = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let stuck = StreamBody::new(never).boxed();
    let stuck = sender.send_request(Request::post("https://one.test/").body(stuck)?);
    let whole = Full::from("whole").boxed();
    // Side by side: the connection is never idle, however slow this machine is.
    let whole = sender.send_request(Request::post("https://one.test/").body(whole)?);
    let (stuck, whole) = timeout(PATIENCE, async { tokio::join!(stuck, whole) }).await?;
    assert_eq!(
        (stuck?.status().as_u16(), whole?.status().as_u16()),
        (408, 200)
    );
    Ok(())
}

/// As gRPC does it.
#[tokio::test]
async fn trailers_go_both_ways() -> anyhow::Result<()> {
    let world = world().await?;
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n";
    world.member.behave(Behaviour::Raw(answer.to_owned()));
    let stream = TokioIo::new(world.connect().await?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    lb_telemetry::task::spawn("test client", connection);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("7"));
    let frames = [Frame::data(Bytes::from("abc")), Frame::trailers(trailers)];
    // Of unknown length: a length that is said leaves no room for trailers in HTTP/1.
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
    let request = Request::post("https://one.test/svc/method").body(body)?;
    let response = timeout(PATIENCE, sender.send_request(request)).await??;
    let answer = timeout(PATIENCE, response.into_body().collect()).await??;
    let status = answer.trailers().and_then(|it| it.get("grpc-status"));
    assert_eq!(status.map(http::HeaderValue::as_bytes), Some(&b"0"[..]));
    assert_eq!(answer.to_bytes(), "hi");
    let requests = world.member.requests();
    let request = requests.first().context("a request")?;
    assert!(
        request.ends_with("\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"),
        "{request}"
    );
    Ok(())
}

#[tokio::test]
async fn a_drain_says_goodbye_and_loses_nothing() -> anyhow::Result<()> {
    let mut world = world().await?;
    let mut sender = world.client().await?;
    assert_eq!(get(&mut sender, "/", "").await?.0, 200);
    let drain = lb_model::amphora::ToAmphora::Drain { draining: true };
    world.rig.agent.say(&drain).await?;
    // The order has no answer of its own; a configuration behind it has.
    world.rig.apply().await?;
    assert_eq!(get(&mut sender, "/", "").await?.0, 200);
    let closed = async {
        while !sender.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await?;
    Ok(())
}

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(content.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

/// `GET / ` of one.test in literals without indexing.
fn head() -> Vec<u8> {
    let mut head = vec![0x82, 0x87, 0x84];
    head.extend([0x01, 8]);
    head.extend(b"one.test");
    head
}

/// Sends `flood` over and over; the connection must end before `limit` of it were taken.
async fn ends(world: &World, begin: &[u8], flood: impl Fn(u32) -> Vec<u8>) -> anyhow::Result<()> {
    let stream = world.connect().await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    writer.write_all(PREFACE).await?;
    writer.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    writer.write_all(begin).await?;
    let sending = async {
        for number in 0..1_000_000 {
            if writer.write_all(&flood(number)).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        let mut waste = vec![0; 64 << 10];
        while reader.read(&mut waste).await.is_ok_and(|read| read > 0) {}
    };
    timeout(PATIENCE, async {
        tokio::select! {
            () = sending => {}
            () = reading => {}
        }
    })
    .await
    .context("the flood goes on")?;
    // The others are served all the same.
    let mut sender = world.client().await?;
    ensure!(get(&mut sender, "/", "").await?.0 == 200);
    Ok(())
}

#[tokio::test]
async fn settings_and_ping_floods_end_their_connection() -> anyhow::Result<()> {
    let world = world().await?;
    ends(&world, &[], |_| frame(SETTINGS, 0, 0, &[])).await?;
    ends(&world, &[], |_| frame(PING, 0, 0, &[0; 8])).await
}

#[tokio::test]
async fn rapid_resets_end_their_connection() -> anyhow::Result<()> {
    let world = world().await?;
    world
        .member
        .behave(Behaviour::Late(Duration::from_secs(30)));
    let reset = |number: u32| {
        let stream = 2 * number + 1;
        let mut frames = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head());
        frames.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        frames
    };
    let stream = world.connect().await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    writer.write_all(PREFACE).await?;
    writer.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let sending = async {
        for number in 0..100_000 {
            if writer.write_all(&reset(number)).await.is_err() || writer.flush().await.is_err() {
                return number;
            }
            // One at a time, so that each stream is taken up before it is reset.
            tokio::task::yield_now().await;
        }
        u32::MAX
    };
    let reading = async {
        let mut waste = vec![0; 64 << 10];
        while reader.read(&mut waste).await.is_ok_and(|read| read > 0) {}
        0
    };
    let sent = timeout(PATIENCE, async {
        tokio::select! {
            sent = sending => sent,
            sent = reading => sent,
        }
    });
    ensure!(sent.await? < 100_000, "resets go on");
    Ok(())
}

#[tokio::test]
async fn endless_heads_end_their_connection() -> anyhow::Result<()> {
    let world = world().await?;
    let begin = frame(HEADERS, END_STREAM, 1, &head());
    // A literal of 1000 bytes, again and again, and never the end.
    let mut literal = vec![0x00, 1, b'a', 0x7f, 0xe9, 0x06];
    literal.extend([b'x'; 1000]);
    ends(&world, &begin, |_| frame(CONTINUATION, 0, 1, &literal)).await?;
    ends(&world, &begin, |_| frame(CONTINUATION, 0, 1, &[])).await
}

/// One large field in the table, then a byte each time it is named.
#[tokio::test]
async fn a_head_that_unfolds_beyond_the_limit_is_refused() -> anyhow::Result<()> {
    let world = world().await?;
    let mut bomb = head();
    bomb.extend([0x40, 1, b'a', 0x7f, 0xa1, 0x1e]);
    bomb.extend([b'x'; 4000]);
    bomb.extend([0xbe; 4000]);
    let stream = world.connect().await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    writer.write_all(PREFACE).await?;
    writer.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    writer.write_all(&head).await?;
    writer.flush().await?;
    let mut seen = Vec::new();
    let refused = async {
        loop {
            let mut buffer = vec![0; 16 << 10];
            let read = reader.read(&mut buffer).await.unwrap_or(0);
            seen.extend_from_slice(&buffer[..read]);
            // RST_STREAM, GOAWAY or an answer 431 for stream 1, or the end.
            if read == 0 || seen.len() > 80 {
                return;
            }
        }
    };
    timeout(Duration::from_secs(5), refused).await.ok();
    assert_eq!(world.member.requests(), Vec::<String>::new());
    Ok(())
}
