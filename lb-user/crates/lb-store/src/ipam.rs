//! Addresses: taken and freed only inside the write transaction of the change that needs them.
//!
//! `UNIQUE (network_id, address)` is the truth; the search before it only finds a candidate, and
//! where another server was faster the next one is tried. Addresses of the hosts that carry amphorae
//! are never given out.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use lb_model::{
    id::{AmphoraId, LoadBalancerId, PortId, SubnetId},
    tree::Tree,
};
use uuid::Uuid;

use crate::{
    amphora,
    db::{Connection, Row, query, query_scalar},
    error::{NetworkError, StoreError},
    host,
    network::{Near, Place, Subnet, number},
    ports::{NeededPort, Port, PortPurpose, near, needed_ports},
    sql::{NewRow, Reader},
    store::{Store, now},
};

const PORTS: &str = "ports";

/// Whose an address is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) load_balancer_id: LoadBalancerId,
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

    /// Every port there is, for the read-only Network API.
    ///
    /// # Errors
    /// The database's.
    pub async fn all_ports(&self) -> Result<Vec<Port>, StoreError> {
        let rows = query(SELECT_ALL)
            .fetch_all(&self.inner.database.read)
            .await?;
        rows.iter().map(port).collect()
    }

    /// One port.
    ///
    /// # Errors
    /// The database's.
    pub async fn port(&self, id: PortId) -> Result<Option<Port>, StoreError> {
        let row = query(SELECT_ONE)
            .bind(id.to_string())
            .fetch_optional(&self.inner.database.read)
            .await?;
        row.as_ref().map(port).transpose()
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

    pub(crate) async fn free_in(
        &self,
        connection: &mut Connection,
        place: &Place,
    ) -> Result<u64, StoreError> {
        let hosts = host::addresses(connection).await?;
        let taken = taken(connection, &place.subnet, &hosts).await?;
        Ok(count_free(&place.subnet, &taken))
    }

    /// Takes an address.
    pub(crate) async fn take(
        &self,
        connection: &mut Connection,
        claim: &Claim<'_>,
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
        if claim.wanted.is_some() && self.inner.networks.makes_everything_up() {
            // Nobody is held to an address that is made up: it is not even written down.
            return Ok(port);
        }
        let hosts = host::addresses(connection).await?;
        let mut taken = taken(connection, subnet, &hosts).await?;
        loop {
            port.address = match claim.wanted {
                Some(wanted) => check_wanted(subnet, &taken, wanted)?,
                None => self.next_free(subnet, &taken)?,
            };
            if insert(connection, &port).await? {
                return Ok(port);
            }
            // Another server was faster.
            taken.insert(number(port.address));
        }
    }

    fn next_free(&self, subnet: &Subnet, taken: &HashSet<u128>) -> Result<IpAddr, NetworkError> {
        let exhausted = NetworkError::Exhausted(subnet.id);
        // A poisoned lock only means that some thread died; the hint is as good as before.
        let mut last_given = match self.inner.last_given.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        };
        let last = last_given.get(&subnet.id).copied();
        let found = find_free(subnet, taken, last).ok_or(exhausted)?;
        last_given.insert(subnet.id, found);
        Ok(subnet.address(found))
    }

    /// Makes amphorae and ports what the tree needs: takes what is missing, frees what is too much.
    pub(crate) async fn reconcile_ports(
        &self,
        connection: &mut Connection,
        tree: &Tree,
    ) -> Result<(), StoreError> {
        let owner = tree.load_balancer.id;
        let slots = amphora::ensure(connection, &tree.load_balancer).await?;
        let mut missing = needed_ports(tree);
        for port in load_ports(connection, owner).await? {
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
                load_balancer_id: owner,
                project_id: &tree.load_balancer.project_id,
                purpose: needed.purpose,
                amphora_id: needed.slot.and_then(|slot| slots.id_of(slot)),
                subnet_id: needed.subnet_id,
                near: near(tree, needed.subnet_id),
                wanted: None,
                port_id: None,
            };
            self.take(connection, &claim).await?;
        }
        Ok(())
    }
}

const SELECT_OWNED: &str =
    "SELECT * FROM ports WHERE load_balancer_id = $1 ORDER BY created_at, id";
const SELECT_ALL: &str = "SELECT * FROM ports ORDER BY created_at, id";
const SELECT_ONE: &str = "SELECT * FROM ports WHERE id = $1";
const SELECT_TAKEN: &str = "SELECT address FROM ports WHERE subnet_id = $1";
const DELETE_ONE: &str = "DELETE FROM ports WHERE id = $1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT_OWNED,
    SELECT_ALL,
    SELECT_ONE,
    SELECT_TAKEN,
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
    rows.iter().map(port).collect()
}

fn port(row: &Row) -> Result<Port, StoreError> {
    let read = Reader::new(PORTS, row);
    Ok(Port {
        id: read.parse("id")?,
        load_balancer_id: read.parse("load_balancer_id")?,
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
        .text("load_balancer_id", port.load_balancer_id)
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

fn check_wanted(
    subnet: &Subnet,
    taken: &HashSet<u128>,
    wanted: IpAddr,
) -> Result<IpAddr, NetworkError> {
    if !subnet.cidr.contains(&wanted) {
        return Err(NetworkError::AddressOutside(wanted));
    }
    if subnet.is_reserved(wanted) {
        return Err(NetworkError::AddressReserved(wanted));
    }
    if taken.contains(&number(wanted)) {
        return Err(NetworkError::AddressInUse(wanted));
    }
    Ok(wanted)
}

/// The first free address behind `last`, else the first at all. Looks at no more addresses than are
/// taken or reserved, and one.
fn find_free(subnet: &Subnet, taken: &HashSet<u128>, last: Option<u128>) -> Option<u128> {
    let usable = |candidate: &u128| {
        !taken.contains(candidate) && !subnet.is_reserved(subnet.address(*candidate))
    };
    let ranges = subnet.ranges();
    let behind = last.and_then(|last| {
        let mut rests = ranges
            .iter()
            .map(|(start, end)| last.saturating_add(1).max(*start)..=*end);
        rests.find_map(|mut rest| rest.find(usable))
    });
    behind.or_else(|| {
        ranges
            .iter()
            .find_map(|(start, end)| (*start..=*end).find(usable))
    })
}

fn count_free(subnet: &Subnet, taken: &HashSet<u128>) -> u64 {
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
