//! The fields of a request that rules look at.

use http::{HeaderMap, HeaderName, header};

use super::values;
use crate::tls::{ClientCertificate, Session};

/// A borrowed view of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestFields<'a> {
    /// Path alone: no query, not decoded.
    pub(crate) path: &'a str,
    /// All headers, `Host` among them.
    pub(crate) headers: &'a HeaderMap,
    /// The client's TLS; `None`: in clear.
    pub(crate) session: Option<&'a Session>,
}

/// Where a rule's values come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// The `Host` header, compared without case.
    Host,
    /// The path. FILE_TYPE looks here as well.
    Path,
    /// A header.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// `true` when the client showed a certificate.
    ClientHasCert,
    /// How its certificate was verified: 0, as one that does not verify never gets here.
    ClientVerify,
    /// The first such field of its certificate's subject.
    ClientDn(String),
}

impl Source {
    /// Whether comparisons ignore (ASCII) case.
    pub(super) const fn ignores_case(&self) -> bool {
        matches!(self, Self::Host | Self::ClientHasCert)
    }

    /// Calls `each` with every value the request has here; none when the header is missing.
    pub(super) fn for_each(&self, request: RequestFields<'_>, mut each: impl FnMut(&[u8])) {
        match self {
            Self::Host => header_values(request.headers, &header::HOST, each),
            Self::Path => each(request.path.as_bytes()),
            Self::Header(name) => header_values(request.headers, name, each),
            Self::Cookie(name) => request
                .headers
                .get_all(header::COOKIE)
                .iter()
                .flat_map(|line| values::cookies(line.as_bytes(), name.as_bytes()))
                .for_each(each),
            Self::ClientHasCert if certificate(request).is_some() => each(b"true"),
            Self::ClientVerify if request.session.is_some() => each(b"0"),
            Self::ClientHasCert | Self::ClientVerify => {}
            Self::ClientDn(key) => certificate(request)
                .and_then(|certificate| certificate.field(key))
                .into_iter()
                .for_each(each),
        }
    }
}

fn certificate(request: RequestFields<'_>) -> Option<&ClientCertificate> {
    request.session?.certificate.as_ref()
}

fn header_values(headers: &HeaderMap, name: &HeaderName, each: impl FnMut(&[u8])) {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| values::comma_separated(line.as_bytes()))
        .for_each(each);
}
