//! What the programs counted, summed over CPUs.

use lb_common::{
    maps::{
        ListenerCounters, MemberCounters,
        live::{self, LbLive, ListenerLive},
    },
    reason::Reason,
};
use lb_plan::datapath::InUse;
use lb_sys::bpf::{Map, Words};
use zerocopy::{FromBytes as _, FromZeros as _};

use super::{Datapath, Doing as _, Error, View};

/// Packets that ended for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    /// Why.
    pub reason: Reason,
    /// How many since the maps were made.
    pub packets: u64,
}

impl View {
    /// Counters of one listener since it was published.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listener_counters(&self, listener: u32) -> Result<ListenerCounters, Error> {
        sum(&self.listener_stats, listener)
            .doing(|| format!("cannot read the counters of listener {listener}"))
    }

    /// Counters of one member since it got its index.
    ///
    /// # Errors
    /// The kernel's.
    pub fn member_counters(&self, member: u32) -> Result<MemberCounters, Error> {
        sum(&self.member_stats, member)
            .doing(|| format!("cannot read the counters of member {member}"))
    }

    /// Flow entries and open connections of a listener: see [`live`].
    #[must_use]
    pub fn flows_of_listener(&self, listener: u32) -> u64 {
        let words = size_of::<ListenerLive>() / 8;
        self.listener_live
            .load(listener as usize * words)
            .unwrap_or(0)
    }

    /// Flow entries and open connections of a member: see [`live`].
    #[must_use]
    pub fn flows_of_member(&self, member: u32) -> u64 {
        self.member_live.load(member as usize).unwrap_or(0)
    }

    /// What flows name: indices that no other object may get.
    #[must_use]
    pub fn in_use(&self) -> InUse {
        let named = |words: &Words, each: usize| {
            let named = (0..words.len() / each).filter(|index| {
                let word = words.load(index * each).unwrap_or(0);
                live::entries(word) != 0
            });
            named
                .filter_map(|index| u32::try_from(index).ok())
                .collect()
        };
        InUse {
            listeners: named(&self.listener_live, size_of::<ListenerLive>() / 8),
            members: named(&self.member_live, 1),
            load_balancers: named(&self.lb_live, size_of::<LbLive>() / 8),
        }
    }

    /// Packets by reason: every one that there is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self) -> Result<Vec<ReasonCount>, Error> {
        let mut counts = Vec::with_capacity(Reason::ALL.len());
        for reason in Reason::ALL {
            let mut packets = 0_u64;
            per_cpu(&self.reasons, *reason as u32, |value| {
                if let Ok((one, _)) = u64::read_from_prefix(value) {
                    packets = packets.wrapping_add(one);
                }
            })
            .doing(|| format!("cannot read the counter of reason {}", reason.name()))?;
            counts.push(ReasonCount {
                reason: *reason,
                packets,
            });
        }
        Ok(counts)
    }
}

impl Datapath {
    /// Starts a listener's counters at zero: its index belonged to another before.
    pub(super) fn reset_counters(&self, listener: u32) -> Result<(), Error> {
        let zeros = vec![0; self.maps.listener_stats.lookup_bytes()];
        self.maps
            .listener_stats
            .update(&listener.to_ne_bytes(), &zeros)
            .doing(|| format!("cannot reset the counters of listener {listener}"))
    }

    /// Likewise a member's.
    pub(super) fn reset_member_counters(&self, member: u32) -> Result<(), Error> {
        let zeros = vec![0; self.maps.member_stats.lookup_bytes()];
        self.maps
            .member_stats
            .update(&member.to_ne_bytes(), &zeros)
            .doing(|| format!("cannot reset the counters of member {member}"))
    }
}

fn sum(map: &Map, index: u32) -> std::io::Result<ListenerCounters> {
    let mut sum = ListenerCounters::new_zeroed();
    per_cpu(map, index, |value| {
        if let Ok((one, _)) = ListenerCounters::read_from_prefix(value) {
            sum.packets_in = sum.packets_in.wrapping_add(one.packets_in);
            sum.bytes_in = sum.bytes_in.wrapping_add(one.bytes_in);
            sum.packets_out = sum.packets_out.wrapping_add(one.packets_out);
            sum.bytes_out = sum.bytes_out.wrapping_add(one.bytes_out);
            sum.flows = sum.flows.wrapping_add(one.flows);
            sum.errors = sum.errors.wrapping_add(one.errors);
        }
    })?;
    Ok(sum)
}

fn per_cpu(map: &Map, index: u32, visit: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut values = vec![0; map.lookup_bytes()];
    map.lookup(&index.to_ne_bytes(), &mut values)?;
    let stride = (map.shape().value_size as usize).next_multiple_of(8);
    values.chunks_exact(stride).for_each(visit);
    Ok(())
}
