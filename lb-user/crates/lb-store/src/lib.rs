//! Where everything that must survive a restart is kept: load balancers, addresses, amphorae,
//! secrets, and what was last observed of them.
//!
//! What: [`Store`] hands out whole trees ([`lb_model::tree::Tree`]), applies pure changes to them in
//! one transaction ([`Store::change_tree`]), keeps addresses and amphorae in step with them, answers
//! lists ([`Store::list`]), and wakes whoever converges on what was written ([`Store::changes`]).
//!
//! Invariants: what was acknowledged survives a power cut; a refused change leaves nothing behind; an
//! address has one owner in its network; one process at a time on a state directory; SQL takes values
//! as bound parameters only, its texts are constants of this crate.
//!
//! Left out on purpose: the rules of the resources (lb-model), what becomes of a change (lb-control).

mod amphora;
mod availability_zone;
pub mod backup;
mod boxed;
mod capability;
mod carried;
mod changes;
mod db;
mod decode;
mod encode;
mod epoch;
pub mod error;
pub mod event;
mod flavor;
mod host;
mod ipam;
mod lease;
pub mod list;
mod lock;
pub mod network;
mod notify;
pub mod observed;
mod orphan;
mod owner;
pub mod ports;
mod quota;

mod save;
pub mod secret;
mod settings;
mod sql;
mod store;
mod summary;
mod tree;
mod user_port;
pub mod vip;
mod whole;

pub use amphora::{AmphoraRow, AmphoraUpdate};
pub use boxed::Boxed;
pub use carried::Carried;
pub use changes::{Changed, Hints};
pub use db::{DatabaseSettings, DatabaseUrl, UrlError};
pub use error::{NetworkError, SecretError, StoreError};
pub use event::{Event, EventKind, EventPage, NewEvent};
pub use host::Host;
pub use list::{
    Direction, ListError, ListQuery, Page, Resource, Rows, ShownLoadBalancer, ShownPage, TagFilter,
    Views,
};
pub use lock::StateLock;
pub use network::{
    AllocationPool, CatalogError, Near, Network, NetworkCatalog, NetworkDriver, NoopNetworks,
    Place, Subnet, Which,
};
pub use observed::Stats;
pub use orphan::{Orphan, OrphanFacts, OrphanRegistry};
pub use ports::{NeededPort, Port, PortPurpose, amphora_slots, near, needed_ports};
pub use quota::OwnLimits;
pub use secret::{KeyManager, KeySource};
pub use store::{Store, now};
pub use tree::Head;
pub use user_port::{NewPort, USER_PORTS_MAX, UserPort};
pub use vip::Vips;

#[cfg(test)]
mod tests;
