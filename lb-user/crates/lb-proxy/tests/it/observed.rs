//! What tenants and operators get to see: metrics and the flow log.

use lb_model::{
    amphora::{FlowLog, FromAmphora},
    enums::ListenerProtocol,
};
use tokio::io::AsyncWriteExt as _;

use crate::{
    client::{Client, PATIENCE},
    member::Member,
    rig::{PORT, Rig, listener, policy},
};

async fn metrics(rig: &Rig) -> anyhow::Result<String> {
    let mut client = Client::connect(rig.at(PORT + 1)).await?;
    let answer = client.get("/metrics").await?;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    assert_eq!(answer.header("connection"), Some("close"));
    Ok(answer.body)
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}

#[tokio::test]
async fn metrics_say_what_clients_counted() -> anyhow::Result<()> {
    let member = Member::named("hello").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let mut reject = policy(lb_model::enums::L7PolicyAction::Reject, "/no");
    reject.redirect_pool_id = None;
    rig.spec.listeners[0].l7policies = vec![reject];
    rig.spec
        .listeners
        .push(listener(2, ListenerProtocol::Prometheus, PORT + 1, None));
    rig.apply().await?;
    let mut client = rig.client().await?;
    let (mut sent, mut received) = (0, 0);
    for path in ["/a", "/b", "/no", "/c"] {
        let answer = client.get(path).await?;
        sent += format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").len();
        received += answer.head.len() + answer.body.len();
    }
    let text = metrics(&rig).await?;
    let id = rig.spec.listeners[0].id;
    let pool = format!("pool=\"{}:{id}\"", rig.spec.pools[0].id);
    let member_label = format!("{pool},member=\"{}\"", rig.spec.pools[0].members[0].id);
    for (series, expected) in [
        (
            format!("octavia_listener_bytes_in_total{{listener=\"{id}\"}}"),
            sent,
        ),
        (
            format!("octavia_listener_bytes_out_total{{listener=\"{id}\"}}"),
            received,
        ),
        (
            format!("octavia_listener_current_sessions{{listener=\"{id}\"}}"),
            1,
        ),
        (
            format!("octavia_listener_requests_denied_total{{listener=\"{id}\"}}"),
            1,
        ),
        (
            format!("octavia_listener_http_responses_total{{listener=\"{id}\",code=\"2xx\"}}"),
            3,
        ),
        (
            format!("octavia_listener_http_responses_total{{listener=\"{id}\",code=\"4xx\"}}"),
            1,
        ),
        (
            format!("octavia_listener_status{{listener=\"{id}\",state=\"UP\"}}"),
            1,
        ),
        (
            format!("octavia_pool_http_responses_total{{{pool},code=\"2xx\"}}"),
            3,
        ),
        (format!("octavia_pool_active_members{{{pool}}}"), 1),
        (
            format!("octavia_member_sessions_total{{{member_label}}}"),
            3,
        ),
        (
            format!("octavia_member_connection_attempts_total{{{member_label}}}"),
            1,
        ),
        (
            format!("octavia_member_connection_reuses_total{{{member_label}}}"),
            2,
        ),
        (
            format!("octavia_member_status{{{member_label},state=\"DRAIN\"}}"),
            0,
        ),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let expected = expected as f64;
        assert_eq!(value(&text, &series), Some(expected), "{series}\n{text}");
    }
    Ok(())
}

#[tokio::test]
async fn every_family_is_there_and_nothing_else_is_served() -> anyhow::Result<()> {
    let member = Member::named("hello").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    rig.spec
        .listeners
        .push(listener(2, ListenerProtocol::Prometheus, PORT + 1, None));
    rig.apply().await?;
    let text = metrics(&rig).await?;
    let families = text.lines().filter(|line| line.starts_with("# TYPE "));
    let families: std::collections::BTreeSet<_> = families.collect();
    assert!(families.len() >= 140, "{}", families.len());
    let mut other = Client::connect(rig.at(PORT + 1)).await?;
    assert_eq!(other.get("/").await?.code, 403);
    Ok(())
}

#[tokio::test]
async fn requests_become_lines_in_octavias_order() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("flow.log");
    let member = Member::named("hello").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    rig.flow_log = Some(FlowLog::File(path.to_string_lossy().into_owned()));
    rig.spec
        .listeners
        .push(listener(2, ListenerProtocol::Tcp, PORT + 2, Some(1)));
    rig.apply().await?;
    let mut client = rig.client().await?;
    let answer = client.get("/x?y=z").await?;
    let read = answer.head.len() + answer.body.len();
    let port = client.stream.local_addr()?.port();
    let mut bad = rig.client().await?;
    bad.send("GET / HTTP/9\r\n\r\n").await?;
    bad.rest().await?;
    let mut tcp = Client::connect(rig.at(PORT + 2)).await?;
    tcp.get("/t").await?;
    tcp.stream.shutdown().await?;
    tcp.rest().await?;
    let lines = tokio::time::timeout(PATIENCE, async {
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if text.lines().count() >= 3 {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await?;
    let (lb, listener) = (rig.spec.id, rig.spec.listeners[0].id);
    let (pool, member) = (rig.spec.pools[0].id, rig.spec.pools[0].members[0].id);
    let line = |has: &str| {
        lines
            .lines()
            .find(|line| line.contains(has))
            .unwrap_or_default()
    };
    let first = line("GET /x");
    let fields: Vec<_> = first.split(' ').collect();
    assert_eq!(
        fields[..5],
        [
            "project",
            &*lb.to_string(),
            &*listener.to_string(),
            "127.0.0.1",
            &*port.to_string()
        ]
    );
    let backend = format!("{pool}:{listener}");
    let uploaded = "GET /x?y=z HTTP/1.1\r\nHost: test\r\n\r\n".len();
    let rest = format!("\"GET /x?y=z HTTP/1.1\" 200 {read} {uploaded} - \"\" {backend} {member} ");
    assert!(first.contains(&rest), "{first}\nnot {rest}");
    assert!(first.ends_with(" ----"), "{first}");
    assert!(line(" 400 ").ends_with("PR--"), "{lines}");
    assert!(line(" - - ").ends_with(" ----"), "{lines}");
    Ok(())
}

#[tokio::test]
async fn lines_are_told_to_the_agent_when_it_asks() -> anyhow::Result<()> {
    let member = Member::named("hello").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    rig.log_to_agent = true;
    rig.apply().await?;
    let mut client = rig.client().await?;
    client.get("/told").await?;
    let owner = format!("project {} ", rig.spec.id);
    let told = tokio::time::timeout(PATIENCE, async {
        loop {
            if let FromAmphora::Log { lines } = rig.agent.hear().await? {
                return anyhow::Ok(lines);
            }
        }
    });
    let told = told.await??;
    assert!(told.starts_with(&owner) && told.ends_with('\n'), "{told}");
    assert!(told.contains("\"GET /told HTTP/1.1\" 200 "), "{told}");
    Ok(())
}
