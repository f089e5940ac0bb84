//! Clients of the OpenStack services the server asks: Identity (Keystone) and Key Manager (Barbican).
