//! The control thread's copy of every table of ties: what other workers and the other amphora are
//! told.

use std::collections::HashMap;

use lb_model::{
    amphora::TieTable,
    id::{ListenerId, MemberId, PoolId},
};

use super::Ties;

/// Which table.
pub(crate) type Place = (ListenerId, PoolId);

/// A tie a worker has made.
#[derive(Clone, Debug)]
pub(crate) struct Learned {
    pub(crate) place: Place,
    pub(crate) key: Box<[u8]>,
    pub(crate) member: MemberId,
    /// The worker that knows already; `None`: it came from the other amphora.
    pub(crate) worker: Option<usize>,
}

/// Every table.
#[derive(Debug, Default)]
pub(crate) struct Book(HashMap<Place, Ties>);

/// Ties in one message: a frame holds 16 MiB, and a tie is at most 180 bytes.
const TIES_PER_FRAME: usize = 60_000;

impl Book {
    /// These tables exist from now on.
    pub(crate) fn keep(&mut self, places: &[Place]) {
        self.0.retain(|place, _| places.contains(place));
        for place in places {
            self.0.entry(*place).or_default();
        }
    }

    /// Notes a tie of a table that exists.
    pub(crate) fn learn(&mut self, learned: &Learned) -> bool {
        self.0
            .get_mut(&learned.place)
            .is_some_and(|ties| ties.learn(&learned.key, learned.member))
    }

    /// Everything, as far as a frame holds it.
    pub(crate) fn tables(&self) -> Vec<TieTable> {
        let share = TIES_PER_FRAME / self.0.len().max(1);
        self.0
            .iter()
            .map(|(place, ties)| {
                let all: Vec<_> = ties.all().collect();
                // The newest are the last.
                let newest = all.get(all.len().saturating_sub(share)..);
                table(*place, newest.unwrap_or_default())
            })
            .filter(|table| !table.ties.is_empty())
            .collect()
    }

    /// What workers have learned, as tables.
    pub(crate) fn bundle(learned: &[Learned]) -> Vec<TieTable> {
        let mut places: HashMap<Place, Vec<(&[u8], MemberId)>> = HashMap::new();
        for tie in learned {
            let ties = places.entry(tie.place).or_default();
            ties.push((&tie.key, tie.member));
        }
        places
            .iter()
            .map(|(place, ties)| table(*place, ties))
            .collect()
    }
}

fn table((listener_id, pool_id): Place, ties: &[(&[u8], MemberId)]) -> TieTable {
    let hex = |key: &[u8]| key.iter().map(|byte| format!("{byte:02x}")).collect();
    TieTable {
        listener_id,
        pool_id,
        ties: ties
            .iter()
            .map(|(key, member)| (hex(key), *member))
            .collect(),
    }
}

/// The ties of a table that came from elsewhere.
pub(crate) fn learned(table: &TieTable) -> impl Iterator<Item = Learned> {
    let place = (table.listener_id, table.pool_id);
    table.ties.iter().filter_map(move |(key, member)| {
        let bytes: Option<Vec<u8>> = (0..key.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(key.get(at..at + 2)?, 16).ok())
            .collect();
        Some(Learned {
            place,
            key: bytes?.into(),
            member: *member,
            worker: None,
        })
    })
}
