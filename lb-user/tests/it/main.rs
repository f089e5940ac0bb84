//! The program as a whole, with real neighbours and no kernel: `lbaas all-in-one --simulate`.

#[cfg(test)]
mod barbican;
#[cfg(test)]
mod keystone;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod server;
