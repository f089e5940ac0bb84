//! Ports that users make in the embedded networks: addresses kept for a load balancer to come, or
//! longer than one lives.
//!
//! Their addresses are rows of the ports table without a load balancer, so one uniqueness holds for
//! all. A load balancer that uses such a port as its VIP marks it; when it goes, the mark goes with it
//! and the port stays.

use std::{net::IpAddr, sync::Arc};

use lb_model::{
    fault::Fault,
    id::{LoadBalancerId, NetworkId, PortId, SubnetId},
    time::Timestamp,
    vip::PortInfo,
};
use uuid::Uuid;

use crate::{
    db::{Connection, Row, query},
    error::{NetworkError, StoreError},
    host::HostAddresses,
    ipam::Claim,
    network::{Near, Network, Place},
    ports::PortPurpose,
    sql::Reader,
    store::{Store, now},
};

/// Ports one project may have.
pub const USER_PORTS_MAX: usize = 1_000;

/// A port as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPort {
    /// Whose it is to be.
    pub project_id: String,
    /// For people.
    pub name: String,
    /// Its network.
    pub network_id: NetworkId,
    /// Its addresses; empty: one of the network's first subnet with room, IPv4 preferred.
    pub fixed_ips: Vec<(Option<SubnetId>, Option<IpAddr>)>,
}

/// A port that a user made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPort {
    /// Identity.
    pub id: PortId,
    /// Whose it is.
    pub project_id: String,
    /// For people.
    pub name: String,
    /// Its network.
    pub network_id: NetworkId,
    /// Whose VIP it holds.
    pub load_balancer_id: Option<LoadBalancerId>,
    /// Its addresses.
    pub fixed_ips: Vec<(SubnetId, IpAddr)>,
    /// Set once.
    pub created_at: Timestamp,
}

impl UserPort {
    pub(crate) fn info(&self) -> PortInfo {
        PortInfo {
            id: self.id,
            network_id: self.network_id,
            device_id: self
                .load_balancer_id
                .map(|id| format!("lb-{id}"))
                .unwrap_or_default(),
            fixed_ips: self.fixed_ips.clone(),
        }
    }
}

impl Store {
    /// Makes a port with its addresses.
    ///
    /// # Errors
    /// [`StoreError::Network`] or a fault when network, subnet or address cannot be had.
    pub async fn create_port(&self, new: &NewPort) -> Result<UserPort, StoreError> {
        let network = self.inner.networks.network(new.network_id, Near::default());
        let network = network.await?;
        let network = network
            .filter(|network| network.is_visible_to(&new.project_id))
            .ok_or_else(|| Fault::invalid(format!("Network {} not found.", new.network_id)))?;
        let mut transaction = self.begin_write().await?;
        let mine = load(&mut transaction, SELECT_OF_PROJECT, &new.project_id).await?;
        if mine.len() >= USER_PORTS_MAX {
            return Err(Fault::Conflict(format!(
                "Project {} has {USER_PORTS_MAX} ports already.",
                new.project_id
            ))
            .into());
        }
        let mut port = UserPort {
            id: PortId(Uuid::new_v4()),
            project_id: new.project_id.clone(),
            name: new.name.clone(),
            network_id: network.id,
            load_balancer_id: None,
            fixed_ips: Vec::new(),
            created_at: now(),
        };
        query(INSERT)
            .bind(port.id.to_string())
            .bind(&port.project_id)
            .bind(&port.name)
            .bind(port.network_id.to_string())
            .bind(port.created_at.0)
            .execute(&mut transaction)
            .await?;
        let mut hosts = HostAddresses::default();
        let any = [(None, None)];
        let wanted = match new.fixed_ips.as_slice() {
            [] => any.as_slice(),
            given => given,
        };
        for (subnet_id, address) in wanted {
            let place = self
                .place_for(&mut transaction, &network, *subnet_id, *address)
                .await?;
            let first = port.fixed_ips.is_empty();
            let claim = Claim {
                load_balancer_id: None,
                project_id: &port.project_id,
                purpose: PortPurpose::User,
                amphora_id: None,
                subnet_id: place.subnet.id,
                near: Near {
                    network_id: Some(network.id),
                    subnet_id: None,
                    address: *address,
                },
                wanted: *address,
                port_id: first.then_some(port.id),
            };
            let taken = self.take(&mut transaction, &claim, &mut hosts).await?;
            query(INSERT_ADDRESS)
                .bind(taken.id.to_string())
                .bind(port.id.to_string())
                .bind(i64::try_from(port.fixed_ips.len()).unwrap_or(i64::MAX))
                .execute(&mut transaction)
                .await?;
            port.fixed_ips.push((taken.subnet_id, taken.address));
        }
        self.commit(transaction).await?;
        Ok(port)
    }

    /// Removes a port; says whether there was one of that project (of any, when it is `None`).
    ///
    /// # Errors
    /// A conflict while a load balancer uses it.
    pub async fn delete_port(
        &self,
        id: PortId,
        project_id: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(port) = load_one(&mut transaction, id).await? else {
            return Ok(false);
        };
        if project_id.is_some_and(|project_id| project_id != port.project_id) {
            return Ok(false);
        }
        if let Some(user) = port.load_balancer_id {
            return Err(Fault::Conflict(format!("Port {id} is in use by lb-{user}.")).into());
        }
        for sql in [DELETE_ADDRESSES, DELETE] {
            query(sql)
                .bind(id.to_string())
                .execute(&mut transaction)
                .await?;
        }
        self.commit(transaction).await?;
        Ok(true)
    }

    /// A port that a user made.
    ///
    /// # Errors
    /// The database's.
    pub async fn user_port(&self, id: PortId) -> Result<Option<UserPort>, StoreError> {
        let mut connection = self.inner.database.read.acquire().await?;
        load_one(&mut connection, id).await
    }

    /// The ports that users made: a project's, or all.
    ///
    /// # Errors
    /// The database's.
    pub async fn user_ports(&self, project_id: Option<&str>) -> Result<Vec<UserPort>, StoreError> {
        let mut connection = self.inner.database.read.acquire().await?;
        match project_id {
            Some(project_id) => load(&mut connection, SELECT_OF_PROJECT, project_id).await,
            None => load(&mut connection, SELECT_ALL, "").await,
        }
    }

    async fn place_for(
        &self,
        connection: &mut Connection,
        network: &Arc<Network>,
        subnet_id: Option<SubnetId>,
        address: Option<IpAddr>,
    ) -> Result<Place, StoreError> {
        let mut subnets: Vec<_> = network.subnets.iter().collect();
        // IPv4 first; a stable sort keeps the order otherwise.
        subnets.sort_by_key(|subnet| subnet.is_ipv6());
        for subnet in subnets {
            let place = Place {
                network: Arc::clone(network),
                subnet: subnet.clone(),
            };
            let fits = match (subnet_id, address) {
                (Some(id), _) => id == subnet.id,
                (None, Some(address)) => subnet.cidr.contains(&address),
                (None, None) => self.free_in(connection, &place).await? > 0,
            };
            if fits {
                return Ok(place);
            }
        }
        Err(match (subnet_id, address) {
            (Some(id), _) => NetworkError::SubnetNotFound(id).into(),
            (None, Some(address)) => NetworkError::AddressOutside(address).into(),
            (None, None) => Fault::Conflict(format!(
                "No free address is left in network {}.",
                network.id
            ))
            .into(),
        })
    }
}

/// Marks a port as used by a load balancer; says whether nobody used it.
pub(crate) async fn occupy(
    connection: &mut Connection,
    id: PortId,
    owner: LoadBalancerId,
) -> Result<bool, StoreError> {
    let done = query(OCCUPY)
        .bind(owner.to_string())
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn load_one(
    connection: &mut Connection,
    id: PortId,
) -> Result<Option<UserPort>, StoreError> {
    let found = load(connection, SELECT_ONE, &id.to_string()).await?;
    Ok(found.into_iter().next())
}

const SELECT_ALL: &str = "SELECT u.id, u.project_id, u.name, u.network_id, u.load_balancer_id, \
     u.created_at, p.subnet_id, p.address FROM user_ports u \
     LEFT JOIN user_port_addresses a ON a.port_id = u.id LEFT JOIN ports p ON p.id = a.address_id \
     WHERE u.project_id <> $1 ORDER BY u.created_at, u.id, a.ordinal";
const SELECT_OF_PROJECT: &str = "SELECT u.id, u.project_id, u.name, u.network_id, u.load_balancer_id, \
     u.created_at, p.subnet_id, p.address FROM user_ports u \
     LEFT JOIN user_port_addresses a ON a.port_id = u.id LEFT JOIN ports p ON p.id = a.address_id \
     WHERE u.project_id = $1 ORDER BY u.created_at, u.id, a.ordinal";
const SELECT_ONE: &str = "SELECT u.id, u.project_id, u.name, u.network_id, u.load_balancer_id, \
     u.created_at, p.subnet_id, p.address FROM user_ports u \
     LEFT JOIN user_port_addresses a ON a.port_id = u.id LEFT JOIN ports p ON p.id = a.address_id \
     WHERE u.id = $1 ORDER BY u.created_at, u.id, a.ordinal";
const INSERT: &str = "INSERT INTO user_ports (id, project_id, name, network_id, created_at) \
     VALUES ($1, $2, $3, $4, $5)";
const INSERT_ADDRESS: &str =
    "INSERT INTO user_port_addresses (address_id, port_id, ordinal) VALUES ($1, $2, $3)";
const OCCUPY: &str =
    "UPDATE user_ports SET load_balancer_id = $1 WHERE id = $2 AND load_balancer_id IS NULL";
const DELETE_ADDRESSES: &str = "DELETE FROM ports WHERE id IN \
     (SELECT address_id FROM user_port_addresses WHERE port_id = $1)";
const DELETE: &str = "DELETE FROM user_ports WHERE id = $1";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT_ALL,
    SELECT_OF_PROJECT,
    SELECT_ONE,
    INSERT,
    INSERT_ADDRESS,
    OCCUPY,
    DELETE_ADDRESSES,
    DELETE,
];

/// One row an address; a port's follow each other.
async fn load(
    connection: &mut Connection,
    sql: &'static str,
    argument: &str,
) -> Result<Vec<UserPort>, StoreError> {
    let rows = query(sql).bind(argument).fetch_all(connection).await?;
    let mut ports: Vec<UserPort> = Vec::new();
    for row in &rows {
        let (port, fixed_ip) = user_port(row)?;
        match ports.last_mut() {
            Some(last) if last.id == port.id => last.fixed_ips.extend(fixed_ip),
            _ => ports.push(UserPort {
                fixed_ips: fixed_ip.into_iter().collect(),
                ..port
            }),
        }
    }
    Ok(ports)
}

fn user_port(row: &Row) -> Result<(UserPort, Option<(SubnetId, IpAddr)>), StoreError> {
    let read = Reader::new("user_ports", row);
    let port = UserPort {
        id: read.parse("id")?,
        project_id: read.text("project_id")?,
        name: read.text("name")?,
        network_id: read.parse("network_id")?,
        load_balancer_id: read.opt_parse("load_balancer_id")?,
        fixed_ips: Vec::new(),
        created_at: read.time("created_at")?,
    };
    let subnet = read.opt_parse("subnet_id")?;
    Ok((port, subnet.zip(read.opt_parse("address")?)))
}
