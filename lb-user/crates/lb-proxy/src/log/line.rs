//! One line.

use std::{
    io::Write as _,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{Method, Uri, Version};
use lb_model::id::{ListenerId, MemberId, PoolId};

use crate::{tls::Session, upstream::Cookie};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A request line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    Parsed(&'a Method, &'a Uri, Version),
    /// As it was sent.
    Line(&'a [u8]),
}

/// What a line says.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) listener: ListenerId,
    pub(crate) client: SocketAddr,
    pub(crate) time: SystemTime,
    /// `None`: there is no HTTP.
    pub(crate) request: Option<Asked<'a>>,
    pub(crate) status: u16,
    /// Bytes to the client.
    pub(crate) read: u64,
    /// Bytes from the client.
    pub(crate) uploaded: u64,
    pub(crate) session: Option<&'a Session>,
    pub(crate) pool: Option<PoolId>,
    pub(crate) member: Option<MemberId>,
    pub(crate) total: Duration,
    /// Who ended it, and when, as HAProxy says it.
    pub(crate) state: [u8; 2],
    pub(crate) cookie: Cookie,
}

impl Line<'_> {
    /// Writes it behind `to`. `owner`: project and load balancer.
    pub(super) fn append(&self, owner: &str, to: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        self.try_append(owner, to).unwrap_or_default();
    }

    fn try_append(&self, owner: &str, to: &mut Vec<u8>) -> std::io::Result<()> {
        let client = self.client.ip().to_canonical();
        write!(
            to,
            "{owner} {} {client} {} ",
            self.listener,
            self.client.port()
        )?;
        time(self.time, to)?;
        match self.request {
            Some(request) => {
                to.extend_from_slice(b" \"");
                let at = to.len();
                match request {
                    Asked::Parsed(method, target, version) => {
                        write!(to, "{method} {target} {version:?}")?;
                    }
                    Asked::Line(line) => to.extend_from_slice(line),
                }
                // What could end the line is not in a target the gate lets pass; this would end the
                // field.
                let written = to.get_mut(at..).unwrap_or_default().iter_mut();
                written
                    .filter(|byte| **byte == b'"')
                    .for_each(|byte| *byte = b'\'');
                write!(to, "\" {}", self.status)?;
            }
            None => write!(to, " - -")?,
        }
        write!(to, " {} {} ", self.read, self.uploaded)?;
        match self.session {
            None => write!(to, "- \"\"")?,
            Some(session) => {
                write!(to, "0 ")?;
                match &session.certificate {
                    Some(certificate) => to.extend_from_slice(certificate.subject_dn.as_bytes()),
                    None => write!(to, "\"\"")?,
                }
            }
        }
        match self.pool {
            Some(pool) => write!(to, " {pool}:{} ", self.listener)?,
            None => write!(to, " {} ", self.listener)?,
        }
        match self.member {
            Some(member) => write!(to, "{member}")?,
            None => write!(to, "<NOSRV>")?,
        }
        write!(to, " {} ", self.total.as_millis())?;
        to.extend_from_slice(&self.state);
        to.extend_from_slice(match self.cookie {
            Cookie::Unused => b"--",
            Cookie::None => b"NI",
            Cookie::Invalid => b"II",
            Cookie::Down => b"DI",
            Cookie::Valid => b"VN",
        });
        to.push(b'\n');
        Ok(())
    }
}

/// `22/Nov/2026:20:05:18.885`, UTC.
fn time(time: SystemTime, to: &mut Vec<u8>) -> std::io::Result<()> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let month = usize::try_from(month)
        .ok()
        .and_then(|month| MONTHS.get(month - 1));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    write!(
        to,
        "{day:02}/{}/{year}:{hour:02}:{minute:02}:{second:02}.{:03}",
        month.unwrap_or(&"Jan"),
        since.subsec_millis()
    )
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn lines_are_as_haproxy_writes_them() {
        let target: Uri = "/200?q=%22".parse().expect("a target");
        let mut line = Line {
            listener: ListenerId(Uuid::from_u128(1)),
            client: "127.0.0.1:42816".parse().expect("an address"),
            time: UNIX_EPOCH + Duration::from_millis(1_795_378_218_885),
            request: Some(Asked::Parsed(&Method::GET, &target, Version::HTTP_11)),
            status: 200,
            read: 107,
            uploaded: 85,
            session: None,
            pool: Some(PoolId(Uuid::from_u128(2))),
            member: Some(MemberId(Uuid::from_u128(3))),
            total: Duration::from_micros(3900),
            state: *b"--",
            cookie: Cookie::None,
        };
        let mut text = Vec::new();
        line.append("project lb", &mut text);
        line.request = None;
        (line.pool, line.member, line.cookie) = (None, None, Cookie::Unused);
        line.state = *b"SC";
        line.append("project lb", &mut text);
        let id = |last: u8| format!("00000000-0000-0000-0000-00000000000{last}");
        let (listener, pool, member) = (id(1), id(2), id(3));
        assert_eq!(
            String::from_utf8_lossy(&text),
            format!(
                "project lb {listener} 127.0.0.1 42816 22/Nov/2026:20:10:18.885 \"GET /200?q=%22 HTTP/1.1\" 200 107 85 - \"\" {pool}:{listener} {member} 3 --NI\n\
                 project lb {listener} 127.0.0.1 42816 22/Nov/2026:20:10:18.885 - - 107 85 - \"\" {listener} <NOSRV> 3 SC--\n"
            )
        );
    }

    #[test]
    fn days_become_dates() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_780, (2026, 11, 23)),
        ] {
            assert_eq!(date(days), expected);
        }
    }
}
