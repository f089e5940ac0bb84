//! The wire over real TLS on loopback: round trip, wrong CA, wrong host, wrong version, restart.

use std::{
    error::Error,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use lb_model::id::LoadBalancerId;
use lb_wire::{
    ca::{CertificateAuthority, read_agent_credentials},
    client::{DirectDialer, SyncClient},
    error::WireError,
    message::{PROTOCOL_VERSION, ReportRequest, SyncRequest, SyncResponse},
    server::{self, Handler, HandlerError},
    tls::{self, Credentials},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

type Outcome = Result<(), Box<dyn Error>>;

/// Answers every sync with what it was asked about as gone, and remembers reports.
#[derive(Default)]
struct Echo {
    reports: Mutex<Vec<ReportRequest>>,
}

impl Handler for Echo {
    async fn sync(&self, request: SyncRequest) -> Result<SyncResponse, HandlerError> {
        if request.known.is_empty() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(SyncResponse {
            changed: Vec::new(),
            gone: request.known.into_keys().collect(),
            describe: Vec::new(),
            ..SyncResponse::default()
        })
    }

    async fn report(&self, request: ReportRequest) -> Result<(), HandlerError> {
        match self.reports.lock() {
            Ok(mut reports) => reports.push(request),
            Err(error) => return Err(HandlerError(error.to_string())),
        }
        Ok(())
    }
}

struct Served {
    address: SocketAddr,
    handler: Arc<Echo>,
    shutdown: CancellationToken,
}

async fn serve(ca: &CertificateAuthority, address: &str) -> Result<Served, Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let tls = tls::server_config(&ca.issue_server()?)?;
    let (handler, shutdown) = (Arc::new(Echo::default()), CancellationToken::new());
    lb_telemetry::task::spawn(
        "server",
        server::serve(listener, tls, Arc::clone(&handler), shutdown.clone()),
    );
    Ok(Served {
        address,
        handler,
        shutdown,
    })
}

fn client(credentials: &Credentials, address: SocketAddr) -> Result<SyncClient, WireError> {
    SyncClient::new(credentials, address.to_string(), Arc::new(DirectDialer))
}

fn sync_request(host: &str) -> SyncRequest {
    SyncRequest {
        version: PROTOCOL_VERSION,
        host: host.to_owned(),
        ..SyncRequest::default()
    }
}

fn report_request(host: &str) -> ReportRequest {
    ReportRequest {
        version: PROTOCOL_VERSION,
        host: host.to_owned(),
        ..ReportRequest::default()
    }
}

#[tokio::test]
async fn sync_and_report_share_one_connection_and_do_not_wait_for_each_other() -> Outcome {
    let state = tempfile::tempdir()?;
    let ca = CertificateAuthority::open(state.path())?;
    ca.ensure_agent(state.path(), "host-a")?;
    let served = serve(&ca, "127.0.0.1:0").await?;
    let credentials = read_agent_credentials(&state.path().join("agents/host-a"))?;
    let client = client(&credentials, served.address)?;

    let id = LoadBalancerId(Uuid::from_u128(7));
    let mut asked = sync_request("host-a");
    asked.known.insert(id, 3);
    assert_eq!(client.sync(&asked).await?.gone, vec![id]);
    // From now on only what changed is sent, and the server knows the rest.
    let other = LoadBalancerId(Uuid::from_u128(8));
    asked.known.insert(other, 1);
    assert_eq!(client.sync(&asked).await?.gone, vec![id, other]);
    asked.known.remove(&id);
    assert_eq!(client.sync(&asked).await?.gone, vec![other]);

    let held = sync_request("host-a");
    let report = report_request("host-a");
    let (held, told) = tokio::join!(client.sync(&held), async {
        tokio::time::timeout(Duration::from_millis(250), client.report(&report)).await
    });
    held?;
    told??;
    let reports = served.handler.reports.lock().map_err(|e| e.to_string())?;
    assert_eq!(reports.len(), 1);
    Ok(())
}

#[tokio::test]
async fn another_ca_is_refused_by_both_sides() -> Outcome {
    let (ours, theirs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let ca = CertificateAuthority::open(ours.path())?;
    let other = CertificateAuthority::open(theirs.path())?;
    let served = serve(&ca, "127.0.0.1:0").await?;

    // The agent does not trust the server.
    let foreign = other.issue_agent("host-a")?;
    let refused = client(&foreign, served.address)?
        .sync(&sync_request("host-a"))
        .await;
    assert!(matches!(refused, Err(WireError::Tls { .. })), "{refused:?}");

    // The agent trusts the server, but the server does not trust the agent.
    let mixed = Credentials {
        ca_pem: ca.certificate_pem().to_owned(),
        ..foreign
    };
    let refused = client(&mixed, served.address)?
        .report(&report_request("host-a"))
        .await;
    assert!(refused.is_err());

    // A server's certificate is no agent's.
    let server_certificate = ca.issue_server()?;
    let refused = client(&server_certificate, served.address)?
        .report(&report_request("host-a"))
        .await;
    assert!(refused.is_err());
    let reports = served.handler.reports.lock().map_err(|e| e.to_string())?;
    assert!(reports.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_agent_speaks_only_for_the_host_of_its_certificate() -> Outcome {
    let state = tempfile::tempdir()?;
    let ca = CertificateAuthority::open(state.path())?;
    let served = serve(&ca, "127.0.0.1:0").await?;
    let client = client(&ca.issue_agent("host-a")?, served.address)?;
    let refused = client.report(&report_request("host-b")).await;
    assert!(
        matches!(&refused, Err(WireError::Refused { status: 403, message }) if message.contains("host-a")),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn another_version_is_refused_with_both_numbers() -> Outcome {
    let state = tempfile::tempdir()?;
    let ca = CertificateAuthority::open(state.path())?;
    let served = serve(&ca, "127.0.0.1:0").await?;
    let client = client(&ca.issue_agent("host-a")?, served.address)?;
    let mut newer = sync_request("host-a");
    newer.version = PROTOCOL_VERSION + 1;
    let refused = client.sync(&newer).await;
    assert!(
        matches!(&refused, Err(WireError::Refused { status: 426, message })
            if message.contains("version 2") && message.contains("version 1")),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_client_finds_a_restarted_server_by_itself() -> Outcome {
    let state = tempfile::tempdir()?;
    let ca = CertificateAuthority::open(state.path())?;
    let first = serve(&ca, "127.0.0.1:0").await?;
    let client = client(&ca.issue_agent("host-a")?, first.address)?;
    client.report(&report_request("host-a")).await?;

    first.shutdown.cancel();
    while client.report(&report_request("host-a")).await.is_ok() {
        tokio::task::yield_now().await;
    }

    let address = first.address.to_string();
    let second = loop {
        // The old listener closes when its task has seen the cancellation.
        match serve(&ca, &address).await {
            Ok(served) => break served,
            Err(_still_bound) => tokio::task::yield_now().await,
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(5), async {
        while client.report(&report_request("host-a")).await.is_err() {}
    });
    again.await?;
    let reports = second.handler.reports.lock().map_err(|e| e.to_string())?;
    assert_eq!(reports.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_server_that_ends_is_replaced_by_another_at_once() -> Outcome {
    let state = tempfile::tempdir()?;
    let ca = CertificateAuthority::open(state.path())?;
    let first = serve(&ca, "127.0.0.1:0").await?;
    let second = serve(&ca, "127.0.0.1:0").await?;
    let servers = format!("{}, {}", first.address, second.address);
    let credentials = ca.issue_agent("host-a")?;
    let client = SyncClient::new(&credentials, servers, Arc::new(DirectDialer))?;
    client.report(&report_request("host-a")).await?;
    assert_eq!(
        first
            .handler
            .reports
            .lock()
            .map_err(|e| e.to_string())?
            .len(),
        1
    );

    first.shutdown.cancel();
    let told = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            drop(client.report(&report_request("host-a")).await);
            let told = second.handler.reports.lock().map(|told| told.len());
            if told.is_ok_and(|told| told > 0) {
                return;
            }
        }
    });
    told.await?;
    Ok(())
}

#[test]
fn servers_that_start_together_make_one_ca() -> Outcome {
    let state = tempfile::tempdir()?;
    let open = || {
        let opened = CertificateAuthority::open(state.path());
        opened.map(|ca| {
            let ensured = ca.ensure_agent(state.path(), "host-a").is_ok();
            (ca.certificate_pem().to_owned(), ensured)
        })
    };
    let made = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_server| scope.spawn(open)).collect();
        starts
            .into_iter()
            .filter_map(|start| start.join().ok())
            .collect::<Result<Vec<_>, _>>()
    })?;
    assert_eq!(made.len(), 8);
    assert!(made.iter().all(|one| *one == made[0] && one.1));
    read_agent_credentials(&state.path().join("agents/host-a"))?;
    Ok(())
}

#[test]
fn the_ca_survives_a_restart_and_keeps_good_credentials() -> Outcome {
    let state = tempfile::tempdir()?;
    let ca = CertificateAuthority::open(state.path())?;
    ca.ensure_agent(state.path(), "host-a")?;
    let certificate = state.path().join("agents/host-a/agent.pem");
    let first = std::fs::read_to_string(&certificate)?;

    let again = CertificateAuthority::open(state.path())?;
    assert_eq!(ca.certificate_pem(), again.certificate_pem());
    again.ensure_agent(state.path(), "host-a")?;
    assert_eq!(first, std::fs::read_to_string(&certificate)?);

    // A file that is not what it should be is replaced.
    std::fs::write(&certificate, "nothing")?;
    again.ensure_agent(state.path(), "host-a")?;
    assert!(std::fs::read_to_string(&certificate)?.contains("BEGIN CERTIFICATE"));
    Ok(())
}

#[test]
fn keys_are_readable_by_the_owner_only() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let state = tempfile::tempdir()?;
    let ca = CertificateAuthority::open(state.path())?;
    ca.ensure_agent(state.path(), "host-a")?;
    for path in ["ca/ca.key", "agents/host-a/agent.key"] {
        let mode = std::fs::metadata(state.path().join(path))?
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{path}");
    }
    Ok(())
}

#[test]
fn a_name_that_could_leave_its_directory_is_no_host() -> Outcome {
    let state = tempfile::tempdir()?;
    let ca = CertificateAuthority::open(state.path())?;
    for name in ["", "..", "a/b", "a b", ".hidden", &"x".repeat(65)] {
        assert!(
            matches!(
                ca.ensure_agent(state.path(), name),
                Err(WireError::HostName { .. })
            ),
            "{name}"
        );
    }
    Ok(())
}
