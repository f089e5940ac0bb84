//! Tells whoever started the process that it serves: a line on standard output for scripts, and the
//! notification of `Type=notify` for systemd.

use std::{env, io, net::SocketAddr, os::unix::ffi::OsStrExt as _, os::unix::net::UnixDatagram};

use crate::cli;

/// Names the socket of systemd's notifications.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// `ready role=… api=http://127.0.0.1:9876 sync=127.0.0.1:9877`: with the ports that were really
/// bound, so that port 0 can be asked for.
pub(crate) fn tell(role: &str, api: Option<SocketAddr>, sync: Option<SocketAddr>) {
    let mut line = format!("ready role={}", role.replace(" ", ":"));
    line.extend(api.map(|address| format!(" api=http://{address}")));
    line.extend(sync.map(|address| format!(" sync={address}")));
    tracing::info!("{line}");
    line.push('\n');
    // A standard output that is closed keeps nobody from serving.
    if let Err(failure) = cli::print(&line) {
        tracing::debug!(?failure, "cannot tell on standard output");
    }
    if let Err(error) = notify() {
        tracing::warn!(%error, "cannot tell systemd");
    }
}

fn notify() -> io::Result<()> {
    let Some(name) = env::var_os(NOTIFY_SOCKET) else {
        return Ok(());
    };
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(b"READY=1", &address)?;
        }
        None => drop(socket.send_to(b"READY=1", &name)?),
    }
    Ok(())
}
