//! Accepting: one loop per listening socket.

use std::{io, net::SocketAddr, net::TcpListener, rc::Rc, time::Duration};

use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{connection, counters::OpenConnection, view::ListenerView, worker::Worker};

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
        listener: worker.view().at(address),
        worker,
        address,
    };
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, client)) => acceptor.serve(stream, client),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%address, %error, "cannot accept");
                sleep(OUT_OF_DESCRIPTORS_PAUSE).await;
            }
        }
    }
    if let Err(error) = acceptor.empty(socket) {
        tracing::debug!(%address, %error, "the queue could not be emptied");
    }
}

struct Acceptor {
    worker: Rc<Worker>,
    address: SocketAddr,
    listener: Option<Rc<ListenerView>>,
}

impl Acceptor {
    fn serve(&mut self, stream: TcpStream, client: SocketAddr) {
        self.listener = self.worker.view().at(self.address).or(self.listener.take());
        let Some(listener) = self.listener.clone() else {
            return;
        };
        let open = OpenConnection::count(&listener.counters, &self.worker.connections);
        self.worker.pulse.quicken();
        let serving = connection::serve(
            Rc::clone(&self.worker),
            listener,
            stream,
            client,
            self.address,
            open,
        );
        lb_telemetry::task::spawn_local("connection", serving);
    }

    /// Takes what has queued up before the socket closes.
    fn empty(&mut self, socket: tokio::net::TcpListener) -> io::Result<()> {
        let socket = socket.into_std()?;
        loop {
            match socket.accept() {
                Ok((stream, client)) => {
                    stream.set_nonblocking(true)?;
                    self.serve(TcpStream::from_std(stream)?, client);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
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
