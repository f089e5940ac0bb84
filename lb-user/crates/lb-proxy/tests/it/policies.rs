//! L7 policies as a client sees them.

use lb_model::{enums::L7PolicyAction, id::PoolId};
use uuid::Uuid;

use crate::{
    member::Member,
    rig::{Rig, policy, pool},
};

#[tokio::test]
async fn reject_beats_redirects_beats_pools_whatever_the_position() -> anyhow::Result<()> {
    let (one, two) = (Member::named("one").await?, Member::named("two").await?);
    let mut rig = Rig::serving(&[one.address]).await?;
    rig.spec.pools.push(pool(2, &[two.address]));
    let mut to_pool = policy(L7PolicyAction::RedirectToPool, "/a");
    to_pool.redirect_pool_id = Some(PoolId(Uuid::from_u128(2)));
    let mut to_missing_pool = policy(L7PolicyAction::RedirectToPool, "/a");
    to_missing_pool.redirect_pool_id = Some(PoolId(Uuid::from_u128(9)));
    let mut to_url = policy(L7PolicyAction::RedirectToUrl, "/a/b");
    to_url.redirect_url = Some("https://example.org/x%20y?z".to_owned());
    to_url.redirect_http_code = Some(301);
    let mut to_prefix = policy(L7PolicyAction::RedirectPrefix, "/a/b/c");
    to_prefix.redirect_prefix = Some("https://example.org/p".to_owned());
    let mut to_other_prefix = policy(L7PolicyAction::RedirectPrefix, "/q");
    to_other_prefix.redirect_prefix = Some("https://example.org/p".to_owned());
    to_other_prefix.redirect_http_code = Some(308);
    let mut disabled = policy(L7PolicyAction::Reject, "/");
    disabled.common.admin_state_up = false;
    let reject = policy(L7PolicyAction::Reject, "/a/b/c/d");
    for listener in &mut rig.spec.listeners {
        listener.l7policies = vec![
            disabled.clone(),
            to_missing_pool.clone(),
            to_pool.clone(),
            to_url.clone(),
            to_prefix.clone(),
            to_other_prefix.clone(),
            reject.clone(),
        ];
    }
    rig.apply().await?;
    let mut client = rig.client().await?;

    assert_eq!(client.get("/").await?.body, "one");
    assert_eq!(client.get("/a?x=/a/b").await?.body, "two");
    let answer = client.get("/a/b/c?d").await?;
    assert_eq!((answer.code, answer.body.as_str()), (301, ""));
    assert_eq!(
        answer.header("location"),
        Some("https://example.org/x%20y?z")
    );
    let answer = client.get("/q/r?s=t&u").await?;
    assert_eq!((answer.code, answer.body.as_str()), (308, ""));
    assert_eq!(
        answer.header("location"),
        Some("https://example.org/p/q/r?s=t&u")
    );
    let answer = client.get("/a/b/c/d").await?;
    assert_eq!(answer.code, 403);
    assert!(answer.body.contains("403 Forbidden"), "{}", answer.body);
    // All on one connection: own answers keep it open.
    assert_eq!(client.get("/").await?.body, "one");
    Ok(())
}

#[tokio::test]
async fn a_listener_whose_rules_cannot_be_compiled_is_reported_and_the_rest_is_served()
-> anyhow::Result<()> {
    let member = Member::named("one").await?;
    let mut rig = Rig::serving(&[member.address]).await?;
    let mut broken = rig.spec.listeners.clone();
    for listener in &mut broken {
        listener.id.0 = Uuid::from_u128(2);
        listener.port += 1;
        let mut bad = policy(L7PolicyAction::Reject, "(?=x)");
        for rule in &mut bad.rules {
            rule.compare_type = lb_model::enums::L7RuleCompareType::Regex;
        }
        listener.l7policies = vec![bad];
    }
    rig.spec.listeners.extend(broken);
    let failures = rig.try_apply().await?;
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0].reason.contains("regular expression"),
        "{failures:?}"
    );
    assert_eq!(rig.client().await?.get("/").await?.body, "one");
    Ok(())
}
