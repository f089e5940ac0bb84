//! What hosts can do.

use lb_model::capability::{Capability, CapabilitySet};

use super::*;

fn set(capabilities: &[Capability]) -> CapabilitySet {
    capabilities.iter().copied().collect()
}

#[tokio::test]
async fn what_every_host_declares_is_what_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let known = store.capabilities().await.unwrap();
    assert_eq!(known, CapabilitySet::data_path(), "no host is known yet");

    let all = CapabilitySet::all();
    store.declare_capabilities("host-a", &all).await.unwrap();
    assert_eq!(store.capabilities().await.unwrap(), all);

    let less = set(&[Capability::Hsts, Capability::PoolUdp]);
    store.declare_capabilities("host-b", &less).await.unwrap();
    assert_eq!(store.capabilities().await.unwrap(), less);

    let other = set(&[Capability::PoolUdp, Capability::PoolSctp]);
    store.declare_capabilities("host-a", &other).await.unwrap();
    let both = set(&[Capability::PoolUdp]);
    assert_eq!(store.capabilities().await.unwrap(), both);
}
