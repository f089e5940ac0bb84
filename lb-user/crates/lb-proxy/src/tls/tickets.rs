//! Session tickets: sealed under keys that every amphora of a load balancer derives alike.
//!
//! A key is HKDF-SHA256 of the seed, for one listener, one way of checking clients and one period of
//! twelve hours; a ticket names its period and opens during it and the next. So sessions resume at
//! the other amphora of a pair, after a restart and across changes of certificates, and never where
//! clients are checked in another way than the one they went through.
//!
//! Left out on purpose: a shared cache of keys. Deriving one is two HMACs, little beside the rest of
//! a handshake; a cache would be a lock that every handshake takes.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
    rand,
};
use lb_model::{id::ListenerId, secret::Secret, spec::ListenerTlsSpec};
use rustls::server::ProducesTickets;

/// A key is used for this long to seal, and twice as long to open.
const PERIOD_SECS: u64 = 12 * 60 * 60;
const SEED_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const PERIOD_BYTES: usize = 8;

/// What keys are derived from.
#[derive(Clone)]
pub(crate) struct Seed(Arc<[u8]>);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(redacted)")
    }
}

impl PartialEq for Seed {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Seed {
    /// The one that comes with the configuration.
    pub(crate) fn given(secret: &Secret) -> Self {
        Self(secret.expose().as_bytes().into())
    }

    /// One of this process alone.
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub(crate) fn random() -> Result<Self, rustls::Error> {
        let mut bytes = [0; SEED_BYTES];
        rand::fill(&mut bytes).map_err(|_unspecified| rustls::Error::FailedToGetRandomBytes)?;
        Ok(Self(bytes.as_slice().into()))
    }
}

/// One listener's tickets.
pub(super) struct Tickets {
    keys: Prk,
    context: Vec<u8>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(redacted)")
    }
}

impl Tickets {
    pub(super) fn new(seed: &Seed, listener: ListenerId, tls: &ListenerTlsSpec) -> Self {
        let mut context = listener.to_string().into_bytes();
        context.extend(tls.client_authentication.as_str().bytes());
        for checked in [&tls.client_ca, &tls.client_crl] {
            let checked = checked.as_deref().unwrap_or_default().as_bytes();
            context.extend(checked.len().to_be_bytes());
            context.extend(checked);
        }
        Self {
            keys: Salt::new(HKDF_SHA256, b"lbaas session tickets").extract(&seed.0),
            context,
        }
    }

    fn key(&self, period: u64) -> Option<RandomizedNonceKey> {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                KEY_BYTES
            }
        }
        let mut key = [0; KEY_BYTES];
        let period = period.to_be_bytes();
        let info = [self.context.as_slice(), period.as_slice()];
        self.keys.expand(&info, Length).ok()?.fill(&mut key).ok()?;
        RandomizedNonceKey::new(&AES_256_GCM, &key).ok()
    }

    fn seal(&self, plain: &[u8], period: u64) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let name = period.to_be_bytes();
        let nonce = self
            .key(period)?
            .seal_in_place_append_tag(Aad::from(name), &mut sealed)
            .ok()?;
        Some([name.as_slice(), nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<PERIOD_BYTES>()?;
        let period = u64::from_be_bytes(*name);
        if period != now && period.checked_add(1) != Some(now) {
            return None;
        }
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let key = self.key(period)?;
        let length = key.open_in_place(nonce, Aad::from(*name), &mut plain);
        let length = length.ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(PERIOD_SECS).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, period())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, period())
    }
}

/// By the clock on the wall: it is what the amphorae of a pair share.
fn period() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() / PERIOD_SECS)
}

#[cfg(test)]
mod tests {
    use lb_model::enums::ClientAuthentication;
    use uuid::Uuid;

    use super::*;

    fn tickets(seed: &str, listener: u128, tls: &ListenerTlsSpec) -> Tickets {
        let seed = Seed::given(&Secret::new(seed.to_owned()));
        Tickets::new(&seed, ListenerId(Uuid::from_u128(listener)), tls)
    }

    #[test]
    fn a_ticket_opens_at_the_other_amphora_during_its_period_and_the_next() {
        let tls = ListenerTlsSpec::default();
        let (one, other) = (tickets("s", 1, &tls), tickets("s", 1, &tls));
        let sealed = one.seal(b"session", 7).unwrap();
        assert_eq!(other.open(&sealed, 7).as_deref(), Some(&b"session"[..]));
        assert_eq!(other.open(&sealed, 8).as_deref(), Some(&b"session"[..]));
        assert_eq!(other.open(&sealed, 9), None);
        assert_eq!(other.open(&sealed, 6), None);
        assert_ne!(one.seal(b"session", 7).unwrap(), sealed);
    }

    #[test]
    fn a_ticket_opens_nowhere_else_and_not_when_touched() {
        let tls = ListenerTlsSpec::default();
        let sealed = tickets("s", 1, &tls).seal(b"session", 7).unwrap();
        let stricter = ListenerTlsSpec {
            client_authentication: ClientAuthentication::Mandatory,
            ..ListenerTlsSpec::default()
        };
        assert_eq!(tickets("t", 1, &tls).open(&sealed, 7), None);
        assert_eq!(tickets("s", 2, &tls).open(&sealed, 7), None);
        assert_eq!(tickets("s", 1, &stricter).open(&sealed, 7), None);
        for at in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[at] ^= 1;
            assert_eq!(tickets("s", 1, &tls).open(&touched, 7), None);
            assert_eq!(tickets("s", 1, &tls).open(&sealed[..at], 7), None);
        }
    }
}
