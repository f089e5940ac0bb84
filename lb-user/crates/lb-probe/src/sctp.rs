//! SCTP: an INIT that the member acknowledges (Octavia's `sctp-health-check` does the same).
//!
//! Over raw sockets that the agent opens in the amphora's namespace before the amphora gives up
//! every privilege, one an IP version: that works whether the kernel has SCTP or not, and a probe
//! never becomes an association. The answer is told by its verification tag, which is random for
//! each probe. Nothing is left at the member: a server keeps no state before the cookie comes back
//! (RFC 9260, 5.1).

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use socket2::{Domain, Socket};
use tokio::{net::UdpSocket, sync::oneshot};

use crate::check::CheckError;

/// Chunk types (RFC 9260, 3.2).
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
/// Common header, then chunk header.
const HEADERS: usize = 12 + 4;
/// Probes come from here upwards.
const PORT_MIN: u16 = 32_768;
/// An INIT acknowledgement carries a cookie; only its head matters.
const PACKET_BYTES_MAX: usize = 2_048;

/// What a member said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Acknowledged,
    Aborted,
}

/// Who waits for which tag.
type Waiting = Arc<Mutex<HashMap<u32, oneshot::Sender<Said>>>>;

/// The raw sockets of a process, and who reads them.
#[derive(Debug)]
pub struct SctpSockets {
    v4: Option<Arc<UdpSocket>>,
    v6: Option<Arc<UdpSocket>>,
    waiting: Waiting,
    seed: u64,
    next: AtomicU32,
}

impl SctpSockets {
    /// Takes over sockets of [`lb_sys::raw::open_sctp`]. Must be called within a tokio runtime, which reads them from
    /// then on.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn new(sockets: Vec<OwnedFd>) -> std::io::Result<Arc<Self>> {
        let waiting = Waiting::default();
        let (mut v4, mut v6) = (None, None);
        for socket in sockets {
            let socket = Socket::from(socket);
            socket.set_nonblocking(true)?;
            let is_v6 = socket.domain()? == Domain::IPV6;
            let socket = Arc::new(UdpSocket::from_std(socket.into())?);
            let reading = read(Arc::clone(&socket), is_v6, Arc::clone(&waiting));
            lb_telemetry::task::spawn("sctp answers", reading);
            *(if is_v6 { &mut v6 } else { &mut v4 }) = Some(socket);
        }
        Ok(Arc::new(Self {
            v4,
            v6,
            waiting,
            // The standard library's keys are random: nobody outside may guess a tag.
            seed: RandomState::new().build_hasher().finish(),
            next: AtomicU32::new(0),
        }))
    }

    /// Sends an INIT and waits for what it brings.
    pub(crate) async fn init(
        &self,
        target: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<(), CheckError> {
        let socket = match target {
            SocketAddr::V4(_) => self.v4.as_ref(),
            SocketAddr::V6(_) => self.v6.as_ref(),
        };
        let socket = socket.ok_or(CheckError::NoSctp)?;
        let (tag, port) = self.choose();
        let (sender, receiver) = oneshot::channel();
        let _waits = Waits::new(&self.waiting, tag, sender);
        let packet = init(port, target.port(), tag);
        send(socket, &packet, source, target.ip()).await?;
        match receiver.await {
            Ok(Said::Acknowledged) => Ok(()),
            Ok(Said::Aborted) => Err(CheckError::Aborted),
            // Another probe with this tag: one in four thousand million.
            Err(_closed) => Err(CheckError::Timeout),
        }
    }

    /// A tag that is not 0 and cannot be guessed, and a port.
    fn choose(&self) -> (u32, u16) {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut mixed = self.seed ^ (u64::from(count) << 17 | 1);
        // The finalizer of SplitMix64.
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let [a, b, c, d, e, f, ..] = mixed.to_be_bytes();
        let tag = u32::from_be_bytes([a, b, c, d]).max(1);
        (tag, PORT_MIN | u16::from_be_bytes([e, f]) & (PORT_MIN - 1))
    }
}

/// An entry among those who wait, for as long as it lives.
struct Waits<'a> {
    waiting: &'a Waiting,
    tag: u32,
}

impl<'a> Waits<'a> {
    fn new(waiting: &'a Waiting, tag: u32, sender: oneshot::Sender<Said>) -> Self {
        // As many as probes run at once, which is one a member.
        lock(waiting).insert(tag, sender);
        Self { waiting, tag }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        lock(self.waiting).remove(&self.tag);
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<u32, oneshot::Sender<Said>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn send(
    socket: &UdpSocket,
    packet: &[u8],
    source: Option<IpAddr>,
    target: IpAddr,
) -> Result<(), CheckError> {
    match source {
        None => {
            socket.send_to(packet, SocketAddr::new(target, 0)).await?;
        }
        Some(source) => {
            lb_sys::raw::send_from(socket, packet, source, target).map_err(|error| error.source)?;
        }
    }
    Ok(())
}

/// Hands answers to those who wait for them.
async fn read(socket: Arc<UdpSocket>, is_v6: bool, waiting: Waiting) {
    let mut packet = [0; PACKET_BYTES_MAX];
    loop {
        match socket.recv(&mut packet).await {
            Ok(bytes) => {
                let received = packet.get(..bytes).unwrap_or_default();
                if let Some((tag, said)) = answer(received, is_v6)
                    && let Some(sender) = lock(&waiting).remove(&tag)
                {
                    // Whoever asked may have given up.
                    let _gone = sender.send(said);
                }
            }
            // An ICMP error about some probe: its own deadline tells it.
            Err(error) => tracing::debug!(%error, "sctp socket"),
        }
    }
}

/// What a packet says, and to whom: an IPv4 raw socket hands over the IP header, too.
fn answer(packet: &[u8], is_v6: bool) -> Option<(u32, Said)> {
    let header = if is_v6 {
        0
    } else {
        usize::from(packet.first()? & 0xf) * 4
    };
    let sctp = packet.get(header..)?;
    let tag = u32::from_be_bytes(*sctp.get(4..)?.first_chunk()?);
    match *sctp.get(HEADERS - 4)? {
        INIT_ACK => Some((tag, Said::Acknowledged)),
        ABORT => Some((tag, Said::Aborted)),
        _ => None,
    }
}

/// An INIT for one stream each way, with its checksum.
fn init(source_port: u16, target_port: u16, tag: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(32);
    packet.extend(source_port.to_be_bytes());
    packet.extend(target_port.to_be_bytes());
    // Verification tag (0 with an INIT), then the checksum's place.
    packet.extend([0; 8]);
    packet.extend([INIT, 0, 0, 20]);
    packet.extend(tag.to_be_bytes());
    // Receive window, streams out and in, first sequence number.
    packet.extend(65_535_u32.to_be_bytes());
    packet.extend(1_u16.to_be_bytes());
    packet.extend(1_u16.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    let checksum = crc32c(&packet);
    if let Some(place) = packet.get_mut(8..12) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    packet
}

/// CRC-32C (RFC 9260, appendix A), bit by bit: 32 bytes a probe.
fn crc32c(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    });
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_castagnoli_one() {
        // RFC 3720, B.4, and the check value of the polynomial.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn an_init_is_as_rfc_9260_has_it() {
        let mut packet = init(40_000, 80, 0x0102_0304);
        assert_eq!(packet.len(), 32);
        let checksum = packet[8..12].to_vec();
        packet[8..12].fill(0);
        assert_eq!(checksum, crc32c(&packet).to_le_bytes());
        assert_eq!(&packet[12..20], [1, 0, 0, 20, 1, 2, 3, 4]);
    }

    #[test]
    fn answers_are_told_by_their_tag() {
        let ack = |kind: u8| {
            let mut sctp = vec![0, 80, 156, 64, 1, 2, 3, 4, 0, 0, 0, 0];
            sctp.extend([kind, 0, 0, 4]);
            sctp
        };
        let mut v4 = vec![0x46; 24];
        v4.extend(ack(INIT_ACK));
        assert_eq!(answer(&v4, false), Some((0x0102_0304, Said::Acknowledged)));
        assert_eq!(
            answer(&ack(ABORT), true),
            Some((0x0102_0304, Said::Aborted))
        );
        assert_eq!(answer(&ack(3), true), None, "a SACK");
        assert_eq!(answer(&v4[..30], false), None, "cut off");
        assert_eq!(answer(&[], false), None);
    }
}
