//! Accepting: one loop per listening socket.

use std::{io, net::SocketAddr, net::TcpListener, pin::pin, rc::Rc, time::Duration};

use lb_model::enums::ListenerProtocol;
use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    connection, counters::OpenConnection, listen::Endpoint, tcp, view::ListenerView, worker::Worker,
};

/// Pause when the process has no descriptor left for a connection that is waiting.
const OUT_OF_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(10);

/// Accepts on `socket`, which stands for `address`, until `closing`. What waits in the socket's queue
/// by then is still served, by the listener as it last was: those clients have connected.
pub(crate) async fn run(
    worker: Rc<Worker>,
    address: SocketAddr,
    socket: TcpListener,
    closing: CancellationToken,
) {
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%address, %error, "listening socket cannot be used");
            return;
        }
    };
    let mut acceptor = Acceptor {
        listener: worker.view().at(endpoint(address)),
        worker,
        address,
        held: None,
    };
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.accept(&socket) => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok(()) => acceptor.serve_held(),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%address, %error, "cannot accept");
                sleep(OUT_OF_DESCRIPTORS_PAUSE).await;
            }
        }
    }
    acceptor.enter_held();
    if let Err(error) = acceptor.empty(socket) {
        tracing::debug!(%address, %error, "the queue could not be emptied");
    }
}

struct Acceptor {
    worker: Rc<Worker>,
    address: SocketAddr,
    listener: Option<Rc<ListenerView>>,
    /// Accepted, but there is no room for it yet.
    held: Option<(TcpStream, SocketAddr)>,
}

impl Acceptor {
    /// Accepts a connection and finds room for it: what comes while the listener is full waits in
    /// the socket's queue (and one, at most, here). Cancel-safe.
    async fn accept(&mut self, socket: &tokio::net::TcpListener) -> io::Result<()> {
        loop {
            let Some(listener) = self.listener() else {
                self.held = Some(socket.accept().await?);
                return Ok(());
            };
            let mut freed = pin!(listener.room.freed.notified());
            freed.as_mut().enable();
            let limit = listener.config.connection_limit;
            if listener.room.open() >= limit {
                freed.await;
            } else if self.held.is_none() {
                self.held = Some(socket.accept().await?);
            } else if listener.room.take(limit) {
                return Ok(());
            }
        }
    }

    /// The listener as it is now, or as it last was.
    fn listener(&mut self) -> Option<Rc<ListenerView>> {
        self.listener = self
            .worker
            .view()
            .at(endpoint(self.address))
            .or(self.listener.take());
        self.listener.clone()
    }

    fn serve_held(&mut self) {
        if let Some((stream, client)) = self.held.take() {
            self.serve(stream, client);
        }
    }

    /// Serves it although there may be no room: its client has connected.
    fn enter_held(&mut self) {
        if let Some((stream, client)) = self.held.take() {
            self.enter(stream, client);
        }
    }

    fn enter(&mut self, stream: TcpStream, client: SocketAddr) {
        if let Some(listener) = self.listener() {
            listener.room.take(u64::MAX);
            self.serve(stream, client);
        }
    }

    /// It has its place.
    fn serve(&mut self, stream: TcpStream, client: SocketAddr) {
        let Some(listener) = self.listener.clone() else {
            return;
        };
        let open =
            OpenConnection::count(&listener.counters, &listener.room, &self.worker.connections);
        self.worker.pulse.quicken();
        let worker = Rc::clone(&self.worker);
        let local = self.address;
        if matches!(
            listener.config.protocol,
            ListenerProtocol::Tcp | ListenerProtocol::Https
        ) {
            let serving = tcp::serve(worker, listener, stream, client, local, open);
            lb_telemetry::task::spawn_local("TCP connection", serving);
        } else {
            let serving = connection::serve(worker, listener, stream, client, local, open);
            lb_telemetry::task::spawn_local("connection", serving);
        }
    }

    /// Takes what has queued up before the socket closes.
    fn empty(&mut self, socket: tokio::net::TcpListener) -> io::Result<()> {
        let socket = socket.into_std()?;
        loop {
            match socket.accept() {
                Ok((stream, client)) => {
                    stream.set_nonblocking(true)?;
                    self.enter(TcpStream::from_std(stream)?, client);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

const fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        address,
        datagrams: false,
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
