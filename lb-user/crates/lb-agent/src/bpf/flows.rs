//! Ageing of NAT flows and of the records of a drain.
//!
//! XDP makes flows and moves their state; removing those that are over is the agent's, until the
//! flow table ages by itself. A flow is two entries, one a direction; it is as old as its younger
//! one, and both go together, the client's side first, so that no packet is sent where the answer
//! cannot come back from.

use std::collections::BTreeSet;

use lb_common::maps::{FlowEntry, FlowKey, flow_state, names};
use lb_plan::datapath::InUse;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{Datapath, Doing as _, Error};

const SECOND_NS: u64 = 1_000_000_000;
/// A SYN nobody answered.
pub const OPENING_NS: u64 = 10 * SECOND_NS;
/// A connection without a packet.
pub const ESTABLISHED_NS: u64 = 3_600 * SECOND_NS;
/// After a FIN: time for the other side's, and for what is still under way.
pub const CLOSING_NS: u64 = 30 * SECOND_NS;
/// After a RST.
pub const CLOSED_NS: u64 = 10 * SECOND_NS;

/// What a sweep found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Flows that stay.
    pub flows: usize,
    /// Flows removed.
    pub removed: usize,
    /// Indices that the remaining flows name, for `Allocations::reclaim`.
    pub in_use: InUse,
}

const fn lifetime_ns(state: u32) -> u64 {
    match state {
        flow_state::OPENING => OPENING_NS,
        flow_state::ESTABLISHED => ESTABLISHED_NS,
        flow_state::CLOSING => CLOSING_NS,
        _ => CLOSED_NS,
    }
}

/// Key of the other direction: the packet as it leaves, turned round.
const fn peer(key: &FlowKey, entry: &FlowEntry) -> FlowKey {
    FlowKey {
        segment: entry.peer_segment,
        protocol: key.protocol,
        _pad: [0; 3],
        _pad2: 0,
        src: entry.dst,
        dst: entry.src,
        src_port: entry.dst_port,
        dst_port: entry.src_port,
    }
}

/// Whether an entry's own time is over at `now_ns`. The data path's clock may be ahead of ours by a
/// moment or behind by a tick.
const fn is_old(entry: &FlowEntry, now_ns: u64) -> bool {
    let age = now_ns.wrapping_sub(entry.seen_ns).cast_signed();
    age > 0 && age.cast_unsigned() > lifetime_ns(entry.state)
}

impl Datapath {
    /// Removes the flows that are over at `now_ns` (CLOCK_MONOTONIC), and all of the listeners in
    /// `cut`. Takes about a third of a second for a full table; to be called every few seconds.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sweep_flows(&self, now_ns: u64, cut: &BTreeSet<u32>) -> Result<Sweep, Error> {
        let doing = || "cannot sweep the flows".to_owned();
        let mut candidates = Vec::new();
        let mut sweep = Sweep::default();
        let mut keep = |entry: &FlowEntry| {
            sweep.in_use.listeners.insert(entry.listener);
            sweep.in_use.members.insert(entry.member);
            sweep.flows += usize::from(entry.reverse == 0);
        };
        self.maps
            .flows
            .scan(|key, value| {
                let read = (
                    FlowKey::read_from_bytes(key),
                    FlowEntry::read_from_bytes(value),
                );
                let (Ok(key), Ok(entry)) = read else { return };
                if cut.contains(&entry.listener) || is_old(&entry, now_ns) {
                    candidates.push((key, entry));
                } else {
                    keep(&entry);
                }
            })
            .doing(doing)?;
        for (key, entry) in candidates {
            let peer = peer(&key, &entry);
            // A SYN may have begun another flow under the same key meanwhile.
            let young = [self.flow(&key)?, self.flow(&peer)?]
                .into_iter()
                .flatten()
                .any(|entry| !is_old(&entry, now_ns));
            if young && !cut.contains(&entry.listener) {
                keep(&entry);
                continue;
            }
            let (first, second) = if entry.reverse == 0 {
                (key, peer)
            } else {
                (peer, key)
            };
            let removed = self.maps.flows.delete(first.as_bytes()).doing(doing)?;
            self.maps.flows.delete(second.as_bytes()).doing(doing)?;
            sweep.removed += usize::from(removed);
        }
        Ok(sweep)
    }

    fn flow(&self, key: &FlowKey) -> Result<Option<FlowEntry>, Error> {
        let mut value = [0; size_of::<FlowEntry>()];
        let found = self
            .maps
            .flows
            .lookup(key.as_bytes(), &mut value)
            .doing(|| format!("cannot read an entry of {}", names::FLOWS))?;
        Ok(found
            .then(|| FlowEntry::read_from_bytes(&value).ok())
            .flatten())
    }

    /// Removes the records of drains to these amphorae: the drain is over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear_drains(&self, amphorae: &[u16]) -> Result<usize, Error> {
        let doing = || "cannot clear the records of a drain".to_owned();
        let mut over = Vec::new();
        self.maps
            .drains
            .scan(|key, value| {
                let amphora = u32::read_from_bytes(value).unwrap_or_default();
                if amphorae.iter().any(|gone| u32::from(*gone) == amphora) {
                    over.push(key.to_vec());
                }
            })
            .doing(doing)?;
        for key in &over {
            self.maps.drains.delete(key).doing(doing)?;
        }
        Ok(over.len())
    }

    /// Removes every flow and every record of a drain.
    pub(super) fn clear_flows(&self) -> Result<(), Error> {
        let doing = || "cannot clear the flows".to_owned();
        for map in [&self.maps.flows, &self.maps.drains] {
            let mut all = Vec::new();
            map.scan(|key, _| all.push(key.to_vec())).doing(doing)?;
            for key in &all {
                map.delete(key).doing(doing)?;
            }
        }
        Ok(())
    }
}
