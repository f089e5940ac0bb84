//! Amphora rows: one a slot, made with their load balancer and gone with it.
//!
//! A row is a place for an amphora: it keeps its id, its slot and its addresses over restarts and
//! moves; host, role and status are the control plane's to set. What clients see as the amphora's id
//! is another one after each planned failover, for that replaces the process (Octavia's machine);
//! hosts do not know of it. What an agent starts anew by itself is still the same amphora.

use std::net::IpAddr;

use lb_model::{
    enums::{AmphoraRole, AmphoraStatus, Topology},
    fault::{Fault, ResourceKind},
    id::{AmphoraId, LoadBalancerId, PortId},
    resource::{Amphora, LoadBalancer, compute_id},
    tree::Tree,
};
use uuid::Uuid;

use crate::{
    db::{Builder, Connection, Row, query},
    decode::{Loaded, load, push_ids},
    encode::encode,
    error::StoreError,
    lock::{Attempts, lock_row},
    ports::{Port, amphora_slots},
    save::save,
    sql::{NewRow, Reader},
    store::{Store, now},
    tree::LOCK_TREE,
    whole::AMPHORAE,
};

/// An amphora with the slot it fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmphoraRow {
    /// 0, and 1 in an ACTIVE_STANDBY pair.
    pub slot: u8,
    /// As the API shows it.
    pub amphora: Amphora,
}

/// What the control plane sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmphoraUpdate {
    /// Host that carries it.
    pub host: String,
    /// Part in the pair.
    pub role: AmphoraRole,
    /// Life.
    pub status: AmphoraStatus,
}

/// Which amphora fills which slot.
#[derive(Debug, Default)]
pub(crate) struct Slots(Vec<(u8, AmphoraId)>);

impl Slots {
    pub(crate) fn slot_of(&self, id: AmphoraId) -> Option<u8> {
        self.0
            .iter()
            .find(|(_, other)| *other == id)
            .map(|(slot, _)| *slot)
    }

    pub(crate) fn id_of(&self, slot: u8) -> Option<AmphoraId> {
        self.0
            .iter()
            .find(|(other, _)| *other == slot)
            .map(|(_, id)| *id)
    }
}

impl Store {
    /// The amphorae of a load balancer, by slot.
    ///
    /// # Errors
    /// The database's.
    pub async fn amphorae(&self, owner: LoadBalancerId) -> Result<Vec<AmphoraRow>, StoreError> {
        let mut connection = self.inner.database.read.acquire().await?;
        load_many(&mut connection, &[owner]).await
    }

    /// One amphora, by the id that clients know it by.
    ///
    /// # Errors
    /// The database's.
    pub async fn amphora(&self, id: AmphoraId) -> Result<Option<AmphoraRow>, StoreError> {
        let row = query(SELECT_ONE)
            .bind(id.to_string())
            .fetch_optional(&self.inner.database.read)
            .await?;
        row.as_ref().map(amphora).transpose()
    }

    /// Sets what the control plane knows of an amphora. Says whether anything changed; nothing is
    /// written when not.
    ///
    /// # Errors
    /// The database's.
    pub async fn update_amphora(
        &self,
        id: AmphoraId,
        update: &AmphoraUpdate,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(owner) = self::update(&mut transaction, id, update).await? else {
            return Ok(false);
        };
        self.commit_change(transaction, owner).await?;
        Ok(true)
    }
}

impl Store {
    /// Takes an amphora in ERROR away; another one, with an id of its own, fills its place in the same
    /// transaction, and hosts are asked again.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with a 404, or with a 409 when it is not in ERROR; the database's.
    pub async fn delete_amphora(&self, id: AmphoraId) -> Result<(), StoreError> {
        let mut attempts = Attempts::default();
        loop {
            match self.try_delete(id).await {
                Err(error) if attempts.again(&error) => {}
                done => return done,
            }
        }
    }

    async fn try_delete(&self, id: AmphoraId) -> Result<(), StoreError> {
        let missing = || Fault::not_found(ResourceKind::Amphora, id);
        let row = self.amphora(id).await?.ok_or_else(missing)?;
        let owner = row.amphora.load_balancer_id;
        let mut transaction = self.begin_write().await?;
        lock_row(&mut transaction, LOCK_TREE, owner).await?;
        let row = query(SELECT_ONE)
            .bind(id.to_string())
            .fetch_optional(&mut transaction)
            .await?;
        let row = amphora(&row.ok_or_else(missing)?)?;
        if row.amphora.status != AmphoraStatus::Error {
            return Err(Fault::Conflict(format!(
                "Amphora {id} cannot be deleted: its status is {}, not ERROR.",
                row.amphora.status
            ))
            .into());
        }
        let Loaded {
            mut trees,
            ordinals,
        } = load(&mut transaction, &[owner]).await?;
        let before = trees.remove(&owner).ok_or_else(missing)?;
        let mut after = before.clone();
        after.configure_amphorae();
        query(DELETE_PORTS)
            .bind(row.amphora.id.to_string())
            .execute(&mut transaction)
            .await?;
        query(DELETE_SLOT)
            .bind(owner.to_string())
            .bind(i64::from(row.slot))
            .execute(&mut transaction)
            .await?;
        let (old, new) = (encode(&before, &ordinals)?, encode(&after, &ordinals)?);
        save(&mut transaction, owner, &old, new).await?;
        self.reconcile_ports(&mut transaction, &after).await?;
        self.commit_change(transaction, owner).await
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT a.*, p.id AS vrrp_port_id, p.address AS vrrp_ip FROM amphorae a \
             JOIN load_balancers l ON l.id = a.load_balancer_id \
             LEFT JOIN ports p ON p.amphora_id = a.id AND p.subnet_id = l.vip_subnet_id ",
            $rest
        )
    };
}

const SELECT_ONE: &str = select!("WHERE COALESCE(a.shown_id, a.id) = $1");
const SELECT_SLOTS: &str = "SELECT id, slot FROM amphorae WHERE load_balancer_id = $1";
const DELETE_SLOT: &str = "DELETE FROM amphorae WHERE load_balancer_id = $1 AND slot = $2";
const DELETE_PORTS: &str = "DELETE FROM ports WHERE amphora_id = $1";
const REPLACE: &str =
    "UPDATE amphorae SET shown_id = $2, created_at = $3, updated_at = NULL WHERE id = $1";
const UPDATE: &str = "UPDATE amphorae SET host = $2, role = $3, status = $4, updated_at = $5, compute_id = $6 \
     WHERE id = $1 AND (host <> $2 OR role <> $3 OR status <> $4) RETURNING load_balancer_id";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT_ONE,
    SELECT_SLOTS,
    DELETE_SLOT,
    DELETE_PORTS,
    REPLACE,
    UPDATE,
];

/// Has every amphora of a load balancer shown as another: a failover replaces them.
pub(crate) async fn replace(
    connection: &mut Connection,
    owner: LoadBalancerId,
) -> Result<(), StoreError> {
    let rows = query(SELECT_SLOTS)
        .bind(owner.to_string())
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let place: AmphoraId = Reader::new(AMPHORAE, row).parse("id")?;
        query(REPLACE)
            .bind(place.to_string())
            .bind(Uuid::new_v4().to_string())
            .bind(now().0)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Sets what is known of an amphora; whose it is, when anything changed.
pub(crate) async fn update(
    connection: &mut Connection,
    id: AmphoraId,
    update: &AmphoraUpdate,
) -> Result<Option<LoadBalancerId>, StoreError> {
    let changed = query(UPDATE)
        .bind(id.to_string())
        .bind(&update.host)
        .bind(update.role.as_str())
        .bind(update.status.as_str())
        .bind(now().0)
        .bind(compute_id(&update.host).map(|id| id.to_string()))
        .fetch_optional(connection)
        .await?;
    let owner = changed.map(|row| Reader::new(AMPHORAE, &row).parse("load_balancer_id"));
    owner.transpose()
}

/// The amphorae of several load balancers.
pub(crate) async fn load_many(
    connection: &mut Connection,
    owners: &[LoadBalancerId],
) -> Result<Vec<AmphoraRow>, StoreError> {
    if owners.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = Builder::new(select!("WHERE a.load_balancer_id IN ("));
    push_ids(&mut query, owners);
    query.push(" ORDER BY a.load_balancer_id, a.slot");
    let rows = query.build().fetch_all(connection).await?;
    rows.iter().map(amphora).collect()
}

/// Makes the slots of a load balancer exist, and no others.
pub(crate) async fn ensure(
    connection: &mut Connection,
    owner: &LoadBalancer,
) -> Result<Slots, StoreError> {
    let owner_id = owner.id.to_string();
    let rows = query(SELECT_SLOTS)
        .bind(&owner_id)
        .fetch_all(&mut *connection)
        .await?;
    let mut slots = Slots::default();
    let count = amphora_slots(owner.topology);
    for row in &rows {
        let read = Reader::new(AMPHORAE, row);
        let (slot, id): (u8, AmphoraId) = (read.int("slot")?, read.parse("id")?);
        if slot < count {
            slots.0.push((slot, id));
            continue;
        }
        query(DELETE_PORTS)
            .bind(id.to_string())
            .execute(&mut *connection)
            .await?;
        query(DELETE_SLOT)
            .bind(&owner_id)
            .bind(i64::from(slot))
            .execute(&mut *connection)
            .await?;
    }
    fill(connection, owner, slots).await
}

/// The slots of a load balancer that is new.
pub(crate) async fn first(
    connection: &mut Connection,
    owner: &LoadBalancer,
) -> Result<Slots, StoreError> {
    fill(connection, owner, Slots::default()).await
}

/// Makes those that are missing.
async fn fill(
    connection: &mut Connection,
    owner: &LoadBalancer,
    mut slots: Slots,
) -> Result<Slots, StoreError> {
    let mut rows = Vec::new();
    for slot in 0..amphora_slots(owner.topology) {
        if slots.id_of(slot).is_some() {
            continue;
        }
        let id = AmphoraId(Uuid::new_v4());
        let row = NewRow::new(AMPHORAE, id.0)
            .text("load_balancer_id", owner.id)
            .int("slot", slot)
            .text("host", "")
            .text("role", first_role(owner.topology, slot))
            .text("status", AmphoraStatus::PendingCreate)
            .int("created_at", now().0);
        rows.push(row);
        slots.0.push((slot, id));
    }
    NewRow::upsert_all(rows, connection).await?;
    Ok(slots)
}

/// The role until an agent says who is active.
const fn first_role(topology: Topology, slot: u8) -> AmphoraRole {
    match (topology, slot) {
        (Topology::Single, _) => AmphoraRole::Standalone,
        (Topology::ActiveStandby, 0) => AmphoraRole::Master,
        (Topology::ActiveStandby, _) => AmphoraRole::Backup,
    }
}

pub(crate) fn amphora(row: &Row) -> Result<AmphoraRow, StoreError> {
    let read = Reader::new(AMPHORAE, row);
    let vrrp = (read.opt_parse("vrrp_ip")?, read.opt_parse("vrrp_port_id")?);
    with_vrrp(&read, vrrp)
}

/// One that was read together with its load balancer's ports.
pub(crate) fn beside(
    read: &Reader<'_>,
    tree: &Tree,
    ports: &[Port],
) -> Result<AmphoraRow, StoreError> {
    let id: AmphoraId = read.parse("id")?;
    let primary = tree.load_balancer.vip.subnet_id;
    let mut ports = ports.iter();
    let port = ports.find(|port| port.amphora_id == Some(id) && port.subnet_id == primary);
    with_vrrp(read, port.map(|port| (port.address, port.id)).unzip())
}

fn with_vrrp(
    read: &Reader<'_>,
    (vrrp_ip, vrrp_port_id): (Option<IpAddr>, Option<PortId>),
) -> Result<AmphoraRow, StoreError> {
    let id = read.parse("id")?;
    Ok(AmphoraRow {
        slot: read.int("slot")?,
        amphora: Amphora {
            id,
            shown_id: read.opt_parse("shown_id")?.unwrap_or(id),
            load_balancer_id: read.parse("load_balancer_id")?,
            host: read.text("host")?,
            role: read.parse("role")?,
            status: read.parse("status")?,
            vrrp_ip,
            vrrp_port_id,
            created_at: read.time("created_at")?,
            updated_at: read.opt_time("updated_at")?,
        },
    })
}
