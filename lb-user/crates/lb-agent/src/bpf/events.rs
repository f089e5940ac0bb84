//! What XDP tells: failovers it latched, members without a next hop.

use std::{fmt, io};

use aya::maps::{Map, MapData, RingBuf};
use lb_common::maps::{Event, names};
use tokio::io::{Interest, unix::AsyncFd};
use zerocopy::FromBytes as _;

use super::{Datapath, Doing as _, Error, aya};

/// The ring buffer's reading end. There is one reader at a time: the agent. Events are hints; what
/// is true is in the maps (`LATCH`), so one that was lost in a full ring costs only time.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Datapath {
    /// Opens the reading end. Needs a tokio runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn events(&self) -> Result<Events, Error> {
        let doing = || "cannot open the ring buffer".to_owned();
        let data = MapData::from_pin(self.dir.join(names::EVENTS)).map_err(aya(doing))?;
        let map = Map::from_map_data(data).map_err(aya(doing))?;
        let ring = RingBuf::try_from(map).map_err(aya(doing))?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for descriptors that change or close; a RingBuf owns its descriptor and keeps it"
        )]
        let ring = AsyncFd::with_interest(ring, Interest::READABLE).doing(doing)?;
        Ok(Events { ring })
    }
}

impl Events {
    /// The next event. Dropping the future loses none.
    ///
    /// # Errors
    /// When the descriptor can no longer be waited for.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            let mut guard = self.ring.readable_mut().await?;
            while let Some(item) = guard.get_inner_mut().next() {
                if let Ok((event, _)) = Event::read_from_prefix(&item) {
                    return Ok(event);
                }
            }
            guard.clear_ready();
        }
    }
}
