//! The internal certificate authority: made at the first start, it names the server and the agents.
//!
//! `<state_dir>/ca/{ca.pem,ca.key}` hold it; the server's own certificate is made anew at each start
//! and lives in memory; an agent's credentials are three files in `<state_dir>/agents/<host>/`, to
//! be copied to its host. Server certificates may only serve and agent certificates may only ask, so
//! that no agent can pose as the server.
//!
//! Left out on purpose: revocation and renewal while running (a restart renews).

use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan as _, Zoned, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    error::WireError,
    files::{alone, private_dir, read_optional, write_private},
    tls::{self, Credentials},
};

/// Name in the server's certificate, whatever its address: agents trust our CA and this name.
pub const SERVER_NAME: &str = "server.lbaas.internal";

/// How long the CA lasts.
const CA_DAYS: i32 = 3650;
/// How long the server's certificate lasts; it is made at each start.
const SERVER_DAYS: i32 = 825;
/// How long an agent's certificate lasts.
const AGENT_DAYS: i32 = 825;
/// A certificate with less than this left is replaced at start.
const RENEW_BEFORE_DAYS: i64 = 60;
/// X.520 limit of a common name.
const HOST_CHARS_MAX: usize = 64;

const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const AGENT_CERTIFICATE: &str = "agent.pem";
const AGENT_KEY: &str = "agent.key";

/// The CA with its key.
pub struct CertificateAuthority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority")
            .finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// Reads the CA of `<state_dir>/ca`, or makes it. Killed half way, the next call ends the work:
    /// the key is written first, and a certificate is made for whatever key is there. Several servers
    /// that start on one directory make one CA.
    ///
    /// # Errors
    /// A file that cannot be read, written or understood; a certificate without its key.
    pub fn open(state_dir: &Path) -> Result<Self, WireError> {
        let dir = state_dir.join("ca");
        private_dir(&dir)?;
        let _alone = alone(&dir)?;
        let (certificate_path, key_path) = (dir.join(CA_CERTIFICATE), dir.join(CA_KEY));
        let certificate = read_optional(&certificate_path)?;
        let key = match read_optional(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(|error| WireError::Credential {
                path: key_path,
                reason: format!("not a private key ({error})"),
            })?,
            None if certificate.is_some() => {
                return Err(WireError::Credential {
                    path: key_path,
                    reason: "missing although the CA's certificate exists: restore it, or remove the directory for a new CA and give every agent new credentials".to_owned(),
                });
            }
            None => {
                let key = KeyPair::generate()?;
                write_private(&key_path, key.serialize_pem().as_bytes())?;
                key
            }
        };
        let certificate_pem = match certificate {
            Some(pem) => pem,
            None => {
                let pem = ca_params()?.self_signed(&key)?.pem();
                write_private(&certificate_path, pem.as_bytes())?;
                tracing::info!(path = %certificate_path.display(), "made the internal CA");
                pem
            }
        };
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)?;
        Ok(Self {
            certificate_pem,
            issuer,
        })
    }

    /// The CA's certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A fresh certificate for the server's listener.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn issue_server(&self) -> Result<Credentials, WireError> {
        let mut params = leaf_params(SERVER_NAME, SERVER_DAYS)?;
        params.subject_alt_names = vec![SanType::DnsName(SERVER_NAME.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params)
    }

    /// A fresh certificate for the agent of `host`.
    ///
    /// # Errors
    /// A name that is none; when the certificate cannot be made.
    pub fn issue_agent(&self, host: &str) -> Result<Credentials, WireError> {
        check_host(host)?;
        let mut params = leaf_params(host, AGENT_DAYS)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&params)
    }

    /// Sees to it that `<state_dir>/agents/<host>/` holds credentials that this CA issued and that
    /// still last; leaves good ones alone.
    ///
    /// # Errors
    /// A name that is none; files that cannot be read or written.
    pub fn ensure_agent(&self, state_dir: &Path, host: &str) -> Result<(), WireError> {
        check_host(host)?;
        let dir = state_dir.join("agents").join(host);
        private_dir(&dir)?;
        let _alone = alone(&dir)?;
        let same_ca = read_optional(&dir.join(CA_CERTIFICATE))?.as_deref()
            == Some(self.certificate_pem.as_str());
        let lasts = read_optional(&dir.join(AGENT_CERTIFICATE))?
            .is_some_and(|pem| expiry(&pem).is_some_and(lasts_long_enough));
        let has_key = read_optional(&dir.join(AGENT_KEY))?.is_some();
        if same_ca && lasts && has_key && read_agent_credentials(&dir).is_ok() {
            return Ok(());
        }
        let credentials = self.issue_agent(host)?;
        write_private(
            &dir.join(AGENT_KEY),
            credentials.key_pem.expose().as_bytes(),
        )?;
        write_private(
            &dir.join(AGENT_CERTIFICATE),
            credentials.certificate_pem.as_bytes(),
        )?;
        write_private(&dir.join(CA_CERTIFICATE), self.certificate_pem.as_bytes())?;
        tracing::info!(host, path = %dir.display(), "issued an agent's credentials");
        Ok(())
    }

    fn issue(&self, params: &CertificateParams) -> Result<Credentials, WireError> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Credentials {
            ca_pem: self.certificate_pem.clone(),
            certificate_pem: certificate.pem(),
            key_pem: lb_model::secret::Secret::new(key.serialize_pem()),
        })
    }
}

/// The files that are the CA, by name: what a backup must have.
#[must_use]
pub fn files(state_dir: &Path) -> [(&'static str, PathBuf); 2] {
    [CA_CERTIFICATE, CA_KEY].map(|name| (name, state_dir.join("ca").join(name)))
}

/// Reads an agent's credentials from its directory and checks that key and certificate match.
///
/// # Errors
/// Names the file that is missing or wrong.
pub fn read_agent_credentials(dir: &Path) -> Result<Credentials, WireError> {
    let read = |name: &str| {
        let path = dir.join(name);
        read_optional(&path)?.ok_or_else(|| WireError::Credential {
            path,
            reason: "missing: the server makes an agent's credentials in <state_dir>/agents/<host>; copy that directory here".to_owned(),
        })
    };
    let credentials = Credentials {
        ca_pem: read(CA_CERTIFICATE)?,
        certificate_pem: read(AGENT_CERTIFICATE)?,
        key_pem: lb_model::secret::Secret::new(read(AGENT_KEY)?),
    };
    tls::client_config(&credentials).map_err(|error| WireError::Credential {
        path: dir.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(credentials)
}

/// Whether `host` can name a directory and a certificate.
///
/// # Errors
/// Says what a host name is.
pub fn check_host(host: &str) -> Result<(), WireError> {
    let fits = !host.is_empty()
        && host.len() <= HOST_CHARS_MAX
        && !host.starts_with('.')
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if fits {
        Ok(())
    } else {
        Err(WireError::HostName {
            host: host.to_owned(),
        })
    }
}

fn ca_params() -> Result<CertificateParams, WireError> {
    let mut params = leaf_params("LBaaS internal CA", CA_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    Ok(params)
}

fn leaf_params(common_name: &str, days: i32) -> Result<CertificateParams, WireError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    // Whole days, from yesterday: hosts' clocks differ.
    let today = Zoned::new(Timestamp::now(), TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        date_time_ymd(
            i32::from(date.year()),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    params.not_before = day(today.saturating_sub(1.day()));
    params.not_after = day(today.saturating_add(days.days()));
    Ok(params)
}

fn expiry(certificate_pem: &str) -> Option<Timestamp> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

fn lasts_long_enough(expires: Timestamp) -> bool {
    expires.as_second() - Timestamp::now().as_second() > RENEW_BEFORE_DAYS * 86_400
}
