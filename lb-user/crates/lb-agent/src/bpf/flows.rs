//! What the flow table holds on to, and the records of a drain.
//!
//! Flows are the kernel's alone: it makes, ages and counts them. The agent reads the counts, to know
//! which indices of listeners and members are still named by a flow.

use lb_common::maps::live;
use lb_plan::datapath::InUse;
use lb_sys::bpf::Words;
use zerocopy::FromBytes as _;

use super::{Datapath, Doing as _, Error};

/// What the flow table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Entries that there are.
    pub flows: usize,
    /// Indices that they name, for `Allocations::reclaim`.
    pub in_use: InUse,
}

impl Datapath {
    /// Which listeners and members have entries in the flow table.
    #[must_use]
    pub fn flows_in_use(&self) -> Sweep {
        let members = counts(&self.maps.member_live, 1);
        let listeners = counts(&self.maps.listener_live, 2);
        Sweep {
            flows: members.iter().map(|(_, entries)| *entries as usize).sum(),
            in_use: InUse {
                listeners: listeners.into_iter().map(|(index, _)| index).collect(),
                members: members.into_iter().map(|(index, _)| index).collect(),
            },
        }
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
            for index in (0..words.len()).filter(|index| words.load(*index) != Some(0)) {
                let _in_bounds = words.store(index, 0);
            }
        }
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

/// Indices with entries and how many: of every `stride`th word.
fn counts(words: &Words, stride: usize) -> Vec<(u32, u32)> {
    (0..words.len() / stride)
        .filter_map(|index| {
            let entries = live::entries(words.load(index * stride)?);
            Some((u32::try_from(index).ok()?, entries))
        })
        .filter(|(_, entries)| *entries != 0)
        .collect()
}
