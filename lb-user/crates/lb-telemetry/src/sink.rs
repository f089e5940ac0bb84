//! Where lines of a log go that is not ours but a tenant's: a file, a syslog socket, the journal.
//!
//! A file is opened anew when somebody has moved it away (logrotate needs no signal), and moved to
//! `FILE.1` when it has grown beyond its limit. Writing blocks: it belongs on a thread of its own.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::{
        fs::{MetadataExt as _, OpenOptionsExt as _},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process,
};

/// Facility local0, severity info, as Octavia sends tenants' lines.
const PRIORITY: u8 = 134;
const JOURNAL: &str = "/run/systemd/journal/socket";

/// An open log.
#[derive(Debug)]
pub struct Sink(Kind);

#[derive(Debug)]
enum Kind {
    File(Growing),
    Syslog(UnixDatagram),
    Journal(UnixDatagram),
}

#[derive(Debug)]
struct Growing {
    path: PathBuf,
    bytes_max: u64,
    file: File,
}

impl Sink {
    /// Appends to a file; beyond `bytes_max` it is put aside, replacing the one before.
    ///
    /// # Errors
    /// When it cannot be opened for writing.
    pub fn file(path: &Path, bytes_max: u64) -> io::Result<Self> {
        Ok(Self(Kind::File(Growing {
            file: open(path)?,
            path: path.to_owned(),
            bytes_max,
        })))
    }

    /// Sends to the syslog that listens on this Unix socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn syslog(path: &Path) -> io::Result<Self> {
        connect(path).map(Kind::Syslog).map(Self)
    }

    /// Sends to systemd's journal.
    ///
    /// # Errors
    /// When there is none.
    pub fn journal() -> io::Result<Self> {
        connect(Path::new(JOURNAL)).map(Kind::Journal).map(Self)
    }

    /// Writes whole lines.
    ///
    /// # Errors
    /// What the operating system says; some of the lines may have been written.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::File(file) => file.write(lines),
            // Without a time: the receiver has one, and the line as well.
            Kind::Syslog(socket) => each(
                socket,
                &format!("<{PRIORITY}>lbaas[{}]: ", process::id()),
                lines,
            ),
            Kind::Journal(socket) => each(
                socket,
                "PRIORITY=6\nSYSLOG_IDENTIFIER=lbaas\nMESSAGE=",
                lines,
            ),
        }
    }
}

impl Growing {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let is_there = fs::metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        let grown = ours.len() > 0 && ours.len() + lines.len() as u64 > self.bytes_max;
        if is_there && grown {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            fs::rename(&self.path, aside)?;
        }
        if grown || !is_there {
            self.file = open(&self.path)?;
        }
        self.file.write_all(lines)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640).open(path)
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

/// A datagram a line.
fn each(socket: &UnixDatagram, prefix: &str, lines: &[u8]) -> io::Result<()> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_or_has_grown_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flow.log");
        let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let mut sink = Sink::file(&path, 10).unwrap();
        sink.write(b"one\n").unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        sink.write(b"two\n").unwrap();
        sink.write(b"three\n").unwrap();
        assert_eq!(
            (text("moved"), text("flow.log")),
            ("one\n".into(), "two\nthree\n".into())
        );
        sink.write(b"four\n").unwrap();
        assert_eq!(
            (text("flow.log.1"), text("flow.log")),
            ("two\nthree\n".into(), "four\n".into())
        );
    }

    #[test]
    fn syslog_gets_a_datagram_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let receiver = UnixDatagram::bind(&path).unwrap();
        Sink::syslog(&path).unwrap().write(b"one\ntwo\n").unwrap();
        for line in ["one", "two"] {
            let mut buffer = [0; 99];
            let length = receiver.recv(&mut buffer).unwrap();
            let expected = format!("<134>lbaas[{}]: {line}", process::id());
            assert_eq!(&buffer[..length], expected.as_bytes());
        }
    }
}
