//! Addresses: taken and freed only inside the write transaction of the change that needs them.
//!
//! `UNIQUE (network_id, address)` is the truth; the search before it only finds a candidate, and
//! where another server was faster the next one is tried. Addresses of the hosts that carry amphorae
//! are never given out.
//!
//! What it costs does not grow with what is taken: the addresses behind the one given out last are
//! tried first. Only when those are taken (after a start, or at the end of a subnet) all taken ones of
//! the subnet are read, once.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::MutexGuard,
};

use lb_model::{
    id::{AmphoraId, LoadBalancerId, PortId, SubnetId},
    tree::Tree,
};
use uuid::Uuid;

use crate::{
    amphora::{self, Slots},
    boxed::Boxed,
    db::{Builder, Connection, query, query_scalar},
    error::{NetworkError, StoreError},
    host::{self, HostAddresses},
    network::{Near, Place, Subnet, number},
    ports::{NeededPort, Port, PortPurpose, near, needed_ports},
    sql::{NewRow, Reader},
    store::{Store, now},
    whole::PORTS,
};

mod search;

/// How many addresses behind the one given out last are tried before all taken ones are read.
const TRIES: u32 = 8;
/// So many addresses left need no exact count: more than a load balancer takes.
const PLENTY: u128 = 16;
/// Addresses in one query.
const ADDRESSES_ASKED: usize = 100;

/// Whose an address is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) load_balancer_id: Option<LoadBalancerId>,
    pub(crate) project_id: &'a str,
    pub(crate) purpose: PortPurpose,
    pub(crate) amphora_id: Option<AmphoraId>,
    pub(crate) subnet_id: SubnetId,
    /// What is known of the subnet.
    pub(crate) near: Near,
    /// This very address.
    pub(crate) wanted: Option<IpAddr>,
    /// This very port.
    pub(crate) port_id: Option<PortId>,
}

impl Store {
    /// Every port of a load balancer, VIPs included.
    ///
    /// # Errors
    /// The database's.
    pub async fn ports(&self, owner: LoadBalancerId) -> Result<Vec<Port>, StoreError> {
        let mut connection = self.inner.database.read.acquire().await?;
        load_ports(&mut connection, owner).await
    }

    /// A page of the load balancers' ports, oldest first, behind the port `after`.
    ///
    /// # Errors
    /// The database's.
    pub async fn port_page(
        &self,
        after: Option<&Port>,
        limit: u32,
    ) -> Result<Vec<Port>, StoreError> {
        let (time, id) = after.map_or((i64::MIN, String::new()), |port| {
            (port.created_at.0, port.id.to_string())
        });
        let rows = query(SELECT_PAGE)
            .bind(time)
            .bind(id)
            .bind(i64::from(limit))
            .fetch_all(&self.inner.database.read)
            .await?;
        rows.iter()
            .map(|row| port(&Reader::new(PORTS, row)))
            .collect()
    }

    /// Which of these addresses are an amphora's, or a source of translated flows.
    ///
    /// # Errors
    /// The database's.
    pub fn ours_among<'f>(
        &'f self,
        addresses: &'f [IpAddr],
    ) -> Boxed<'f, Result<Vec<IpAddr>, StoreError>> {
        Box::pin(async move {
            let mut ours = Vec::new();
            for some in addresses.chunks(ADDRESSES_ASKED) {
                let mut query = Builder::new(SELECT_OURS);
                query.push_list(some.iter().map(ToString::to_string));
                query.push(")");
                let rows = query.build().fetch_all(&self.inner.database.read).await?;
                for row in &rows {
                    ours.push(Reader::new(PORTS, row).parse("address")?);
                }
            }
            Ok(ours)
        })
    }

    /// One port.
    ///
    /// # Errors
    /// The database's.
    pub fn port<'f>(&'f self, id: PortId) -> Boxed<'f, Result<Option<Port>, StoreError>> {
        Box::pin(async move {
            let row = query(SELECT_ONE)
                .bind(id.to_string())
                .fetch_optional(&self.inner.database.read)
                .await?;
            row.as_ref()
                .map(|row| port(&Reader::new(PORTS, row)))
                .transpose()
        })
    }

    /// How many addresses a subnet has left.
    ///
    /// # Errors
    /// The database's, or [`NetworkError::SubnetNotFound`].
    pub async fn free_addresses(&self, id: SubnetId) -> Result<u64, StoreError> {
        let place = self.inner.networks.subnet(id, Near::default()).await?;
        let place = place.ok_or(NetworkError::SubnetNotFound(id))?;
        let mut connection = self.inner.database.read.acquire().await?;
        self.free_in(&mut connection, &place).await
    }

    /// Exact where little is left; where there is much, an address outside the allocation pools may
    /// count as taken.
    pub(crate) fn free_in<'f>(
        &'f self,
        connection: &'f mut Connection,
        place: &'f Place,
    ) -> Boxed<'f, Result<u64, StoreError>> {
        Box::pin(async move {
            let used: i64 = query_scalar(COUNT_TAKEN)
                .bind(place.subnet.id.to_string())
                .fetch_one(&mut *connection)
                .await?;
            let size = search::size(&place.subnet);
            let left = size.saturating_sub(u128::from(used.unsigned_abs()));
            if left >= PLENTY {
                return Ok(u64::try_from(left).unwrap_or(u64::MAX));
            }
            let hosts = host::addresses(connection).await?;
            let taken = taken(connection, &place.subnet, &hosts).await?;
            Ok(search::count_free(&place.subnet, &taken))
        })
    }

    /// Takes an address.
    pub(crate) async fn take(
        &self,
        connection: &mut Connection,
        claim: &Claim<'_>,
        hosts: &mut HostAddresses,
    ) -> Result<Port, StoreError> {
        let place = self
            .inner
            .networks
            .subnet(claim.subnet_id, claim.near)
            .await?
            .ok_or(NetworkError::SubnetNotFound(claim.subnet_id))?;
        let (network, subnet) = (&place.network, &place.subnet);
        let mut port = Port {
            id: claim.port_id.unwrap_or_else(|| PortId(Uuid::new_v4())),
            load_balancer_id: claim.load_balancer_id,
            project_id: claim.project_id.to_owned(),
            purpose: claim.purpose,
            amphora_id: claim.amphora_id,
            network_id: network.id,
            subnet_id: subnet.id,
            address: claim.wanted.unwrap_or(subnet.cidr.addr()),
            created_at: now(),
        };
        if let Some(wanted) = claim.wanted {
            if self.inner.networks.makes_everything_up() && claim.load_balancer_id.is_some() {
                // Nobody is held to an address that is made up: it is not even written down.
                return Ok(port);
            }
            search::check_wanted(subnet, wanted)?;
            let hosts = hosts.get(connection).await?;
            if hosts.contains(&wanted) || !insert(connection, &port).await? {
                return Err(NetworkError::AddressInUse(wanted).into());
            }
            return Ok(port);
        }
        let hosts = hosts.get(connection).await?;
        for _ in 0..TRIES {
            let Some(candidate) = self.behind_last(subnet, hosts) else {
                break;
            };
            port.address = candidate;
            if insert(connection, &port).await? {
                return Ok(port);
            }
        }
        let mut taken = taken(connection, subnet, hosts).await?;
        loop {
            port.address = self.next_free(subnet, &taken)?;
            if insert(connection, &port).await? {
                return Ok(port);
            }
            // Another server was faster, or another subnet of the network has it.
            taken.insert(number(port.address));
        }
    }

    /// The address after the one given out last, whoever has it: most often nobody.
    fn behind_last(&self, subnet: &Subnet, hosts: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let mut last_given = self.last_given();
        let last = last_given.get(&subnet.id).copied();
        let last = last.or_else(|| self.first_place(subnet));
        let hosts = hosts.iter().copied().map(number).collect();
        let found = search::behind(subnet, &hosts, last)?;
        last_given.insert(subnet.id, found);
        Some(subnet.address(found))
    }

    /// Where the search begins. Several servers begin apart, or they would want the same addresses all
    /// the time and wait for each other.
    fn first_place(&self, subnet: &Subnet) -> Option<u128> {
        if !self.inner.database.is_postgres() {
            return None;
        }
        let (start, end) = *subnet.ranges().first()?;
        let size = end.saturating_sub(start).saturating_add(1);
        Some(start + self.inner.feed.number() % size)
    }

    fn next_free(&self, subnet: &Subnet, taken: &HashSet<u128>) -> Result<IpAddr, NetworkError> {
        let mut last_given = self.last_given();
        let last = last_given.get(&subnet.id).copied();
        let found = search::find_free(subnet, taken, last);
        let found = found.ok_or(NetworkError::Exhausted(subnet.id))?;
        last_given.insert(subnet.id, found);
        Ok(subnet.address(found))
    }

    fn last_given(&self) -> MutexGuard<'_, HashMap<SubnetId, u128>> {
        // A poisoned lock only means that some thread died; the hint is as good as before.
        match self.inner.last_given.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Makes amphorae and ports what the tree needs: takes what is missing, frees what is too much.
    pub(crate) fn reconcile_ports<'f>(
        &'f self,
        connection: &'f mut Connection,
        tree: &'f Tree,
    ) -> Boxed<'f, Result<(), StoreError>> {
        Box::pin(async move {
            let slots = amphora::ensure(connection, &tree.load_balancer).await?;
            let have = load_ports(connection, tree.load_balancer.id).await?;
            let hosts = &mut HostAddresses::default();
            self.adjust(connection, tree, &slots, have, hosts).await
        })
    }

    /// The same for a load balancer that has no more than its VIPs yet.
    pub(crate) fn first_ports<'f>(
        &'f self,
        connection: &'f mut Connection,
        tree: &'f Tree,
        hosts: &'f mut HostAddresses,
    ) -> Boxed<'f, Result<(), StoreError>> {
        Box::pin(async move {
            let slots = amphora::first(connection, &tree.load_balancer).await?;
            self.adjust(connection, tree, &slots, Vec::new(), hosts)
                .await
        })
    }

    async fn adjust(
        &self,
        connection: &mut Connection,
        tree: &Tree,
        slots: &Slots,
        have: Vec<Port>,
        hosts: &mut HostAddresses,
    ) -> Result<(), StoreError> {
        let owner = tree.load_balancer.id;
        let mut missing = needed_ports(tree);
        for port in have {
            let slot = port.amphora_id.and_then(|id| slots.slot_of(id));
            let have = NeededPort {
                purpose: port.purpose,
                slot,
                subnet_id: port.subnet_id,
            };
            let is_vip = matches!(port.purpose, PortPurpose::Vip | PortPurpose::AdditionalVip);
            if !is_vip && !missing.remove(&have) {
                query(DELETE_ONE)
                    .bind(port.id.to_string())
                    .execute(&mut *connection)
                    .await?;
            }
        }
        for needed in missing {
            let claim = Claim {
                load_balancer_id: Some(owner),
                project_id: &tree.load_balancer.project_id,
                purpose: needed.purpose,
                amphora_id: needed.slot.and_then(|slot| slots.id_of(slot)),
                subnet_id: needed.subnet_id,
                near: near(tree, needed.subnet_id),
                wanted: None,
                port_id: None,
            };
            self.take(connection, &claim, hosts).await?;
        }
        Ok(())
    }
}

const SELECT_OWNED: &str =
    "SELECT * FROM ports WHERE load_balancer_id = $1 ORDER BY created_at, id";
const SELECT_PAGE: &str = "SELECT * FROM ports \
     WHERE load_balancer_id IS NOT NULL AND (created_at > $1 OR (created_at = $1 AND id > $2)) \
     ORDER BY created_at, id LIMIT $3";
const SELECT_ONE: &str = "SELECT * FROM ports WHERE id = $1 AND load_balancer_id IS NOT NULL";
const SELECT_OURS: &str =
    "SELECT address FROM ports WHERE purpose IN ('amphora', 'snat') AND address IN (";
const COUNT_TAKEN: &str = "SELECT COUNT(*) FROM ports WHERE subnet_id = $1";
const SELECT_TAKEN: &str = "SELECT address FROM ports WHERE subnet_id = $1";
const DELETE_ONE: &str = "DELETE FROM ports WHERE id = $1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT_OWNED,
    SELECT_PAGE,
    SELECT_ONE,
    SELECT_TAKEN,
    COUNT_TAKEN,
    DELETE_ONE,
];

pub(crate) async fn load_ports(
    connection: &mut Connection,
    owner: LoadBalancerId,
) -> Result<Vec<Port>, StoreError> {
    let rows = query(SELECT_OWNED)
        .bind(owner.to_string())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| port(&Reader::new(PORTS, row)))
        .collect()
}

pub(crate) fn port(read: &Reader<'_>) -> Result<Port, StoreError> {
    Ok(Port {
        id: read.parse("id")?,
        load_balancer_id: read.opt_parse("load_balancer_id")?,
        project_id: read.text("project_id")?,
        purpose: read.parse("purpose")?,
        amphora_id: read.opt_parse("amphora_id")?,
        network_id: read.parse("network_id")?,
        subnet_id: read.parse("subnet_id")?,
        address: read.parse("address")?,
        created_at: read.time("created_at")?,
    })
}

/// Says whether the address was free. Waits for another transaction that is about to take it.
async fn insert(connection: &mut Connection, port: &Port) -> Result<bool, StoreError> {
    let row = NewRow::new(PORTS, port.id.0)
        .opt_text("load_balancer_id", port.load_balancer_id)
        .text("project_id", &port.project_id)
        .text("purpose", port.purpose)
        .opt_text("amphora_id", port.amphora_id)
        .text("network_id", port.network_id)
        .text("subnet_id", port.subnet_id)
        .text("address", port.address)
        .int("created_at", port.created_at.0);
    row.insert_unless_taken(connection).await
}

/// Addresses of a subnet that nobody may get: ports and hosts.
async fn taken(
    connection: &mut Connection,
    subnet: &Subnet,
    hosts: &BTreeSet<IpAddr>,
) -> Result<HashSet<u128>, StoreError> {
    let rows: Vec<String> = query_scalar(SELECT_TAKEN)
        .bind(subnet.id.to_string())
        .fetch_all(connection)
        .await?;
    let ports = rows.iter().filter_map(|text| text.parse().ok());
    let hosts = hosts
        .iter()
        .copied()
        .filter(|address| subnet.cidr.contains(address));
    Ok(ports.chain(hosts).map(number).collect())
}
