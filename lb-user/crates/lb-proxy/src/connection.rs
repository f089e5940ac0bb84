//! One client connection, from accept to close.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

use crate::{
    counters::OpenConnection,
    gate::{GateState, Gated, HEADERS_MAX},
    h1,
    headers::Ends,
    http2::{self, Streams},
    request,
    tls::Session,
    view::ListenerView,
    worker::Worker,
};

/// A TLS handshake may take this long, or the client's timeout when that is shorter.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What is known of a connection while it lives; its requests and tunnels hold it.
#[derive(Debug)]
pub(crate) struct Client {
    /// No other connection of the worker has it.
    pub(crate) number: u64,
    /// There may be connections to members that are this client's alone.
    pub(crate) owns: Cell<bool>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) ends: Ends,
    /// What the TLS handshake told.
    pub(crate) session: Option<Session>,
    pub(crate) gate: Arc<GateState>,
    /// Of HTTP/2.
    pub(crate) streams: Streams,
    /// The listener as this connection last saw it.
    last: RefCell<Rc<ListenerView>>,
    _open: OpenConnection,
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.owns.get() {
            self.worker.idle.forget(self.number);
        }
    }
}

impl Client {
    /// The listener as it is now, and whether it still exists. One that is gone goes on serving its
    /// connections as it last was.
    pub(crate) fn listener(&self) -> (Rc<ListenerView>, bool) {
        let id = self.last.borrow().config.id;
        match self.worker.view().listener(id) {
            Some(newest) => {
                *self.last.borrow_mut() = Rc::clone(&newest);
                (newest, true)
            }
            None => (Rc::clone(&self.last.borrow()), false),
        }
    }
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Rc<ListenerView>,
    stream: TcpStream,
    from: SocketAddr,
    local: SocketAddr,
    open: OpenConnection,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::trace!(client = %from, %error, "connection is gone already");
        return;
    }
    let tls = listener.config.tls.clone();
    let patience = listener.config.client_timeout;
    let mut client = Rc::new(Client {
        number: worker.number_client(),
        owns: Cell::new(false),
        worker,
        ends: Ends {
            client: from,
            local,
            tls: tls.is_some(),
        },
        session: None,
        gate: Arc::new(GateState::new()),
        streams: Streams::default(),
        last: RefCell::new(listener),
        _open: open,
    });
    let Some(config) = tls else {
        return plain(client, stream).await;
    };
    // Boxed, as what follows: idle connections are many, and a task is as large as its largest state.
    let handshake = Box::pin(TlsAcceptor::from(config).accept(stream));
    let stream = match timeout(patience.min(HANDSHAKE_MAX), handshake).await {
        Ok(Ok(stream)) => Box::new(stream),
        Ok(Err(error)) => {
            tracing::trace!(client = %client.ends.client, %error, "TLS handshake failed");
            return;
        }
        Err(_elapsed) => {
            tracing::trace!(client = %client.ends.client, "TLS handshake timed out");
            return;
        }
    };
    let session = Session::of(stream.get_ref().1);
    let is_h2 = session.h2;
    // Nobody else has it yet.
    if let Some(client) = Rc::get_mut(&mut client) {
        client.session = Some(session);
    }
    // The deadline for a request begins now.
    client.gate.settle();
    if is_h2 {
        Box::pin(http2::serve(client, stream)).await;
    } else {
        plain(client, stream).await;
    }
}

/// HTTP/1: ours as long as requests are of the usual kind, then hyper's.
async fn plain<S: h1::Stream>(client: Rc<Client>, stream: S) {
    if let Some(rest) = h1::serve(&client, stream).await {
        // Boxed: most connections never get here.
        Box::pin(http(client, rest)).await;
    }
}

async fn http<S: h1::Stream>(client: Rc<Client>, rest: h1::Rest<S>) {
    let (listener, _) = client.listener();
    let gated = Gated::new(
        rest,
        Arc::clone(&client.gate),
        Arc::clone(&listener.counters),
        listener.config.client_timeout,
    );
    drop(listener);
    let service_client = Rc::clone(&client);
    let service = service_fn(move |request| {
        let client = Rc::clone(&service_client);
        async move { Ok::<_, Infallible>(request::handle(client, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The gate keeps the client's times: it knows a late head from an idle connection.
        .header_read_timeout(None)
        .half_close(true)
        .auto_date_header(false)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(gated), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = client.worker.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(client = %client.ends.client, %error, "connection ended");
    }
}
