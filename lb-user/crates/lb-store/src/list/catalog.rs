//! Lists of what belongs to no load balancer: quotas, flavors, availability zones and their profiles.
//! Filtered, sorted and paged as everything else, and complete as they are read.

use lb_model::{
    availability_zone::{AvailabilityZone, AvailabilityZoneProfile},
    flavor::{Flavor, FlavorProfile},
};

use super::{ListError, ListQuery, query};
use crate::{
    availability_zone, error::StoreError, flavor, quota, quota::OwnLimits, sql::Reader,
    store::Store,
};

/// A page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<T> {
    /// In order, each by what a marker names it.
    pub items: Vec<(String, T)>,
    /// Whether there is more in the direction of reading.
    pub more: bool,
}

macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident = $read:path => $item:ty),+ $(,)?) => {
        impl Store {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// What is wrong with the request, or the database's.
            pub async fn $name(&self, query: &ListQuery) -> Result<Rows<$item>, ListError> {
                self.list_rows(query, $read).await
            }
        )+}
    };
}

lists!(
    /// A page of projects with limits of their own.
    list_quotas = quota_row => (String, OwnLimits),
    /// A page of flavors.
    list_flavors = flavor::flavor => Flavor,
    /// A page of flavor profiles.
    list_flavor_profiles = flavor::profile => FlavorProfile,
    /// A page of availability zones.
    list_availability_zones = availability_zone::zone => AvailabilityZone,
    /// A page of availability zone profiles.
    list_availability_zone_profiles = availability_zone::profile => AvailabilityZoneProfile,
);

fn quota_row(read: &Reader<'_>) -> Result<(String, OwnLimits), StoreError> {
    Ok((read.text("project_id")?, quota::own(read)?))
}

impl Store {
    async fn list_rows<T>(
        &self,
        query: &ListQuery,
        read: fn(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<Rows<T>, ListError> {
        let (rows, more) = query::run(&self.inner.database.read, query).await?;
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            let reader = Reader::new("list", row);
            items.push((reader.text(query.resource.key())?, read(&reader)?));
        }
        Ok(Rows { items, more })
    }
}
