//! What a host has is told once a connection; afterwards only what changed of it.
//!
//! Why: a host names the generation of each of its load balancers in every question, half a megabyte
//! for ten thousand, and asks again after every change.
//!
//! Each end of a connection remembers the last question under a number that the server gives with its
//! answer. A question may say "as the one with this number, but for …". Whoever knows no such number
//! says so (409) and is told everything. A connection that is made anew begins with everything, so a
//! server of another version, or another server, never meets such a question.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use lb_model::id::LoadBalancerId;

use crate::message::SyncRequest;

type Generations = BTreeMap<LoadBalancerId, u64>;

/// The server's end.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Option<(u64, Arc<Generations>)>>);

impl Told {
    /// Makes a question whole, and remembers it; its number. `None`: it builds on one that is not
    /// remembered.
    pub(crate) fn whole(&self, request: &mut SyncRequest) -> Option<u64> {
        // Replaced as a whole.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = told.as_ref().map_or(0, |(number, _)| *number);
        if let Some(since) = request.since.take() {
            let (_, known) = told.as_ref().filter(|(number, _)| *number == since)?;
            let mut whole = Generations::clone(known);
            for id in std::mem::take(&mut request.dropped) {
                whole.remove(&id);
            }
            whole.append(&mut request.known);
            request.known = whole;
        }
        *told = Some((last + 1, Arc::new(request.known.clone())));
        Some(last + 1)
    }
}

/// The agent's end.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Of all the connections that were made.
    pub(crate) connection: u64,
    pub(crate) number: u64,
    pub(crate) known: Generations,
}

impl Asked {
    /// The question as what differs from the last one.
    pub(crate) fn shortened(&self, request: &SyncRequest) -> SyncRequest {
        let changed = request
            .known
            .iter()
            .filter(|(id, generation)| self.known.get(id) != Some(generation));
        let dropped = self.known.keys();
        let dropped: BTreeSet<LoadBalancerId> = dropped
            .filter(|id| !request.known.contains_key(id))
            .copied()
            .collect();
        SyncRequest {
            version: request.version,
            host: request.host.clone(),
            host_addresses: request.host_addresses.clone(),
            known: changed.map(|(id, generation)| (*id, *generation)).collect(),
            since: Some(self.number),
            dropped,
            removing: request.removing.clone(),
            capabilities: request.capabilities.clone(),
            described: request.described.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn request(known: &[(u128, u64)]) -> SyncRequest {
        let known = known.iter();
        SyncRequest {
            known: known
                .map(|(id, generation)| (LoadBalancerId(Uuid::from_u128(*id)), *generation))
                .collect(),
            ..SyncRequest::default()
        }
    }

    #[test]
    fn what_differs_from_the_last_question_makes_it_whole_again() {
        let told = Told::default();
        let first = request(&[(1, 1), (2, 1), (3, 1)]);
        let number = told.whole(&mut first.clone()).unwrap();
        let asked = Asked {
            connection: 1,
            number,
            known: first.known,
        };
        let second = request(&[(2, 1), (3, 2), (4, 1)]);
        let mut short = asked.shortened(&second);
        assert_eq!((short.known.len(), short.dropped.len()), (2, 1));
        assert_eq!(told.whole(&mut short), Some(number + 1));
        assert_eq!(short, second);
    }

    #[test]
    fn nothing_is_built_on_a_question_that_is_not_remembered() {
        let told = Told::default();
        let asked = Asked {
            connection: 1,
            number: 1,
            known: Generations::new(),
        };
        let question = request(&[(1, 1)]);
        assert_eq!(told.whole(&mut asked.shortened(&question)), None);
        let first = told.whole(&mut question.clone()).unwrap();
        let second = told.whole(&mut question.clone()).unwrap();
        assert_ne!(first, second);
        let old = Asked {
            number: first,
            ..asked
        };
        assert_eq!(told.whole(&mut old.shortened(&question)), None);
    }
}
