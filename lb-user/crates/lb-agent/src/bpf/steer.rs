//! Words that are the agent's own: who is active, and members' next hops.
//!
//! Each is one 8-byte store into mapped memory. `LATCH` is XDP's and is only read, but for a load
//! balancer that is gone.

use lb_common::maps::{SteerWord, names, neighbour_word};
use lb_sys::bpf::Words;

use super::{Datapath, Error};

impl Datapath {
    /// `STEER` of a load balancer.
    ///
    /// # Errors
    /// Beyond the map's end.
    pub fn read_steer(&self, load_balancer: u32) -> Result<SteerWord, Error> {
        load(&self.maps.steer, names::STEER, load_balancer).map(SteerWord::from_word)
    }

    /// Publishes `STEER`. Whoever names another active raises the epoch; the first word of a load
    /// balancer has an epoch other than [`Self::read_latch`].
    ///
    /// # Errors
    /// Beyond the map's end.
    pub fn write_steer(&self, load_balancer: u32, steer: SteerWord) -> Result<(), Error> {
        store(
            &self.maps.steer,
            names::STEER,
            load_balancer,
            steer.to_word(),
        )
    }

    /// The epoch that XDP left by itself; equal to the epoch of `STEER` while that failover is not
    /// adopted.
    ///
    /// # Errors
    /// Beyond the map's end.
    pub fn read_latch(&self, load_balancer: u32) -> Result<u64, Error> {
        load(&self.maps.latch, names::LATCH, load_balancer)
    }

    /// Clears both words of a load balancer whose addresses are withdrawn, so that its index can
    /// serve another.
    ///
    /// # Errors
    /// Beyond the map's end.
    pub fn forget_steer(&self, load_balancer: u32) -> Result<(), Error> {
        store(&self.maps.steer, names::STEER, load_balancer, 0)?;
        store(&self.maps.latch, names::LATCH, load_balancer, 0)
    }

    /// Says where a member's next hop is; `None`: not known.
    ///
    /// # Errors
    /// Beyond the map's end.
    pub fn set_neighbour(&self, member: u32, mac: Option<[u8; 6]>) -> Result<(), Error> {
        let word = mac.map_or(0, neighbour_word);
        store(&self.maps.neighbours, names::NEIGHBOURS, member, word)
    }
}

pub(super) fn load(words: &Words, map: &'static str, index: u32) -> Result<u64, Error> {
    words
        .load(index as usize)
        .ok_or(Error::OutOfBounds { map, index })
}

pub(super) fn store(words: &Words, map: &'static str, index: u32, word: u64) -> Result<(), Error> {
    if words.store(index as usize, word) {
        Ok(())
    } else {
        Err(Error::OutOfBounds { map, index })
    }
}
