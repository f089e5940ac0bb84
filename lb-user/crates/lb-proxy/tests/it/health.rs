//! Monitored members.

use lb_model::{enums::HealthMonitorType, id::HealthMonitorId, resource::HealthMonitor};
use uuid::Uuid;

use crate::{
    member::{Behaviour, Member},
    rig::{Rig, common},
};

fn monitor() -> HealthMonitor {
    HealthMonitor {
        id: HealthMonitorId(Uuid::from_u128(1)),
        common: common(),
        kind: HealthMonitorType::Http,
        delay: 1,
        timeout: 1,
        max_retries: 1,
        max_retries_down: 1,
        http_method: Some("GET".to_owned()),
        url_path: Some("/health".to_owned()),
        expected_codes: Some("200".to_owned()),
        http_version: Some("1.1".to_owned()),
        domain_name: Some("health.test".to_owned()),
    }
}

#[tokio::test]
async fn a_member_that_fails_its_checks_gets_nothing_until_it_is_back() -> anyhow::Result<()> {
    let good = Member::named("good").await?;
    let bad = Member::start(Behaviour::Raw(
        "HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ))
    .await?;
    let mut rig = Rig::serving(&[good.address, bad.address]).await?;
    rig.spec.pools[0].health_monitor = Some(monitor());
    rig.apply().await?;
    let up = |status: &crate::rig::Status| -> Vec<Option<bool>> {
        status.members.iter().map(|member| member.up).collect()
    };
    rig.status(|status| up(status) == [Some(true), Some(false)])
        .await?;
    let mut client = rig.client().await?;
    for _ in 0..4 {
        assert_eq!(client.get("/").await?.body, "good");
    }
    let probe = bad.requests().join("");
    assert!(
        probe.starts_with("GET /health HTTP/1.1\r\nhost: health.test\r\nconnection: close\r\n\r\n"),
        "{probe}"
    );
    bad.behave(Behaviour::Says("better".to_owned()));
    rig.status(|status| up(status) == [Some(true), Some(true)])
        .await?;
    let mut bodies = vec![client.get("/").await?.body, client.get("/").await?.body];
    bodies.sort_unstable();
    assert_eq!(bodies, ["better", "good"]);
    // Without a monitor nobody is reported.
    rig.spec.pools[0].health_monitor = None;
    rig.apply().await?;
    rig.status(|status| status.members.is_empty()).await?;
    rig.shut_down().await
}

#[tokio::test]
async fn a_rebuilt_amphora_starts_with_what_was_known() -> anyhow::Result<()> {
    let member = Member::start(Behaviour::Late(std::time::Duration::from_secs(60))).await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    rig.spec.pools[0].health_monitor = Some(monitor());
    rig.spec.pools[0].members[0].last_known_up = Some(false);
    rig.apply().await?;
    assert_eq!(rig.client().await?.get("/").await?.code, 503);
    Ok(())
}
