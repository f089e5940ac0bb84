//! Finding an address: pure, from a subnet and what is taken.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use crate::{
    error::NetworkError,
    network::{Subnet, number},
};

/// Network, broadcast and gateway address.
const RESERVED_MAX: u128 = 3;

/// Whether an address could be given out at all.
pub(super) fn check_wanted(subnet: &Subnet, wanted: IpAddr) -> Result<(), NetworkError> {
    if !subnet.cidr.contains(&wanted) {
        return Err(NetworkError::AddressOutside(wanted));
    }
    if subnet.is_reserved(wanted) {
        return Err(NetworkError::AddressReserved(wanted));
    }
    Ok(())
}

/// The first free address behind `last`, else the first at all. Looks at no more addresses than are
/// taken or reserved, and one.
pub(super) fn find_free(
    subnet: &Subnet,
    taken: &HashSet<u128>,
    last: Option<u128>,
) -> Option<u128> {
    behind(subnet, taken, last).or_else(|| behind(subnet, taken, None))
}

/// The first address behind `last` that is not `taken`.
pub(super) fn behind(subnet: &Subnet, taken: &HashSet<u128>, last: Option<u128>) -> Option<u128> {
    let usable = |candidate: &u128| {
        !taken.contains(candidate) && !subnet.is_reserved(subnet.address(*candidate))
    };
    let next = last.map_or(0, |last| last.saturating_add(1));
    let ranges = subnet.ranges();
    let mut rests = ranges.iter().map(|(start, end)| next.max(*start)..=*end);
    rests.find_map(|mut rest| rest.find(usable))
}

/// How many addresses the allocation pools hold, less what is reserved.
pub(super) fn size(subnet: &Subnet) -> u128 {
    let sizes = subnet.ranges().into_iter();
    let sizes = sizes.map(|(start, end)| (end - start).saturating_add(1));
    sizes
        .fold(0_u128, u128::saturating_add)
        .saturating_sub(RESERVED_MAX)
}

/// How many addresses are left, exactly.
pub(super) fn count_free(subnet: &Subnet, taken: &HashSet<u128>) -> u64 {
    let ranges = subnet.ranges();
    let inside = |address: u128| {
        ranges
            .iter()
            .any(|(start, end)| (*start..=*end).contains(&address))
    };
    let sizes = ranges
        .iter()
        .map(|(start, end)| (end - start).saturating_add(1));
    let size = sizes.fold(0_u128, u128::saturating_add);
    let ends = [subnet.cidr.network(), subnet.cidr.broadcast()];
    let reserved: BTreeSet<u128> = ends
        .into_iter()
        .chain(subnet.gateway_ip)
        .filter(|address| subnet.is_reserved(*address))
        .map(number)
        .filter(|address| inside(*address))
        .collect();
    let used = taken
        .iter()
        .filter(|address| inside(**address) && !reserved.contains(*address));
    let lost = u128::try_from(used.count() + reserved.len()).unwrap_or(u128::MAX);
    u64::try_from(size.saturating_sub(lost)).unwrap_or(u64::MAX)
}
