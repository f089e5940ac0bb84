//! The flow table, read; and the records of a drain.
//!
//! Flows are the kernel's: it makes them, moves their state and ages them, also with the agent dead.
//! What is read here may change while it is read: a slot that names another flow after its key was
//! read than before is left out.

use lb_common::maps::{
    Addr,
    flow::{self, Block4, Block6, SLOTS, Slot, Word},
};
use lb_sys::bpf::Words;
use zerocopy::FromBytes as _;

use super::{Datapath, Doing as _, Error, View};

/// Words of a slot: its word, its key.
const SLOT_WORDS: usize = size_of::<Slot>() / 8;

/// One flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who opened it.
    pub client: Addr,
    /// From which port.
    pub client_port: u16,
    /// Listener index.
    pub listener: u32,
    /// Member, source port towards it (NAT), state and age.
    pub word: Word,
}

impl Flow {
    /// For people and programs.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match self.word.state() {
            flow::state::OPENING => "opening",
            flow::state::ANSWERED => "answered",
            flow::state::ESTABLISHED => "established",
            flow::state::CLIENT_CLOSED => "client_closed",
            flow::state::MEMBER_CLOSED => "member_closed",
            flow::state::CLOSED => "closed",
            flow::state::REFUSED => "refused",
            _ => "free",
        }
    }

    /// Seconds since its last packet, at `now_ns` of CLOCK_MONOTONIC; a tick is a little more.
    #[must_use]
    pub const fn idle_s(&self, now_ns: u64) -> u32 {
        let ticks = self.word.age(flow::tick(now_ns));
        ticks + ticks / 14
    }
}

/// Every flow of a table.
#[derive(Debug)]
pub struct Flows<'a> {
    words: &'a Words,
    /// Words of a block.
    block: usize,
    is_v6: bool,
    /// Slot that comes next.
    next: usize,
}

impl Iterator for Flows<'_> {
    type Item = Flow;

    fn next(&mut self) -> Option<Flow> {
        let slots = self.words.len() / self.block * SLOTS;
        while self.next < slots {
            let slot = self.next;
            self.next += 1;
            if let Some(flow) = self.read(slot) {
                return Some(flow);
            }
        }
        None
    }
}

impl Flows<'_> {
    fn read(&self, slot: usize) -> Option<Flow> {
        let (block, at) = (slot / SLOTS * self.block, slot % SLOTS);
        let cell = block + at * SLOT_WORDS;
        let before = Word(self.words.load(cell)?);
        if !before.is_live() {
            return None;
        }
        let key = self.words.load(cell + 1)?;
        let client = if self.is_v6 {
            let at = block + SLOTS * SLOT_WORDS + at * 2;
            Addr::from_words(self.words.load(at)?, self.words.load(at + 1)?)
        } else {
            flow::key_client_v4(key)
        };
        let word = Word(self.words.load(cell)?);
        (word.is_live() && word.is_same_flow(before)).then(|| Flow {
            client,
            client_port: flow::key_port(key).get(),
            listener: flow::key_listener(key),
            word,
        })
    }
}

impl View {
    /// Flows of clients of one IP version. A full table has half a million.
    #[must_use]
    pub const fn flows(&self, is_v6: bool) -> Flows<'_> {
        let (words, block) = if is_v6 {
            (&self.flows6, size_of::<Block6>() / 8)
        } else {
            (&self.flows4, size_of::<Block4>() / 8)
        };
        Flows {
            words,
            block,
            is_v6,
            next: 0,
        }
    }
}

impl Datapath {
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

    /// Removes every flow and every record of a drain: of another state's maps, which nobody uses.
    pub(super) fn clear_flows(&self) -> Result<(), Error> {
        let maps = &self.maps;
        for words in [
            &maps.flows4,
            &maps.flows6,
            &maps.reverse,
            &maps.persist,
            &maps.listener_live,
            &maps.member_live,
            &maps.lb_live,
        ] {
            for index in 0..words.len() {
                // Untouched pages stay untouched.
                if words.load(index).is_some_and(|word| word != 0) {
                    let _in_bounds = words.store(index, 0);
                }
            }
        }
        let doing = || "cannot clear the records of drains".to_owned();
        let mut all = Vec::new();
        maps.drains
            .scan(|key, _| all.push(key.to_vec()))
            .doing(doing)?;
        for key in &all {
            maps.drains.delete(key).doing(doing)?;
        }
        Ok(())
    }
}
