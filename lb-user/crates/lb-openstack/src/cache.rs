//! What is known of tokens, for a short time, and one question at a time about each.
//!
//! A token is known by its SHA-256: the memory of the process holds no usable one. Valid and
//! invalid ones have a limit each, so that a flood of made-up tokens drives out nobody's real one.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use crate::document::Token;

/// Most valid tokens remembered.
const VALID_MAX: usize = 10_000;
/// Most invalid ones.
const INVALID_MAX: usize = 1_000;
/// How long an invalid one is refused without asking.
const INVALID_FOR: Duration = Duration::from_secs(5);

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn of(token: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What was found out.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    Valid(Arc<Token>),
    Invalid,
}

#[derive(Debug, Default)]
struct Entries {
    valid: HashMap<Key, (Arc<Token>, Instant)>,
    invalid: HashMap<Key, Instant>,
    asking: HashMap<Key, Arc<AsyncMutex<()>>>,
}

#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Entries>);

impl Cache {
    pub(crate) fn get(&self, key: Key) -> Option<Known> {
        let now = Instant::now();
        self.with(|entries| match entries.valid.get(&key) {
            Some((token, until)) if *until > now => Some(Known::Valid(Arc::clone(token))),
            _ => {
                let until = entries.invalid.get(&key)?;
                (*until > now).then_some(Known::Invalid)
            }
        })
    }

    pub(crate) fn put_valid(&self, key: Key, token: Arc<Token>, for_: Duration) {
        let now = Instant::now();
        self.with(|entries| {
            entries.invalid.remove(&key);
            let until = |entry: &(Arc<Token>, Instant)| entry.1;
            make_room(&mut entries.valid, VALID_MAX, now, until);
            entries.valid.insert(key, (token, now + for_));
        });
    }

    pub(crate) fn put_invalid(&self, key: Key) {
        let now = Instant::now();
        self.with(|entries| {
            entries.valid.remove(&key);
            make_room(&mut entries.invalid, INVALID_MAX, now, |until| *until);
            entries.invalid.insert(key, now + INVALID_FOR);
        });
    }

    /// Whoever holds the turn's lock asks; the others wait and then find the answer.
    pub(crate) fn turn(&self, key: Key) -> Turn<'_> {
        Turn {
            cache: self,
            key,
            lock: self.with(|entries| Arc::clone(entries.asking.entry(key).or_default())),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Entries) -> T) -> T {
        // Nothing in here panics half-way through a change.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A place in the queue of those who want to know the same. The last one to leave clears the table,
/// also when its request was given up.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    cache: &'a Cache,
    key: Key,
    lock: Arc<AsyncMutex<()>>,
}

impl Turn<'_> {
    pub(crate) async fn come(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.lock.lock().await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let key = self.key;
        self.cache.with(|entries| {
            // The table's and this one.
            if Arc::strong_count(&self.lock) <= 2 {
                entries.asking.remove(&key);
            }
        });
    }
}

/// Drops what is over, and if that is not enough what ends first.
fn make_room<V>(
    entries: &mut HashMap<Key, V>,
    max: usize,
    now: Instant,
    until: impl Fn(&V) -> Instant,
) {
    if entries.len() < max {
        return;
    }
    entries.retain(|_, entry| until(entry) > now);
    if entries.len() >= max {
        let first = entries.iter().min_by_key(|(_, entry)| until(entry));
        if let Some(key) = first.map(|(key, _)| *key) {
            entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Arc<Token> {
        Arc::new(Token {
            user_id: "u".to_owned(),
            user_domain_id: None,
            project_id: None,
            project_domain_id: None,
            domain_id: None,
            is_system: false,
            roles: Vec::new(),
            is_admin_project: true,
            access_rules: None,
            expires_at: jiff::Timestamp::MAX,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_forgotten_in_time() {
        let cache = Cache::default();
        let (good, bad) = (Key::of("good"), Key::of("bad"));
        cache.put_valid(good, token(), Duration::from_secs(60));
        cache.put_invalid(bad);
        assert!(matches!(cache.get(good), Some(Known::Valid(_))));
        assert!(matches!(cache.get(bad), Some(Known::Invalid)));
        tokio::time::advance(INVALID_FOR).await;
        assert!(cache.get(bad).is_none());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(cache.get(good).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_tokens_drive_out_nobody() {
        let cache = Cache::default();
        let good = Key::of("good");
        cache.put_valid(good, token(), Duration::from_secs(60));
        for n in 0..2 * INVALID_MAX {
            cache.put_invalid(Key::of(&n.to_string()));
        }
        assert!(cache.get(good).is_some());
        assert!(cache.with(|entries| entries.invalid.len()) <= INVALID_MAX);
        for n in 0..VALID_MAX + 10 {
            cache.put_valid(Key::of(&n.to_string()), token(), Duration::from_secs(90));
        }
        assert_eq!(cache.with(|entries| entries.valid.len()), VALID_MAX);
        assert!(cache.get(good).is_none(), "what ends first goes first");
    }
}
