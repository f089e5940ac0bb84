//! HTTPS and TLS-HELLO: TLS towards a member whose certificate nobody looks at (HAProxy's
//! `verify none`, and its `ssl-hello-chk`).

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{check::CheckError, connect};

/// Record types that a TLS server begins with: an alert, or its hello (RFC 8446, 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// First byte of every version from SSLv3 on.
const MAJOR: u8 = 3;

/// Whoever it is, it answers: all that a probe asks.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

static CONFIG: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
});

fn config() -> Result<Arc<ClientConfig>, rustls::Error> {
    CONFIG.clone()
}

/// Asks for `name`, or for nobody in particular.
fn server_name(name: Option<&str>, target: SocketAddr) -> ServerName<'static> {
    name.and_then(|name| ServerName::try_from(name.to_owned()).ok())
        .unwrap_or_else(|| ServerName::from(target.ip()))
}

/// A finished handshake.
pub(crate) async fn connect(
    target: SocketAddr,
    source: Option<IpAddr>,
    name: Option<&str>,
) -> Result<TlsStream<TcpStream>, CheckError> {
    let stream = connect::connect(target, source).await?;
    let connector = TlsConnector::from(config()?);
    Ok(connector.connect(server_name(name, target), stream).await?)
}

/// Passes when what answers a ClientHello is the beginning of a TLS record: an alert, too, is a
/// server that speaks TLS.
pub(crate) async fn hello(target: SocketAddr, source: Option<IpAddr>) -> Result<(), CheckError> {
    let mut ours = Vec::new();
    let mut session = ClientConnection::new(config()?, server_name(None, target))?;
    while session.wants_write() {
        session.write_tls(&mut ours)?;
    }
    let mut stream = connect::connect(target, source).await?;
    stream.write_all(&ours).await?;
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    match head {
        [ALERT | HANDSHAKE, MAJOR] => Ok(()),
        _ => Err(CheckError::NotTls),
    }
}
