//! The API against the contract, in process, on a real store.

#[cfg(test)]
mod access;
#[cfg(test)]
mod addresses;
#[cfg(test)]
mod amphorae;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod batch;
#[cfg(test)]
mod beyond;
#[cfg(test)]
mod burst;
#[cfg(test)]
mod every_route;
#[cfg(test)]
mod flavors;
#[cfg(test)]
mod front_door;
#[cfg(test)]
mod front_settings;
#[cfg(test)]
mod keystone;
#[cfg(test)]
mod l7;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod load_balancer;
#[cfg(test)]
mod networks;
#[cfg(test)]
mod old_door;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod vips;
