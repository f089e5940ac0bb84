#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    unsafe_code,
    reason = "packet and map memory; every use says why it is sound"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths of headers, which helpers want as narrow numbers"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the signature of an entry point is aya's"
)]
//! The member's side of DSR over IPIP, for hosts without a tunnel device: takes the outer header off
//! and lets the kernel have what was in it, as if it had come so.
//!
//! Invariants: what is no tunnel is not written to; every packet is counted once. Left out on purpose:
//! outer packets with options, extension headers or in fragments, which are the kernel's to deal with.

#[path = "../binary.rs"]
mod binary;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, LpmTrie, PerCpuArray, lpm_trie::Key},
    helpers::bpf_xdp_adjust_head,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::{
    maps::{Addr, CidrKey},
    tunnel::{Outcome, SOURCES_MAX},
};

#[btf_map]
static RESTRICTED: Array<u64, 1> = Array::new();
#[btf_map]
static SOURCES: LpmTrie<CidrKey, u32, SOURCES_MAX> = LpmTrie::new();
#[btf_map]
static COUNTS: PerCpuArray<u64, { Outcome::ALL.len() }> = PerCpuArray::new();

const ETHERNET: usize = 14;
const OUTER_V4: usize = 20;
const OUTER_V6: usize = 40;
const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const ALL_BITS: u32 = 160;
/// More fragments flag and offset.
const FRAGMENT: u16 = 0x3fff;

/// XDP on the interface that the load balancer's packets come in by.
#[xdp]
pub fn lb_decap(ctx: XdpContext) -> u32 {
    let outcome = open(&ctx);
    if let Some(count) = COUNTS.get_ptr_mut(outcome as u32) {
        // SAFETY: this CPU's value of a live map.
        unsafe { *count += 1 };
    }
    match outcome {
        Outcome::Refused | Outcome::Malformed => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

/// Where the packet begins and ends.
#[inline(always)]
fn bounds(ctx: &XdpContext) -> (usize, usize) {
    // Volatile: after a helper that moves the packet these are other numbers.
    // SAFETY: the verifier checks context accesses.
    unsafe {
        (
            core::ptr::read_volatile(&raw const (*ctx.ctx).data) as usize,
            core::ptr::read_volatile(&raw const (*ctx.ctx).data_end) as usize,
        )
    }
}

/// A word of the packet, as stored.
#[inline(always)]
fn word<T: Copy>(at: usize) -> T {
    // SAFETY: callers have compared with the packet's end, which the verifier proves again; these
    // machines load words from any address.
    unsafe { *(at as *const T) }
}

#[inline(always)]
fn open(ctx: &XdpContext) -> Outcome {
    let (data, end) = bounds(ctx);
    // One byte of the inner header, too.
    if data + ETHERNET + OUTER_V4 + 1 > end {
        return Outcome::Passed;
    }
    match u16::from_be(word(data + 12)) {
        ETHERTYPE_V4 => {
            let is_plain = word::<u8>(data + ETHERNET) == 0x45
                && u16::from_be(word(data + ETHERNET + 6)) & FRAGMENT == 0;
            let protocol = word::<u8>(data + ETHERNET + 9);
            if !is_plain || !matches!(protocol, IPV4_IN_IP | IPV6_IN_IP) {
                return Outcome::Passed;
            }
            let src = Addr::v4(word(data + ETHERNET + 12));
            let first = word::<u8>(data + ETHERNET + OUTER_V4);
            if protocol == IPV4_IN_IP {
                take::<OUTER_V4>(ctx, &src, first >> 4 == 4, ETHERTYPE_V4, Outcome::V4InV4)
            } else {
                take::<OUTER_V4>(ctx, &src, first >> 4 == 6, ETHERTYPE_V6, Outcome::V6InV4)
            }
        }
        ETHERTYPE_V6 => {
            if data + ETHERNET + OUTER_V6 + 1 > end {
                return Outcome::Passed;
            }
            let protocol = word::<u8>(data + ETHERNET + 6);
            let src = Addr::v6(word(data + ETHERNET + 8));
            let first = word::<u8>(data + ETHERNET + OUTER_V6);
            match protocol {
                IPV4_IN_IP => {
                    take::<OUTER_V6>(ctx, &src, first >> 4 == 4, ETHERTYPE_V4, Outcome::V4InV6)
                }
                IPV6_IN_IP => {
                    take::<OUTER_V6>(ctx, &src, first >> 4 == 6, ETHERTYPE_V6, Outcome::V6InV6)
                }
                _ => Outcome::Passed,
            }
        }
        _ => Outcome::Passed,
    }
}

/// Takes off `OUTER` bytes after the link header.
#[inline(always)]
fn take<const OUTER: usize>(
    ctx: &XdpContext,
    src: &Addr,
    is_right: bool,
    ethertype: u16,
    taken: Outcome,
) -> Outcome {
    if !is_allowed(src) {
        return Outcome::Refused;
    }
    let (data, end) = bounds(ctx);
    let inner = if ethertype == ETHERTYPE_V4 {
        OUTER_V4
    } else {
        OUTER_V6
    };
    if !is_right || data + ETHERNET + OUTER + inner > end {
        return Outcome::Malformed;
    }
    let macs: [u32; 3] = [word(data), word(data + 4), word(data + 8)];
    // SAFETY: the context is that of this run.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, OUTER as i32) } != 0 {
        return Outcome::Malformed;
    }
    let (data, end) = bounds(ctx);
    if data + ETHERNET > end {
        return Outcome::Malformed;
    }
    let [first, second, third] = macs;
    // SAFETY: the link header's bytes, as was just checked.
    unsafe {
        *(data as *mut u32) = first;
        *((data + 4) as *mut u32) = second;
        *((data + 8) as *mut u32) = third;
        *((data + 12) as *mut u16) = ethertype.to_be();
    }
    taken
}

#[inline(always)]
fn is_allowed(src: &Addr) -> bool {
    let is_restricted = RESTRICTED.get(0).is_some_and(|word| *word != 0);
    let key = CidrKey {
        listener: [0; 4],
        addr: src.0,
    };
    !is_restricted || SOURCES.get(&Key::new(ALL_BITS, key)).is_some()
}

binary::binary!();
