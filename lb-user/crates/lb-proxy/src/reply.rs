//! Answers: a member's, passed on, or one of our own.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};

use crate::{
    gate::GateState,
    log::Entry,
    upstream::{Download, DownloadError},
};

/// Body of an answer. While it lives, the request is being answered.
#[derive(Debug)]
pub(crate) struct Reply {
    content: Content,
    gate: Option<Arc<GateState>>,
    entry: Option<Box<Entry>>,
}

#[derive(Debug)]
enum Content {
    Own(Option<Bytes>),
    Member(Box<Download>),
}

impl Reply {
    pub(crate) fn member(download: Download) -> Self {
        Self {
            content: Content::Member(Box::new(download)),
            gate: None,
            entry: None,
        }
    }

    /// An answer of our own that is no page.
    pub(crate) fn text(text: String) -> Self {
        Self {
            content: Content::Own(Some(text.into())),
            gate: None,
            entry: None,
        }
    }

    fn own(content: &'static str) -> Self {
        let content = (!content.is_empty()).then(|| Bytes::from_static(content.as_bytes()));
        Self {
            content: Content::Own(content),
            gate: None,
            entry: None,
        }
    }

    /// Becomes a line of the flow log when this answer has gone.
    pub(crate) fn logs(&mut self, entry: Entry) {
        self.entry = Some(Box::new(entry));
    }

    /// The gate is told when this answer has gone.
    pub(crate) fn settles(&mut self, gate: Arc<GateState>) {
        self.gate = Some(gate);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(gate) = &self.gate {
            gate.settle();
        }
        if let Some(entry) = &self.entry {
            if !self.is_end_stream() {
                entry.ended(*b"CD");
            }
            entry.write();
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        let polled = match &mut self.content {
            Content::Own(content) => {
                Poll::Ready(content.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Content::Member(download) => Pin::new(download.as_mut()).poll_frame(cx),
        };
        if let (Some(entry), Poll::Ready(Some(frame))) = (&mut self.entry, &polled) {
            match frame {
                Ok(frame) => entry.sent(frame.data_ref().map_or(0, Bytes::len)),
                Err(DownloadError::Http1(_) | DownloadError::Http2(_)) => entry.ended(*b"SD"),
                Err(DownloadError::Silent) => entry.ended(*b"sD"),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(content) => content.is_none(),
            Content::Member(download) => download.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(content) => {
                SizeHint::with_exact(content.as_ref().map_or(0, Bytes::len) as u64)
            }
            Content::Member(download) => download.size_hint(),
        }
    }
}

/// An answer of our own, with a short page.
pub(crate) fn status(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::own(page(status)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

/// As [`status`], as bytes.
pub(crate) fn raw_page(status: StatusCode, is_head: bool, closes: bool) -> Vec<u8> {
    let page = page(status);
    let close = if closes { "connection: close\r\n" } else { "" };
    let body = if is_head { "" } else { page };
    format!(
        "HTTP/1.1 {status}\r\ncache-control: no-cache\r\ncontent-type: text/html\r\ncontent-length: {}\r\n{close}\r\n{body}",
        page.len()
    )
    .into_bytes()
}

/// A redirect; its body is empty.
pub(crate) fn redirect(code: StatusCode, location: HeaderValue) -> Response<Reply> {
    let mut response = Response::new(Reply::own(""));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CONTENT_LENGTH, 0.into());
    response
}

fn page(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => {
            "<html><body><h1>400 Bad request</h1>\nYour browser sent an invalid request.\n</body></html>\n"
        }
        StatusCode::FORBIDDEN => {
            "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>\n"
        }
        StatusCode::REQUEST_TIMEOUT => {
            "<html><body><h1>408 Request Time-out</h1>\nYour browser didn't send a complete request in time.\n</body></html>\n"
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "<html><body><h1>431 Request Header Fields Too Large</h1>\nYour browser sent too large a request head.\n</body></html>\n"
        }
        StatusCode::BAD_GATEWAY => {
            "<html><body><h1>502 Bad Gateway</h1>\nThe server returned an invalid or incomplete response.\n</body></html>\n"
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"
        }
        StatusCode::GATEWAY_TIMEOUT => {
            "<html><body><h1>504 Gateway Time-out</h1>\nThe server didn't respond in time.\n</body></html>\n"
        }
        _ => "",
    }
}
