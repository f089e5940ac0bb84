//! TLS connections of our own: one request each, resumed or not.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use super::{answered, load::Measured, render::Certificate};

/// Connections at once: a generator that waits for one answer leaves the proxy idle between them.
const THREADS: usize = 8;

/// A connection.
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// A client that trusts the bench's certificate.
pub fn config(certificate: &Certificate, resume: bool) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(&certificate.chain)?;
    for der in CertificateDer::pem_slice_iter(&pem) {
        roots.add(der?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

/// Connects, sends one request and reads its answer.
pub fn request(
    config: &Arc<ClientConfig>,
    port: u16,
    path: &str,
    stays: bool,
) -> anyhow::Result<Secure> {
    let name = ServerName::try_from("bench.example")?;
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ClientConnection::new(Arc::clone(config), name)?;
    let mut secure = StreamOwned::new(connection, stream);
    let connection = if stays { "keep-alive" } else { "close" };
    let head = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: {connection}\r\n\r\n");
    secure.write_all(head.as_bytes())?;
    let mut answer = [0; 4096];
    let read = secure.read(&mut answer)?;
    ensure!(
        answer
            .get(..read)
            .unwrap_or_default()
            .starts_with(b"HTTP/1.1 200"),
        "not answered well"
    );
    if !stays {
        // To the end: tickets and close alerts are part of what a handshake costs.
        while secure.read(&mut answer).unwrap_or(0) > 0 {}
    }
    Ok(secure)
}

/// One connection a request, for `lasts`.
pub fn run(
    port: u16,
    path: &'static str,
    certificate: &Certificate,
    resume: bool,
    lasts: Duration,
) -> anyhow::Result<Measured> {
    let end = Instant::now() + lasts;
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let config = config(certificate, resume)?;
        threads.push(std::thread::spawn(move || {
            let (mut times, mut resumed) = (Vec::new(), 0_usize);
            while Instant::now() < end {
                let begun = Instant::now();
                let secure = request(&config, port, path, false)?;
                times.push(begun.elapsed());
                let kind = secure.conn.handshake_kind();
                resumed += usize::from(kind == Some(HandshakeKind::Resumed));
            }
            anyhow::Ok((times, resumed))
        }));
    }
    let (mut times, mut resumed) = (Vec::new(), 0);
    for thread in threads {
        let ended = thread
            .join()
            .map_err(|_panic| anyhow::anyhow!("generator panicked"))?;
        let (some, of_them) = ended?;
        times.extend(some);
        resumed += of_them;
    }
    let expected = if resume {
        times.len().saturating_sub(THREADS)
    } else {
        0
    };
    ensure!(
        resumed == expected || resume && resumed * 10 >= expected * 9,
        "{resumed} of {} sessions were resumed",
        times.len()
    );
    times.sort_unstable();
    let at = |part: usize| {
        let time = times.get(times.len() * part / 100)?;
        Some(time.as_secs_f64() * 1e6)
    };
    Ok(Measured {
        requests: answered(u64::try_from(times.len())?, "no handshake ended")?,
        p50_us: at(50),
        p99_us: Some(at(99).context("no time")?),
    })
}
