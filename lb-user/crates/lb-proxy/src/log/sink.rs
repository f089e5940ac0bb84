//! Where lines go: a file, a syslog socket, the journal.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::net::UnixDatagram,
    process,
};

use lb_model::amphora::FlowLog;

/// Facility local0, severity info, as Octavia sends tenants' lines.
const PRIORITY: u8 = 134;
const JOURNAL: &str = "/run/systemd/journal/socket";

#[derive(Debug)]
pub(super) enum Sink {
    File(File),
    Syslog(UnixDatagram),
    Journal(UnixDatagram),
}

impl Sink {
    pub(super) fn open(target: &FlowLog) -> io::Result<Self> {
        let connect = |path: &str| {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            io::Result::Ok(socket)
        };
        match target {
            FlowLog::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                Ok(Self::File(file))
            }
            FlowLog::Syslog(path) => connect(path).map(Self::Syslog),
            FlowLog::Journal => connect(JOURNAL).map(Self::Journal),
        }
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let each = |socket: &UnixDatagram, prefix: &str| {
            let mut datagram = prefix.as_bytes().to_vec();
            for line in lines.split(|&byte| byte == b'\n') {
                if line.is_empty() {
                    continue;
                }
                datagram.truncate(prefix.len());
                datagram.extend_from_slice(line);
                socket.send(&datagram)?;
            }
            Ok(())
        };
        match self {
            Self::File(file) => file.write_all(lines),
            Self::Syslog(socket) => each(
                socket,
                // Without a time: the receiver has one, and the line as well.
                &format!("<{PRIORITY}>lbaas[{}]: ", process::id()),
            ),
            Self::Journal(socket) => each(socket, "PRIORITY=6\nSYSLOG_IDENTIFIER=lbaas\nMESSAGE="),
        }
    }
}
