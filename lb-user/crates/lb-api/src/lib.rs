//! The public REST API: Octavia v2, the read-only subset of the Network API that its clients need
//! to resolve names, and the subset of the Key Manager API that stores certificates.
mod answer;
mod auth;
mod call;
mod change;
mod config;
mod discovery;
mod edge;
mod error;
mod front;
mod handler;
mod key_manager;
mod key_manager_discovery;
mod listing;
mod network;
mod neutron_lbaas;
pub mod openapi;
mod path;
mod placement;
mod routes;
mod secret_facts;
mod serve;
mod state;
mod streams;
mod turn;

pub use auth::{AuthStrategy, PolicyFile, PolicyFileError, Rules, default_rules};
pub use config::{ApiConfig, BODY_BYTES_MAX, PAGE_ITEMS_MAX, SETTLE_WAIT};
pub use front::{FrontDoor, JSON_DEPTH_MAX, JSON_ITEMS_MAX, ListSwitches, MOUNT_PREFIX};
pub use key_manager::BarbicanKeyManager;
pub use routes::router;
pub use serve::{ServeError, serve};
pub use state::ApiState;
