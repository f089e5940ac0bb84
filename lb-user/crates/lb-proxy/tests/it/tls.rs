//! TERMINATED_HTTPS: which certificate is shown to whom.

use std::sync::Arc;

use anyhow::Context as _;
use lb_model::{enums::ListenerProtocol, secret::Secret, spec::CertificateSpec};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    client::Client,
    member::{Behaviour, Member},
    rig::{PORT, Rig, listener, pool},
};

pub struct Certificate {
    pub spec: CertificateSpec,
    pub der: CertificateDer<'static>,
}

pub fn certificate(id: &str, hosts: &[&str]) -> anyhow::Result<Certificate> {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(hosts.clone())?;
    Ok(Certificate {
        spec: CertificateSpec {
            id: id.to_owned(),
            chain_pem: made.cert.pem(),
            key_pem: Secret::new(made.signing_key.serialize_pem()),
            hosts,
            ocsp: None,
        },
        der: made.cert.der().clone(),
    })
}

type Unfinished = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

pub fn speaking(
    all: &[&Certificate],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> anyhow::Result<Unfinished> {
    let mut roots = RootCertStore::empty();
    for certificate in all {
        roots.add(certificate.der.clone())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(roots))
}

pub fn trusting(all: &[&Certificate]) -> anyhow::Result<ClientConfig> {
    Ok(speaking(all, rustls::ALL_VERSIONS)?.with_no_client_auth())
}

/// Connects with `name` in SNI, trusting `all`; the certificate that was shown.
async fn shown(
    rig: &Rig,
    name: &str,
    all: &[&Certificate],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> anyhow::Result<(TlsStream<TcpStream>, CertificateDer<'static>)> {
    let mut config = speaking(all, versions)?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(rig.at(PORT)).await?;
    let name = ServerName::try_from(name.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let leaf = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .context("a certificate")?
        .clone();
    Ok((stream, leaf))
}

#[tokio::test]
async fn sni_chooses_exact_then_wildcard_then_default_and_certificates_swap_in_place()
-> anyhow::Result<()> {
    let default = certificate("default", &["default.test"])?;
    let exact = certificate("exact", &["exact.test", "a.wild.test"])?;
    let wild = certificate("wild", &["*.wild.test"])?;
    let all = [&default, &exact, &wild];
    let member = Member::named("one").await?;
    let mut rig = Rig::start().await?;
    let mut https = listener(1, ListenerProtocol::TerminatedHttps, PORT, Some(1));
    https.default_certificate = Some("default".to_owned());
    https.sni_certificates = vec!["exact".to_owned(), "wild".to_owned()];
    https.insert_headers = vec!["X-Forwarded-Proto".to_owned()];
    rig.spec.listeners = vec![https];
    rig.spec.pools = vec![pool(1, &[member.address])];
    rig.spec.certificates = all.map(|certificate| certificate.spec.clone()).to_vec();
    rig.apply().await?;

    let both = [&rustls::version::TLS13, &rustls::version::TLS12];
    for (name, wanted) in [
        ("exact.test", &exact),
        ("a.wild.test", &exact),
        ("b.wild.test", &wild),
        ("default.test", &default),
    ] {
        for version in both {
            let (stream, leaf) = shown(&rig, name, &all, &[version]).await?;
            assert_eq!(leaf, wanted.der, "{name}");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            let answer = Client::over(stream).get("/").await?;
            assert_eq!((answer.code, answer.body.as_str()), (200, "one"));
        }
    }
    // A wildcard is one label deep: the default is shown, which the client does not accept.
    assert!(shown(&rig, "b.c.wild.test", &all, &both).await.is_err());
    let request = member.requests().join("");
    assert!(
        request.contains("x-forwarded-proto: https\r\n"),
        "{request}"
    );

    let (kept, _) = shown(&rig, "exact.test", &all, &both).await?;
    let renewed = certificate("exact", &["exact.test"])?;
    rig.spec.certificates = vec![
        default.spec.clone(),
        renewed.spec.clone(),
        wild.spec.clone(),
    ];
    rig.apply().await?;
    let (_, leaf) = shown(&rig, "exact.test", &[&renewed], &both).await?;
    assert_eq!(leaf, renewed.der);
    assert_eq!(Client::over(kept).get("/").await?.code, 200, "not cut");
    Ok(())
}

#[tokio::test]
async fn sni_only_listeners_serve_their_first_and_broken_ones_are_reported() -> anyhow::Result<()> {
    let only = certificate("only", &["only.test"])?;
    let member = Member::named("one").await?;
    let mut rig = Rig::start().await?;
    let mut https = listener(1, ListenerProtocol::TerminatedHttps, PORT, Some(1));
    https.sni_certificates = vec!["only".to_owned()];
    let mut broken = listener(2, ListenerProtocol::TerminatedHttps, PORT + 1, Some(1));
    broken.default_certificate = Some("absent".to_owned());
    let bare = listener(3, ListenerProtocol::TerminatedHttps, PORT + 2, Some(1));
    rig.spec.listeners = vec![https, broken, bare];
    rig.spec.pools = vec![pool(1, &[member.address])];
    rig.spec.certificates = vec![only.spec.clone()];
    let failures = rig.try_apply().await?;
    let reasons: Vec<_> = failures
        .iter()
        .map(|failure| failure.reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "certificate 'absent' is not there",
            "a listener that speaks TLS needs a certificate"
        ]
    );
    let (stream, leaf) = shown(&rig, "only.test", &[&only], &[&rustls::version::TLS13]).await?;
    assert_eq!(leaf, only.der);
    assert_eq!(Client::over(stream).get("/").await?.code, 200);
    Ok(())
}

#[tokio::test]
async fn a_connection_that_is_closed_says_goodbye() -> anyhow::Result<()> {
    let certificate = certificate("only", &["only.test"])?;
    let member = Member::named("one").await?;
    let mut rig = Rig::start().await?;
    let mut https = listener(1, ListenerProtocol::TerminatedHttps, PORT, Some(1));
    https.default_certificate = Some("only".to_owned());
    rig.spec.listeners = vec![https];
    rig.spec.pools = vec![pool(1, &[member.address])];
    rig.spec.certificates = vec![certificate.spec.clone()];
    rig.apply().await?;
    for length in [3, 100 << 10] {
        member.behave(Behaviour::Says("x".repeat(length)));
        let trusted = [&certificate];
        let (stream, _) = shown(&rig, "only.test", &trusted, &[&rustls::version::TLS13]).await?;
        let mut client = Client::over(stream);
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await?;
        // Without close_notify the end would be an error: the answer could have been cut.
        let answer = client.rest().await?;
        assert!(answer.ends_with(&"x".repeat(length)), "{}", answer.len());
    }
    Ok(())
}
