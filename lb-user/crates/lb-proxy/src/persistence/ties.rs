//! A bounded table of ties: key of a client → member.
//!
//! Two generations stand in for a list in order of use: what is used moves to the young one; when
//! that is full it becomes the old one, and what nobody used since then is gone. At least the newest
//! [`TIES_MAX`] ties are there, at most twice as many.

use std::{collections::HashMap, mem};

use lb_model::id::MemberId;
use tokio::time::{Duration, Instant};

/// Ties that are surely kept (Octavia's `haproxy_stick_size`).
pub(crate) const TIES_MAX: usize = 10_000;

/// How much of a cookie's value counts.
pub(crate) const COOKIE_BYTES_MAX: usize = 64;

/// One table.
#[derive(Debug, Default)]
pub(crate) struct Ties {
    young: HashMap<Box<[u8]>, Tie>,
    old: HashMap<Box<[u8]>, Tie>,
}

#[derive(Clone, Copy, Debug)]
struct Tie {
    member: MemberId,
    used: Instant,
}

impl Ties {
    /// The member of `key`, unless the tie lay unused for longer than `timeout`.
    pub(crate) fn find(&mut self, key: &[u8], timeout: Option<Duration>) -> Option<MemberId> {
        self.find_at(key, timeout, Instant::now())
    }

    /// As [`Self::find`], and the tie is no more.
    pub(crate) fn take(&mut self, key: &[u8], timeout: Duration) -> Option<MemberId> {
        let found = self.find(key, Some(timeout));
        self.young.remove(key);
        found
    }

    fn find_at(&mut self, key: &[u8], timeout: Option<Duration>, now: Instant) -> Option<MemberId> {
        let lives = |tie: &Tie| {
            timeout.is_none_or(|timeout| now.saturating_duration_since(tie.used) < timeout)
        };
        if let Some(tie) = self.young.get_mut(key) {
            if !lives(tie) {
                self.young.remove(key);
                return None;
            }
            tie.used = now;
            return Some(tie.member);
        }
        let (key, tie) = self.old.remove_entry(key)?;
        if !lives(&tie) {
            return None;
        }
        self.insert(key, Tie { used: now, ..tie });
        Some(tie.member)
    }

    /// Ties `key` to `member`. Whether that is new.
    pub(crate) fn learn(&mut self, key: &[u8], member: MemberId) -> bool {
        let used = Instant::now();
        if let Some(tie) = self.young.get_mut(key) {
            let is_new = tie.member != member;
            *tie = Tie { member, used };
            return is_new;
        }
        let before = self.old.remove_entry(key);
        let is_new = before.as_ref().is_none_or(|(_, tie)| tie.member != member);
        let key = before.map_or_else(|| key.into(), |(key, _)| key);
        self.insert(key, Tie { member, used });
        is_new
    }

    fn insert(&mut self, key: Box<[u8]>, tie: Tie) {
        if self.young.len() >= TIES_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, tie);
    }

    /// Everything, the least recently used half first.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&[u8], MemberId)> {
        let both = self.old.iter().chain(&self.young);
        both.map(|(key, tie)| (&**key, tie.member))
    }

    /// Forgets what is tied to members that `stays` does not hold for.
    pub(crate) fn retain(&mut self, stays: impl Fn(MemberId) -> bool) {
        for generation in [&mut self.young, &mut self.old] {
            generation.retain(|_, tie| stays(tie.member));
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn member(number: u128) -> MemberId {
        MemberId(Uuid::from_u128(number))
    }

    #[test]
    fn a_tie_holds_until_it_is_made_anew() {
        let mut ties = Ties::default();
        assert_eq!(ties.find(b"a", None), None);
        assert!(ties.learn(b"a", member(1)));
        assert!(!ties.learn(b"a", member(1)));
        assert_eq!(ties.find(b"a", None), Some(member(1)));
        assert!(ties.learn(b"a", member(2)));
        assert_eq!(ties.find(b"a", None), Some(member(2)));
        ties.retain(|id| id != member(2));
        assert_eq!(ties.all().count(), 0);
    }

    #[test]
    fn the_table_is_bounded_and_what_is_used_stays() {
        let mut ties = Ties::default();
        for number in 0..5 * TIES_MAX {
            ties.learn(number.to_string().as_bytes(), member(1));
            assert_eq!(ties.find(b"0", None), Some(member(1)), "after {number}");
        }
        assert!(ties.all().count() <= 2 * TIES_MAX);
        assert_eq!(ties.find(b"1", None), None);
        let newest = (4 * TIES_MAX + 1).to_string();
        assert_eq!(ties.find(newest.as_bytes(), None), Some(member(1)));
    }

    #[test]
    fn a_tie_ends_when_it_lies_unused() {
        let mut ties = Ties::default();
        let timeout = Some(Duration::from_secs(5));
        ties.learn(b"a", member(1));
        let mut now = Instant::now();
        for _ in 0..3 {
            now += Duration::from_secs(4);
            assert_eq!(ties.find_at(b"a", timeout, now), Some(member(1)));
        }
        now += Duration::from_secs(5);
        assert_eq!(ties.find_at(b"a", timeout, now), None);
        ties.learn(b"b", member(1));
        let hour = Duration::from_secs(3600);
        assert_eq!(ties.take(b"b", hour), Some(member(1)));
        assert_eq!(ties.take(b"b", hour), None);
    }
}
