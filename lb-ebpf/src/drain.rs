//! A planned failover: new conversations go where the drain leads and are recorded, recorded ones
//! follow their record, the others stay. `DRAINS` may hold records of earlier drains: one that does
//! not name where this one leads counts for nothing.

use lb_common::{heartbeat, maps::FlowKey, packet::protocol};

use crate::{maps::DRAINS, steer, steer::Part};

/// Whether the packet goes to `to`.
#[inline(never)]
pub(crate) fn follows(to: u32, key: &FlowKey, part: Part, now: u64) -> bool {
    if to == 0 {
        return false;
    }
    // SAFETY: read at once; a record that is replaced meanwhile is a conversation that ended.
    let recorded = unsafe { DRAINS.get(key) }.copied();
    if recorded == Some(to) && part != Part::Opens {
        return true;
    }
    let is_new = match part {
        Part::Opens => true,
        // UDP has no first packet that could be told; what is not recorded is taken for one.
        Part::Belongs => key.protocol != protocol::TCP,
        Part::Tells => false,
    };
    // Not recorded (table full) is not moved: the one that is left still accepts.
    is_new && !heartbeat::is_dead(steer::deadline_of(to), now) && DRAINS.insert(key, to, 0).is_ok()
}
