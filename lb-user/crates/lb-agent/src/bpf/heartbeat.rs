//! Heartbeat pages: one mappable map an amphora, in an array of maps that XDP reads.

use std::os::fd::OwnedFd;

use lb_common::{heartbeat::HeartbeatPage, maps::names};
use lb_sys::bpf::{MMAPABLE, Map, Shape, map_type};
use zerocopy::FromBytes as _;

use super::{Datapath, Doing as _, Error};

/// Bytes of a page: what can be mapped.
const PAGE: u32 = 4096;

const SHAPE: Shape = Shape {
    map_type: map_type::ARRAY,
    key_size: 4,
    value_size: PAGE,
    max_entries: 1,
    flags: MMAPABLE,
};

impl Datapath {
    /// Makes a fresh page for the amphora with this index (never stamped, so dead until it stamps)
    /// and hands out the descriptor that the amphora inherits and maps.
    ///
    /// # Errors
    /// The kernel's.
    pub fn heartbeat_map(&self, amphora: u16) -> Result<OwnedFd, Error> {
        let page = Self::heartbeat_spare()?;
        self.show_heartbeat(amphora, page)
    }

    /// A fresh page that XDP does not see yet.
    ///
    /// # Errors
    /// The kernel's.
    pub fn heartbeat_spare() -> Result<Map, Error> {
        Map::create(SHAPE, "lbaas_heartbeat").doing(|| "cannot make a heartbeat page".to_owned())
    }

    /// Makes a page that of the amphora with this index. Waits some milliseconds for the kernel.
    ///
    /// # Errors
    /// The kernel's.
    pub fn show_heartbeat(&self, amphora: u16, page: Map) -> Result<OwnedFd, Error> {
        self.maps
            .heartbeats
            .set_inner(u32::from(amphora), &page)
            .doing(|| format!("cannot show the heartbeat page of amphora {amphora}"))?;
        Ok(page.into_fd())
    }

    /// The descriptor of the page that is there: of an amphora that outlived its agent.
    ///
    /// # Errors
    /// The kernel's.
    pub fn heartbeat_fd(&self, amphora: u16) -> Result<Option<OwnedFd>, Error> {
        Ok(self.heartbeat_page(amphora)?.map(Map::into_fd))
    }

    fn heartbeat_page(&self, amphora: u16) -> Result<Option<Map>, Error> {
        self.maps
            .heartbeats
            .inner(u32::from(amphora))
            .doing(|| format!("cannot open the heartbeat page of amphora {amphora}"))
    }

    /// What the amphora and XDP wrote last; `None` without a page. For more than a look map
    /// [`Self::heartbeat_fd`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn heartbeat(&self, amphora: u16) -> Result<Option<HeartbeatPage>, Error> {
        let Some(page) = self.heartbeat_page(amphora)? else {
            return Ok(None);
        };
        let mut value = vec![0; page.lookup_bytes()];
        page.lookup(&0_u32.to_ne_bytes(), &mut value)
            .doing(|| format!("cannot read the heartbeat page of amphora {amphora}"))?;
        Ok(HeartbeatPage::read_from_prefix(&value)
            .ok()
            .map(|(page, _)| page))
    }

    /// Takes the page of an amphora that is gone out of XDP's sight.
    ///
    /// # Errors
    /// The kernel's. Nothing there is no error.
    pub fn forget_heartbeat(&self, amphora: u16) -> Result<(), Error> {
        self.maps
            .heartbeats
            .delete(&u32::from(amphora).to_ne_bytes())
            .map(drop)
            .doing(|| format!("cannot remove entry {amphora} of {}", names::HEARTBEATS))
    }

    /// As [`Self::forget_heartbeat`], for every amphora.
    pub(super) fn forget_heartbeats(&self) -> Result<(), Error> {
        for amphora in 1..self.maps.heartbeats.shape().max_entries {
            if let Ok(amphora) = u16::try_from(amphora) {
                self.forget_heartbeat(amphora)?;
            }
        }
        Ok(())
    }
}
