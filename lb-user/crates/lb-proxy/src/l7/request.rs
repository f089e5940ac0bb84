//! The fields of a request that rules look at.

use http::{HeaderMap, HeaderName, header};

use super::values;
use crate::tls::{ClientCertificate, Session};

/// The headers of a request, in whatever form they are there.
pub(crate) trait Headers: std::fmt::Debug {
    /// Calls `each` with the value of every line of this name, in order.
    fn for_each(&self, name: &HeaderName, each: &mut dyn FnMut(&[u8]));
}

impl Headers for HeaderMap {
    fn for_each(&self, name: &HeaderName, each: &mut dyn FnMut(&[u8])) {
        let lines = self.get_all(name).iter();
        lines.for_each(|line| each(line.as_bytes()));
    }
}

/// A borrowed view of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestFields<'a> {
    /// Path alone: no query, not decoded.
    pub(crate) path: &'a str,
    /// All headers, `Host` among them.
    pub(crate) headers: &'a dyn Headers,
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
            Self::Cookie(name) => request.headers.for_each(&header::COOKIE, &mut |line| {
                values::cookies(line, name.as_bytes()).for_each(&mut each);
            }),
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
    request.session?.certificate.as_deref()
}

fn header_values(headers: &dyn Headers, name: &HeaderName, mut each: impl FnMut(&[u8])) {
    headers.for_each(name, &mut |line| {
        values::comma_separated(line).for_each(&mut each);
    });
}
