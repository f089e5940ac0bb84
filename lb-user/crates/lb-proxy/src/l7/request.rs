//! The fields of a request that rules look at.

use http::{HeaderMap, HeaderName, header};

use super::values;

/// A borrowed view of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestFields<'a> {
    /// Path alone: no query, not decoded.
    pub(crate) path: &'a str,
    /// All headers, `Host` among them.
    pub(crate) headers: &'a HeaderMap,
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
}

impl Source {
    /// Whether comparisons ignore (ASCII) case.
    pub(super) const fn ignores_case(&self) -> bool {
        matches!(self, Self::Host)
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
        }
    }
}

fn header_values(headers: &HeaderMap, name: &HeaderName, each: impl FnMut(&[u8])) {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| values::comma_separated(line.as_bytes()))
        .for_each(each);
}
