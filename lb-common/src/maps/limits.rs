//! Limits of the data path, in one place. A host that would exceed one refuses the load balancer.

/// Interfaces are looked up by index below this.
pub const IFINDEXES: u32 = 65_536;
/// Buckets of `ADDRESSES` (a power of two); eight addresses each. One bucket a record, so that
/// a ninth address in one is a matter of one in a million.
pub const ADDRESS_BUCKETS: u32 = 32_768;
/// VIPs, amphora and SNAT addresses.
pub const ADDRESS_RECORDS: u32 = 32_768;
/// Words of `PORTS`, shared by all VIPs.
pub const PORTS: u32 = 131_072;
/// Words looked at from a port's home position.
pub const PORT_PROBES: u32 = 4;
/// Listeners.
pub const LISTENERS: u32 = 32_768;
/// Load balancers.
pub const LOAD_BALANCERS: u32 = 8_192;
/// Amphorae (indices below this; 0 is never used).
pub const AMPHORAE: u32 = 16_384;
/// Pools that XDP balances.
pub const MAGLEV_TABLES: u32 = 8_192;
/// Members that XDP balances (indices below this; 0 is never used).
pub const MEMBERS: u32 = 65_536;
/// Blocks of `FLOWS4` unless configured: eight flows (128 B) each. A power of two, at least
/// [`super::flow::BLOCKS4_MIN`], as every size of a table here. Twice as many slots as flows keep
/// the unrecorded far below 1 %: 32 MiB for a million.
pub const FLOW_BLOCKS4: u32 = 65_536;
/// Blocks of `FLOWS6` unless configured: eight flows (256 B) each.
pub const FLOW_BLOCKS6: u32 = 32_768;
/// Entries of `REVERSE` unless configured: one (64 B) a NAT flow; half as many again as there shall
/// be flows.
pub const REVERSE_ENTRIES: u32 = 262_144;
/// Blocks of `PERSIST` unless configured: four clients (128 B) each.
pub const PERSIST_BLOCKS: u32 = 8_192;
/// Longest idle time of a flow, in seconds: what its 16-bit stamp can tell, with room for the sweep.
pub const IDLE_MAX_S: u32 = 60_000;
/// Idle time of a flow whose listener names none, in seconds.
pub const IDLE_DEFAULT_S: u32 = 3_600;
/// Members that one choice by LEAST_CONNECTIONS looks at.
pub const LEAST_OF: u32 = 64;
/// Entries of `DRAINS`.
pub const DRAINS: u32 = 65_536;
/// Entries of `CIDRS`.
pub const CIDRS: u32 = 65_536;
/// Entries of `DENIED`.
pub const DENIED: u32 = 4_096;
/// Entries of `DEVS`: uplinks and amphora veths.
pub const DEVICES: u32 = 32_768;
/// Entries of `REASONS`: room for reasons to come, so that appending one is no new layout.
pub const REASONS: u32 = 256;
/// Bytes of `EVENTS`.
pub const EVENT_BYTES: u32 = 262_144;
