//! Hosts that carry load balancers, as their agents last reported themselves.
//!
//! Their addresses are kept so that no member is ever one of them (design invariant 7) and IPAM never
//! gives one out, also while the agent is away.

use std::{collections::BTreeSet, net::IpAddr};

use lb_model::time::Timestamp;

use crate::{
    boxed::Boxed,
    db::{Connection, query},
    error::StoreError,
    sql::{Reader, to_json},
    store::{Store, now},
};

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name, as in its agent's certificate.
    pub name: String,
    /// Its own addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// When its agent last synchronised.
    pub last_seen: Timestamp,
}

impl Store {
    /// Notes that a host's agent was heard of, with the host's own addresses.
    ///
    /// # Errors
    /// The database's.
    pub async fn report_host(
        &self,
        name: &str,
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<(), StoreError> {
        query(UPSERT)
            .bind(name)
            .bind(to_json(addresses)?)
            .bind(now().0)
            .execute(&self.inner.database.write)
            .await?;
        Ok(())
    }

    /// Every host that was ever heard of.
    ///
    /// # Errors
    /// The database's.
    pub async fn hosts(&self) -> Result<Vec<Host>, StoreError> {
        let mut connection = self.inner.database.read.acquire().await?;
        load(&mut connection).await
    }

    /// The hosts' own addresses.
    ///
    /// # Errors
    /// The database's.
    pub fn host_addresses<'f>(&'f self) -> Boxed<'f, Result<BTreeSet<IpAddr>, StoreError>> {
        Box::pin(async move {
            let mut connection = self.inner.database.read.acquire().await?;
            addresses(&mut connection).await
        })
    }
}

const SELECT: &str = "SELECT name, addresses, last_seen FROM hosts ORDER BY name";
const UPSERT: &str = "INSERT INTO hosts (name, addresses, last_seen) VALUES ($1, $2, $3) \
     ON CONFLICT (name) DO UPDATE SET addresses = excluded.addresses, last_seen = excluded.last_seen";

#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[SELECT, UPSERT];

async fn load(connection: &mut Connection) -> Result<Vec<Host>, StoreError> {
    let rows = query(SELECT).fetch_all(connection).await?;
    let hosts = rows.iter().map(|row| {
        let read = Reader::new("hosts", row);
        Ok(Host {
            name: read.text("name")?,
            addresses: read.json("addresses")?,
            last_seen: read.time("last_seen")?,
        })
    });
    hosts.collect()
}

/// The hosts' addresses in one transaction, read when they are first needed.
#[derive(Debug, Default)]
pub(crate) struct HostAddresses(Option<BTreeSet<IpAddr>>);

impl HostAddresses {
    pub(crate) async fn get(
        &mut self,
        connection: &mut Connection,
    ) -> Result<&BTreeSet<IpAddr>, StoreError> {
        let known = match self.0.take() {
            Some(known) => known,
            None => addresses(connection).await?,
        };
        Ok(self.0.insert(known))
    }
}

pub(crate) async fn addresses(connection: &mut Connection) -> Result<BTreeSet<IpAddr>, StoreError> {
    let hosts = load(connection).await?;
    Ok(hosts.into_iter().flat_map(|host| host.addresses).collect())
}
