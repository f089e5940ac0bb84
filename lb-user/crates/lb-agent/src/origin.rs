//! The namespace the agent was started in, kept while the process lives in the edge's.
//!
//! The server is reached from the origin (management) namespace, packets are handled in the edge.
//! The process moves as a whole before it has threads; what must be done in the origin later is
//! done on a thread that goes back there.

use std::{
    future::Future,
    io,
    net::{TcpStream, ToSocketAddrs as _},
    os::fd::{AsFd as _, OwnedFd},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use lb_sys::netns;
use tokio::sync::oneshot;

use crate::{AgentConfig, Result};

/// Time for one address to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// The namespace the process was started in.
#[derive(Clone, Debug)]
pub struct Origin {
    netns: Arc<OwnedFd>,
}

impl Origin {
    /// Remembers where the process is and moves it into the edge namespace, if one is configured.
    /// To be called before any thread exists, so before a runtime; sockets that must listen in the
    /// origin namespace are bound before.
    ///
    /// # Errors
    /// When there is no such namespace, or threads exist already.
    pub fn enter_edge(config: &AgentConfig) -> Result<Self> {
        let origin = Self::current()?;
        if let Some(name) = &config.edge_netns {
            netns::enter_process(name)?;
        }
        Ok(origin)
    }

    /// Stays where the process is.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn current() -> Result<Self> {
        Ok(Self {
            netns: Arc::new(netns::current()?),
        })
    }

    /// Runs `body` on a thread in the origin namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(netns::run_in_fd(self.netns.as_fd(), body)?)
    }
}

impl lb_wire::client::Dialer for Origin {
    fn dial(
        &self,
        server: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>> {
        let origin = self.clone();
        Box::pin(async move {
            let (told, outcome) = oneshot::channel();
            // Name resolution and connecting block; the thread ends with them.
            std::thread::Builder::new()
                .name("dialer".to_owned())
                .spawn(move || {
                    let connected = origin.run(|| connect(&server)).map_err(io::Error::other);
                    // Nobody waits any more when the call was given up.
                    drop(told.send(connected.and_then(|stream| stream)));
                })?;
            outcome.await.map_err(io::Error::other)?
        })
    }
}

fn connect(server: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
