//! One question to a service: within a deadline, with an answer of limited size.
//!
//! Redirects are not followed: a token is for the service it was meant for.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::error::OpenStackError;

/// Largest answer. A catalogue of a large cloud has some tens of kilobytes.
const BODY_BYTES_MAX: usize = 2 << 20;
/// Connections kept for the next question.
const IDLE_MAX: usize = 16;
const IDLE_FOR: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A client of one service.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    service: &'static str,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl Http {
    pub(crate) fn new(
        service: &'static str,
        cafile: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, OpenStackError> {
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(cafile)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(connector);
        Ok(Self {
            service,
            client,
            timeout,
        })
    }

    /// Asks once. What the service does not answer in time is `Unavailable`.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, OpenStackError> {
        let asked = async {
            let reply = self
                .client
                .request(request)
                .await
                .map_err(|error| self.unavailable(chain(&error)))?;
            let (parts, body) = reply.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| self.unavailable(error.to_string()))?;
            Ok(Reply {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            })
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(reply) => reply,
            Err(_elapsed) => {
                Err(self.unavailable(format!("no answer within {} s", self.timeout.as_secs())))
            }
        }
    }

    pub(crate) fn unavailable(&self, why: impl Into<String>) -> OpenStackError {
        OpenStackError::Unavailable {
            service: self.service,
            why: why.into(),
        }
    }

    pub(crate) fn protocol(&self, why: impl Into<String>) -> OpenStackError {
        OpenStackError::Protocol {
            service: self.service,
            why: why.into(),
        }
    }

    pub(crate) fn service_user(&self, status: StatusCode) -> OpenStackError {
        OpenStackError::ServiceUser {
            service: self.service,
            status,
        }
    }
}

fn tls(cafile: Option<&Path>) -> Result<ClientConfig, OpenStackError> {
    let mut roots = RootCertStore::empty();
    match cafile {
        Some(path) => {
            let fail =
                |why: String| OpenStackError::Config(format!("cafile {}: {why}", path.display()));
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| fail(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| fail(error.to_string()))?;
            }
        }
        None => {
            // A system without certificates can still speak plain HTTP; TLS then fails by itself.
            let (_, _) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenStackError::Config(format!("TLS: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// An error with its causes: hyper's own text does not say that a connection was refused.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
