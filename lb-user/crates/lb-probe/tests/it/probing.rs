//! A member goes up and down as its server does.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use lb_model::id::{MemberId, PoolId};
use lb_probe::{
    codes::ExpectedCodes,
    health::Thresholds,
    monitor::{Check, ProbePlan},
    schedule::Prober,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
    time::timeout,
};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(10);

/// A server whose answer can be changed; `None` accepts and stays silent.
async fn server(
    address: &str,
) -> anyhow::Result<(
    SocketAddr,
    watch::Sender<Option<&'static str>>,
    Arc<std::sync::Mutex<Vec<String>>>,
)> {
    let listener = TcpListener::bind(address).await?;
    let at = listener.local_addr()?;
    let (sender, receiver) = watch::channel(Some("HTTP/1.1 200 OK\r\n\r\n"));
    let heads = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    lb_telemetry::task::spawn("test server", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = *receiver.borrow();
            let seen = Arc::clone(&seen);
            lb_telemetry::task::spawn("test connection", async move {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                head.truncate(read);
                if let Ok(mut seen) = seen.lock() {
                    seen.push(String::from_utf8_lossy(&head).into_owned());
                }
                match answer {
                    Some(answer) => stream.write_all(answer.as_bytes()).await.is_ok(),
                    None => stream.read(&mut head).await.is_ok(),
                }
            });
        }
    });
    Ok((at, sender, heads))
}

fn plan(target: SocketAddr, check: Check) -> ProbePlan {
    ProbePlan {
        pool_id: PoolId(Uuid::from_u128(1)),
        member_id: MemberId(Uuid::from_u128(2)),
        target,
        source: None,
        check,
        delay: Duration::from_millis(20),
        timeout: Duration::from_millis(200),
        thresholds: Thresholds { rise: 2, fall: 2 },
        last_known_up: None,
    }
}

fn get() -> Check {
    Check::Http {
        request: b"GET /health HTTP/1.0\r\n\r\n".to_vec(),
        expected: ExpectedCodes::parse("200-204"),
    }
}

async fn until_up_is(prober: &Prober, wanted: Option<bool>) -> anyhow::Result<()> {
    let changed = prober.changed();
    timeout(PATIENCE, async {
        while prober.reports().iter().any(|report| report.up != wanted) {
            changed.notified().await;
        }
    })
    .await
    .with_context(|| format!("still not {wanted:?}: {:?}", prober.reports()))
}

#[tokio::test]
async fn http_member_follows_its_servers_answers() -> anyhow::Result<()> {
    let (at, answer, heads) = server("127.0.0.1:0").await?;
    let mut prober = Prober::new();
    prober.apply(vec![plan(at, get())]);
    until_up_is(&prober, Some(true)).await?;
    assert_eq!(
        heads
            .lock()
            .expect("not poisoned")
            .first()
            .map(String::as_str),
        Some("GET /health HTTP/1.0\r\n\r\n")
    );
    for bad in [Some("HTTP/1.1 500 no\r\n\r\n"), None, Some("hello\r\n")] {
        answer.send_replace(bad);
        until_up_is(&prober, Some(false)).await?;
        answer.send_replace(Some("HTTP/1.1 204 fine\r\n\r\n"));
        until_up_is(&prober, Some(true)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn tcp_member_is_down_without_a_listener_and_health_survives_a_new_plan() -> anyhow::Result<()>
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let mut prober = Prober::new();
    prober.apply(vec![plan(at, Check::Tcp)]);
    until_up_is(&prober, Some(true)).await?;
    drop(listener);
    until_up_is(&prober, Some(false)).await?;
    let slower = ProbePlan {
        delay: Duration::from_secs(3600),
        ..plan(at, Check::Tcp)
    };
    prober.apply(vec![slower]);
    assert_eq!(
        prober.reports().first().and_then(|report| report.up),
        Some(false)
    );
    prober.apply(Vec::new());
    assert!(prober.reports().is_empty());
    Ok(())
}

#[tokio::test]
async fn probes_leave_from_the_given_address() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let mut prober = Prober::new();
    prober.apply(vec![ProbePlan {
        source: Some("127.0.0.7".parse()?),
        ..plan(at, Check::Tcp)
    }]);
    let (_stream, from) = timeout(PATIENCE, listener.accept()).await??;
    assert_eq!(from.ip().to_string(), "127.0.0.7");
    Ok(())
}
