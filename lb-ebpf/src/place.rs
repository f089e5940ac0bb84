//! Where a flow may be in the table: in two blocks, and in a third when both were full of established flows.

use lb_common::{
    hash,
    maps::{
        Addr, Be16, Config,
        flow::{BLOCKS4_MIN, BLOCKS6_MIN, slot_key},
    },
};

/// A flow's key and the blocks in which it may be.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Place {
    pub(crate) key: u64,
    /// Of all the flow's packets the same; for whatever shall vary with the flow.
    pub(crate) hash: u64,
    pub(crate) first: u32,
    pub(crate) second: u32,
    pub(crate) third: u32,
    /// Slot that is looked at first.
    pub(crate) start: usize,
    pub(crate) client: Addr,
    pub(crate) is_v6: bool,
    /// Low bits of the VIP's index.
    pub(crate) vip: u8,
}

impl Place {
    #[inline(always)]
    pub(crate) fn new(
        config: &Config,
        client: &Addr,
        port: Be16,
        listener: u32,
        vip: u32,
        is_v6: bool,
    ) -> Self {
        let hash = hash::flow_run(config.hash_seed, client, port, listener, is_v6);
        let number = port.get() as u32;
        let group = (number >> 2) + ((hash >> 59) as u32);
        let (mask, blocks, half) = if is_v6 {
            (config.flow6_mask, BLOCKS6_MIN, number >> 6)
        } else {
            (config.flow4_mask, BLOCKS4_MIN, (hash >> 58) as u32)
        };
        let inside = group & (blocks - 1);
        Self {
            key: slot_key(client, port, listener),
            hash,
            first: (hash as u32 & mask) * blocks + inside,
            second: ((hash >> 26) as u32 & mask) * blocks + inside,
            third: ((hash >> 40) as u32 & mask) * blocks + inside,
            start: ((number & 3) | (half & 1) << 2) as usize,
            client: *client,
            is_v6,
            vip: vip as u8,
        }
    }
}
