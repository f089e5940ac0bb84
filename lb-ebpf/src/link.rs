//! Sending a packet on: the device, then the link header.

use aya_ebpf::{bindings::xdp_action, helpers::bpf_xdp_adjust_head, programs::XdpContext};
use lb_common::{
    packet::{Bytes as _, ETHERNET_LEN},
    reason::Reason,
};

use crate::{
    frame::{Frame, Mac},
    maps::DEVS,
    verdict::Verdict,
    walk::Packet,
};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Whether the packet will leave by `ifindex`; false when the device is gone. The last call wins,
/// so a second device may be tried.
#[inline(always)]
pub(crate) fn leave_by(ifindex: u32) -> bool {
    // 0 in the flags: XDP_ABORTED is what a miss returns.
    matches!(DEVS.redirect(ifindex, 0), Ok(xdp_action::XDP_REDIRECT))
}

/// Chooses how a packet leaves by `ifindex`: by redirect, or by XDP_TX where that will do.
#[inline(always)]
pub(crate) fn leave(packet: &Packet, ifindex: u32, reason: Reason) -> Result<Verdict, Reason> {
    if packet.may_return && ifindex == packet.ifindex {
        return Ok(Verdict::returned(reason));
    }
    if leave_by(ifindex) {
        Ok(Verdict::of(reason))
    } else {
        Err(Reason::NoDevice)
    }
}

/// Writes the link header. Priority tags are taken off: the frame begins at `ETHERNET_LEN` before
/// the IP header afterwards. Invalidates frames.
#[inline(always)]
pub(crate) fn write_header(
    ctx: &XdpContext,
    l3: usize,
    is_v6: bool,
    dst_mac: Mac,
    src_mac: Mac,
) -> Result<(), Reason> {
    let has_tags = l3 != ETHERNET_LEN;
    if has_tags {
        // SAFETY: the helper checks that the packet keeps a link header.
        let result = unsafe { bpf_xdp_adjust_head(ctx.ctx, (l3 - ETHERNET_LEN) as i32) };
        if result != 0 {
            return Err(Reason::HelperFailed);
        }
    }
    let run = Frame::of_xdp(ctx)
        .run::<ETHERNET_LEN>(0)
        .ok_or(Reason::HelperFailed)?;
    run.set_mac(0, dst_mac);
    run.set_mac(6, src_mac);
    if has_tags {
        let ethertype = if is_v6 {
            ETHERTYPE_IPV6
        } else {
            ETHERTYPE_IPV4
        };
        run.set_u16(12, ethertype.to_be());
    }
    Ok(())
}
