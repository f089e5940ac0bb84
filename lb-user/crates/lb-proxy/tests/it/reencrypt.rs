//! TLS towards members: what is asked for, verified and shown, and HTTP/2 with trailers end to end.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use lb_model::{
    enums::{ClientAuthentication, ListenerProtocol},
    secret::Secret,
    spec::{CertificateSpec, ListenerTlsSpec, PoolTlsSpec},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    client::Client,
    rig::{PORT, Rig, listener, pool},
    tls::{Certificate, certificate, trusting},
};

/// A CA and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        let key = KeyPair::generate()?;
        Ok(Self(CertifiedIssuer::self_signed(params, key)?))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn signs(&self, id: &str, host: &str, serial: u64) -> anyhow::Result<CertificateSpec> {
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, id);
        params.serial_number = Some(serial.into());
        let key = KeyPair::generate()?;
        let made = params.signed_by(&key, &self.0)?;
        Ok(CertificateSpec {
            id: id.to_owned(),
            chain_pem: made.pem(),
            key_pem: Secret::new(key.serialize_pem()),
            hosts: vec![host.to_owned()],
            ocsp: None,
        })
    }

    fn revokes(&self, serial: u64) -> anyhow::Result<String> {
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2099, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![rcgen::RevokedCertParams {
                serial_number: serial.into(),
                revocation_time: rcgen::date_time_ymd(2020, 1, 2),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.0)?.pem()?)
    }
}

/// What a member saw of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    sni: Option<String>,
    alpn: Option<Vec<u8>>,
    has_certificate: bool,
}

/// A member that speaks TLS and answers with a body and a trailer.
struct TlsMember {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    heads: Arc<Mutex<Vec<(Version, HeaderMap)>>>,
    task: tokio::task::JoinHandle<Option<()>>,
}

impl Drop for TlsMember {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = BoxBody<Bytes, Infallible>;

fn body_with_trailer() -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"secret"))),
        Ok(Frame::trailers(trailers)),
    ];
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

impl TlsMember {
    async fn start(spec: &CertificateSpec, clients: Option<&Authority>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()?
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(spec.chain_pem.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(spec.key_pem.expose().as_bytes())?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (saw, heard) = (Arc::clone(&seen), Arc::clone(&heads));
        let task = lb_telemetry::task::spawn("test member", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let tls = stream.get_ref().1;
                saw.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Seen {
                        sni: tls.server_name().map(str::to_owned),
                        alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
                        has_certificate: tls.peer_certificates().is_some(),
                    });
                let heard = Arc::clone(&heard);
                let service = service_fn(move |request: Request<Incoming>| {
                    let mut heads = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    heads.push((request.version(), request.headers().clone()));
                    async { Ok::<_, Infallible>(Response::new(body_with_trailer())) }
                });
                lb_telemetry::task::spawn("test member's connection", async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    drop(
                        builder
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Ok(Self {
            address,
            seen,
            heads,
            task,
        })
    }

    fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

async fn rig(
    member: SocketAddr,
    tls: PoolTlsSpec,
    shown: &[&CertificateSpec],
) -> anyhow::Result<(Rig, Certificate)> {
    let own = certificate("own", &["one.test"])?;
    let mut rig = Rig::start().await?;
    let clear = listener(1, ListenerProtocol::Http, PORT, Some(1));
    let mut https = listener(2, ListenerProtocol::TerminatedHttps, PORT + 1, Some(1));
    https.default_certificate = Some("own".to_owned());
    let mut encrypted = pool(1, &[member]);
    encrypted.tls = Some(tls);
    rig.spec.listeners = vec![clear, https];
    rig.spec.pools = vec![encrypted];
    rig.spec.certificates = vec![own.spec.clone()];
    rig.spec
        .certificates
        .extend(shown.iter().map(|&spec| spec.clone()));
    rig.apply().await?;
    Ok((rig, own))
}

async fn get(rig: &Rig) -> anyhow::Result<u16> {
    Ok(rig.client().await?.get("/").await?.code)
}

/// Asks over TLS, under a name.
async fn get_tls(rig: &Rig, own: &Certificate, name: &str) -> anyhow::Result<u16> {
    let mut config = trusting(&[own])?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(rig.at(PORT + 1)).await?;
    let name = ServerName::try_from(name.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    Ok(Client::over(stream).get("/").await?.code)
}

#[tokio::test]
async fn without_a_ca_nothing_is_verified_and_the_clients_name_is_passed_on() -> anyhow::Result<()>
{
    let authority = Authority::new("members")?;
    let member = TlsMember::start(&authority.signs("m", "other.test", 1)?, None).await?;
    let (rig, own) = rig(member.address, PoolTlsSpec::default(), &[]).await?;
    assert_eq!(get(&rig).await?, 200);
    assert_eq!(get(&rig).await?, 200);
    assert_eq!(get_tls(&rig, &own, "one.test").await?, 200);
    assert_eq!(get_tls(&rig, &own, "one.test").await?, 200);
    let told = |sni: Option<&str>| Seen {
        sni: sni.map(str::to_owned),
        alpn: Some(b"h2".to_vec()),
        has_certificate: false,
    };
    // Connections are used again under the same name, and under no other.
    assert_eq!(member.seen(), [told(None), told(Some("one.test"))]);
    Ok(())
}

#[tokio::test]
async fn with_a_ca_the_chain_counts_and_the_name_when_the_client_gave_one() -> anyhow::Result<()> {
    let (authority, stranger) = (Authority::new("members")?, Authority::new("stranger")?);
    let other = authority.signs("m", "other.test", 7)?;
    let member = TlsMember::start(&other, None).await?;
    let trusting = |authority: &Authority| PoolTlsSpec {
        ca: Some(authority.pem()),
        ..PoolTlsSpec::default()
    };
    let (mut rig, own) = rig(member.address, trusting(&authority), &[]).await?;
    assert_eq!(get(&rig).await?, 200, "in clear no name is checked");
    assert_eq!(
        get_tls(&rig, &own, "one.test").await?,
        503,
        "another's name"
    );
    rig.spec.pools[0].tls = Some(PoolTlsSpec {
        crl: Some(authority.revokes(7)?),
        ..trusting(&authority)
    });
    rig.apply().await?;
    assert_eq!(get(&rig).await?, 503, "revoked");
    rig.spec.pools[0].tls = Some(PoolTlsSpec {
        crl: Some(authority.revokes(8)?),
        ..trusting(&authority)
    });
    rig.apply().await?;
    assert_eq!(get(&rig).await?, 200, "another is revoked");
    rig.spec.pools[0].tls = Some(trusting(&stranger));
    rig.apply().await?;
    assert_eq!(get(&rig).await?, 503, "signed by somebody else");
    Ok(())
}

#[tokio::test]
async fn members_get_the_certificate_they_ask_for_and_protocols_as_configured() -> anyhow::Result<()>
{
    let authority = Authority::new("all")?;
    let member = TlsMember::start(&authority.signs("m", "m.test", 1)?, Some(&authority)).await?;
    let ours = authority.signs("ours", "lb.test", 2)?;
    let tls = PoolTlsSpec {
        client_certificate: Some("ours".to_owned()),
        alpn_protocols: vec!["http/1.1".to_owned()],
        tls_versions: vec!["TLSv1.2".to_owned()],
        ..PoolTlsSpec::default()
    };
    let (rig, _) = rig(member.address, tls, &[&ours]).await?;
    assert_eq!(get(&rig).await?, 200);
    let seen = member.seen();
    assert!(seen[0].has_certificate);
    assert_eq!(seen[0].alpn.as_deref(), Some(&b"http/1.1"[..]));
    Ok(())
}

/// What gRPC needs: HTTP/2 on both sides, `te: trailers`, and the trailers of the answer.
#[tokio::test]
async fn trailers_pass_from_http2_members_to_http2_clients() -> anyhow::Result<()> {
    let authority = Authority::new("members")?;
    let member = TlsMember::start(&authority.signs("m", "one.test", 1)?, None).await?;
    let (rig, own) = rig(member.address, PoolTlsSpec::default(), &[]).await?;
    let mut config = trusting(&[&own])?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(rig.at(PORT + 1)).await?;
    let name = ServerName::try_from("one.test")?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    lb_telemetry::task::spawn("test client", connection);
    let request = Request::post("https://one.test/a.Service/Call")
        .header("te", "trailers")
        .body(Full::<Bytes>::from("question"))?;
    let response = sender.send_request(request).await?;
    assert_eq!(response.status(), 200);
    let answer = response.into_body().collect().await?;
    let trailers = answer.trailers().cloned().unwrap_or_default();
    assert_eq!(
        trailers.get("grpc-status").map(http::HeaderValue::as_bytes),
        Some(&b"0"[..])
    );
    assert_eq!(answer.to_bytes(), "secret");
    let heads = member.heads.lock().unwrap_or_else(PoisonError::into_inner);
    let (version, headers) = &heads[0];
    assert_eq!(*version, Version::HTTP_2);
    assert_eq!(
        headers.get("te").map(http::HeaderValue::as_bytes),
        Some(&b"trailers"[..])
    );
    Ok(())
}

/// Asks over TLS with this certificate, and forges what only the load balancer may say.
async fn ask(rig: &Rig, own: &Certificate, shown: Option<&CertificateSpec>) -> anyhow::Result<u16> {
    let config = crate::tls::speaking(&[own], rustls::ALL_VERSIONS)?;
    let config = match shown {
        None => config.with_no_client_auth(),
        Some(spec) => config.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(spec.chain_pem.as_bytes())?],
            PrivateKeyDer::from_pem_slice(spec.key_pem.expose().as_bytes())?,
        )?,
    };
    let stream = TcpStream::connect(rig.at(PORT + 1)).await?;
    let name = ServerName::try_from("one.test")?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let mut client = Client::over(stream);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-SSL-Client-CN: forged\r\n\r\n";
    client.send(request).await?;
    Ok(client.answer().await?.code)
}

#[tokio::test]
async fn clients_are_asked_for_certificates_checked_and_told_of() -> anyhow::Result<()> {
    let (authority, stranger) = (Authority::new("clients")?, Authority::new("stranger")?);
    let member = crate::member::Member::named("one").await?;
    let own = certificate("own", &["one.test"])?;
    let mut rig = Rig::start().await?;
    let mut https = listener(2, ListenerProtocol::TerminatedHttps, PORT + 1, Some(1));
    https.default_certificate = Some("own".to_owned());
    https.insert_headers = [
        "X-SSL-Client-Verify",
        "X-SSL-Client-Has-Cert",
        "X-SSL-Client-DN",
        "X-SSL-Client-CN",
        "X-SSL-Issuer",
        "X-SSL-Client-SHA1",
        "X-SSL-Client-Not-Before",
        "X-SSL-Client-Not-After",
    ]
    .map(str::to_owned)
    .to_vec();
    https.tls = ListenerTlsSpec {
        client_authentication: ClientAuthentication::Optional,
        client_ca: Some(authority.pem()),
        client_crl: Some(authority.revokes(66)?),
        ..ListenerTlsSpec::default()
    };
    rig.spec.listeners = vec![https];
    rig.spec.pools = vec![pool(1, &[member.address])];
    rig.spec.certificates = vec![own.spec.clone()];
    rig.apply().await?;
    let ask = async |rig: &Rig, shown| ask(rig, &own, shown).await;
    let good = authority.signs("good", "client.test", 1)?;
    assert_eq!(ask(&rig, None).await?, 200);
    assert_eq!(ask(&rig, Some(&good)).await?, 200);
    let requests = member.requests();
    for line in [
        "x-ssl-client-has-cert: 0",
        "x-ssl-client-cn: \"\"",
        "x-ssl-client-verify: 0",
    ] {
        assert!(
            requests[0].contains(&format!("{line}\r\n")),
            "{line} in {}",
            requests[0]
        );
    }
    for line in [
        "x-ssl-client-has-cert: 1",
        "x-ssl-client-cn: \"good\"",
        "x-ssl-client-verify: 0",
    ] {
        assert!(
            requests[1].contains(&format!("{line}\r\n")),
            "{line} in {}",
            requests[1]
        );
    }
    assert!(!requests.concat().contains("forged"));
    let revoked = authority.signs("revoked", "client.test", 66)?;
    let foreign = stranger.signs("foreign", "client.test", 1)?;
    assert!(ask(&rig, Some(&revoked)).await.is_err());
    assert!(ask(&rig, Some(&foreign)).await.is_err());
    rig.spec.listeners[0].tls.client_authentication = ClientAuthentication::Mandatory;
    rig.apply().await?;
    assert!(ask(&rig, None).await.is_err());
    assert_eq!(ask(&rig, Some(&good)).await?, 200);
    Ok(())
}

#[tokio::test]
async fn a_tcp_listener_encrypts_towards_members_too() -> anyhow::Result<()> {
    let authority = Authority::new("members")?;
    let member = TlsMember::start(&authority.signs("m", "m.test", 1)?, None).await?;
    let tls = PoolTlsSpec {
        ca: Some(authority.pem()),
        ..PoolTlsSpec::default()
    };
    let (mut rig, _) = rig(member.address, tls, &[]).await?;
    rig.spec.listeners[0].protocol = ListenerProtocol::Tcp;
    rig.spec.pools[0].protocol = lb_model::enums::PoolProtocol::Tcp;
    rig.apply().await?;
    let mut client = rig.client().await?;
    assert_eq!(client.get("/").await?.code, 200);
    assert_eq!(client.get("/").await?.code, 200);
    assert_eq!(member.seen()[0].alpn.as_deref(), Some(&b"http/1.1"[..]));
    Ok(())
}
