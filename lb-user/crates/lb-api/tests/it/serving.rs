//! The API on a real socket: where it may listen, and how it stops.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use lb_api::{ServeError, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::support::Api;

const SOON: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let length = timeout(SOON, stream.read(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

type Serving = JoinHandle<Option<Result<(), ServeError>>>;

/// Where the API is served from now on, how to end that, and what becomes of it.
fn served(api: &Api) -> (SocketAddr, CancellationToken, Serving) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let serving = serve(listener, api.state.clone(), shutdown.clone());
    let serving = lb_telemetry::task::spawn("serving", serving);
    (address, shutdown, serving)
}

#[tokio::test]
async fn without_authentication_only_loopback_is_served() {
    let api = Api::start().await;
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let refused = serve(everywhere, api.state.clone(), CancellationToken::new()).await;
    assert!(
        matches!(refused, Err(ServeError::NotLoopback(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_shutdown() {
    let api = Api::start().await;
    let (address, shutdown, serving) = served(&api);
    let mut kept_alive = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        kept_alive.write_all(REQUEST).await.unwrap();
        let text = answer(&mut kept_alive).await;
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        assert!(text.contains("x-openstack-request-id: req-"), "{text}");
    }
    let _silent = TcpStream::connect(address).await.unwrap();
    shutdown.cancel();
    let served = timeout(SOON, serving).await.unwrap().unwrap().unwrap();
    assert!(served.is_ok(), "{served:?}");
    assert!(TcpStream::connect(address).await.is_err());
}

/// The answer to a request whose body comes after its head, as most clients send it.
async fn refused(stream: &mut TcpStream, line: &str, more: &str, length: usize) -> String {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(&vec![b'{'; length]).await.unwrap();
    answer(stream).await
}

#[tokio::test]
async fn a_connection_outlives_a_refusal_made_before_the_body_is_read() {
    let api = Api::start_with(|config| {
        config.auth_strategy = lb_api::AuthStrategy::Keystone;
        config.body_bytes_max = 1 << 16;
    })
    .await;
    let (address, shutdown, serving) = served(&api);
    let mut kept = TcpStream::connect(address).await.unwrap();
    for (line, more, length, status) in [
        ("POST /healthcheck", "", 2, "405"),
        ("POST /v1", "", 2, "405"),
        ("PATCH /", "", 2, "405"),
        ("POST /", "Accept: text/html\r\n", 2, "406"),
        ("POST /", "", 1 << 20, "413"),
        ("DELETE /", "", 9, "405"),
        ("OPTIONS /v2/lbaas/pools", "", 2, "200"),
    ] {
        let text = refused(&mut kept, line, more, length).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status}")),
            "{line}: {text}"
        );
        assert!(!text.contains("connection: close"), "{line}: {text}");
    }
    // Longer than anybody reads to no purpose: the answer says so.
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n";
    kept.write_all(head.as_bytes()).await.unwrap();
    let text = answer(&mut kept).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert!(text.contains("connection: close"), "{text}");
    shutdown.cancel();
    drop(kept);
    assert!(
        timeout(SOON, serving)
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .is_ok()
    );
}
