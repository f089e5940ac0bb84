//! Request bodies, from JSON to typed values: everything that can be decided about a body alone.
//!
//! A body is read through [`reader::Reader`], which knows the contract's rules for types (section
//! 2, common conventions): unknown keys are refused by name, numeric strings are integers but
//! numbers are not strings, booleans are loose, enumerations are not, and "absent", "null" and "a
//! value" are three different things ([`Given`]).
//!
//! Rules that need the load balancer around the object are the tree's.

pub mod given;
pub mod health_monitor;
pub mod l7policy;
pub mod l7rule;
pub mod listener;
pub mod load_balancer;
pub mod member;
pub mod outline;
pub mod pool;
pub mod reader;

pub use self::{
    given::Given,
    health_monitor::{HealthMonitorCreate, HealthMonitorUpdate},
    l7policy::{L7PolicyCreate, L7PolicyUpdate},
    l7rule::{L7RuleCreate, L7RuleUpdate},
    listener::{ListenerCreate, ListenerUpdate},
    load_balancer::{LoadBalancerCreate, LoadBalancerUpdate},
    member::{MemberBatch, MemberCreate, MemberUpdate},
    pool::{PoolCreate, PoolUpdate},
};

use crate::{fault::Fault, resource::Common};

/// `name`, `description`, `admin_state_up` and `tags`, which nearly every body has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommonFields {
    /// At most 255 characters.
    pub name: Given<String>,
    /// At most 255 characters.
    pub description: Given<String>,
    /// Null means off.
    pub admin_state_up: Given<bool>,
    /// No duplicates.
    pub tags: Given<Vec<String>>,
}

impl CommonFields {
    /// Every field, for objects that have a description.
    pub(crate) fn read(reader: &mut reader::Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            description: reader.text("description")?,
            ..Self::read_without_description(reader)?
        })
    }

    /// For members and monitors.
    pub(crate) fn read_without_description(reader: &mut reader::Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            name: reader.text("name")?,
            ..Self::read_unnamed(reader)?
        })
    }

    /// For rules.
    pub(crate) fn read_unnamed(reader: &mut reader::Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            admin_state_up: reader.boolean("admin_state_up")?,
            tags: reader.tags()?,
            ..Self::default()
        })
    }

    /// What an update leaves of an object's shared part. Statuses are the tree's.
    pub(crate) fn apply(self, common: &mut Common) {
        self.name.apply(&mut common.name, String::new());
        self.description
            .apply(&mut common.description, String::new());
        self.admin_state_up.apply(&mut common.admin_state_up, false);
        if let Given::Value(tags) = self.tags {
            common.tags = tags;
        }
    }
}
