//! What becomes of a request, and why: for people.
//!
//! Invariant: it cannot lie. The verdict is the strict gate's and the compiled engine's, the very
//! ones that serve; a rule on its own is judged by an engine that holds this rule alone.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use lb_model::{
    enums::{L7PolicyAction, L7RuleType},
    id::PoolId,
    resource::{L7Policy, L7Rule},
    spec::{ListenerSpec, LoadBalancerSpec},
};

use crate::{
    config::Action,
    gate,
    l7::{self, RequestFields, Scratch},
};

/// A request that was not sent.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// In the order they would be sent, `Host` among them.
    pub headers: Vec<(String, String)>,
}

/// What becomes of it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// In one sentence.
    pub verdict: String,
    /// Members of which pool get it, if any do.
    pub pool: Option<PoolId>,
    /// Every policy in force, in position order.
    pub policies: Vec<PolicyExplained>,
}

/// One policy.
#[derive(Clone, Debug)]
pub struct PolicyExplained {
    /// Name, or id.
    pub name: String,
    /// Among those in force, from 1.
    pub position: usize,
    /// What it would do.
    pub action: String,
    /// What it means for this request.
    pub verdict: PolicyVerdict,
    /// Its rules.
    pub rules: Vec<RuleExplained>,
}

/// What a policy means for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyVerdict {
    /// It decides.
    Decides,
    /// All its rules hold, and another came first.
    TooLate,
    /// A rule does not hold.
    No,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleExplained {
    /// As it was given.
    pub text: String,
    /// Whether it holds, negation included.
    pub holds: bool,
    /// What the request has where it looks.
    pub seen: Vec<String>,
}

/// Judges a request to a listener.
///
/// # Errors
///
/// What of the request or the listener makes no sense.
pub fn explain(
    load_balancer: &LoadBalancerSpec,
    listener: &ListenerSpec,
    asked: &Asked,
) -> Result<Explained, String> {
    let mut head = format!("{} {} HTTP/1.1\r\n", asked.method, asked.target);
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if let Err(refusal) = gate::head::inspect(head.as_bytes()) {
        return Ok(Explained {
            verdict: format!(
                "{} before any policy: the head has no single meaning",
                refusal.status()
            ),
            pool: None,
            policies: Vec::new(),
        });
    }
    for (name, value) in &asked.headers {
        let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
        headers.append(name, value);
    }
    let uri = Uri::try_from(&asked.target).map_err(|error| error.to_string())?;
    let fields = RequestFields {
        path: uri.path(),
        headers: &headers,
        session: None,
    };
    let known = |id: PoolId| load_balancer.pools.iter().any(|pool| pool.id == id);
    let mut ranked: Vec<(usize, &L7Policy, Action)> = Vec::new();
    for (index, policy) in listener.l7policies.iter().enumerate() {
        ranked.extend(Action::of(policy, known).map(|action| (index, policy, action)));
    }
    ranked.sort_by_key(|(_, _, action)| action.class());
    let policies: Vec<&L7Policy> = ranked.iter().map(|(_, policy, _)| *policy).collect();
    let engine = l7::compile(&policies).map_err(|error| error.to_string())?;
    let decided = engine.decide(fields, &mut Scratch::default());
    let decided = decided.and_then(|at| ranked.get(at));
    let judged = listener.l7policies.iter().enumerate();
    let judged = judged.map(|(index, policy)| {
        let decides = decided.is_some_and(|(deciding, _, _)| *deciding == index);
        explain_policy(index, policy, decides, fields)
    });
    let policies = judged.collect::<Result<Vec<_>, String>>()?;
    let (verdict, pool) = match decided {
        Some((index, policy, action)) => {
            let by = policies.get(*index).map_or("", |it| it.name.as_str());
            let pool = match action {
                Action::Pool(id) => Some(*id),
                _ => None,
            };
            (
                format!("policy {by} decides: {}", outcome(policy, &uri)),
                pool,
            )
        }
        None => match listener.default_pool_id {
            Some(id) if known(id) => ("no policy matches: the default pool".to_owned(), Some(id)),
            _ => {
                let nobody = "503: no policy matches, and there is no default pool";
                (nobody.to_owned(), None)
            }
        },
    };
    Ok(Explained {
        verdict,
        pool,
        policies,
    })
}

fn outcome(policy: &L7Policy, uri: &Uri) -> String {
    let code = policy.redirect_http_code.unwrap_or(302);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match policy.action {
        L7PolicyAction::Reject => "403".to_owned(),
        L7PolicyAction::RedirectToUrl => format!("{code} to {}", text(&policy.redirect_url)),
        L7PolicyAction::RedirectPrefix => {
            format!("{code} to {}{uri}", text(&policy.redirect_prefix))
        }
        L7PolicyAction::RedirectToPool => "to its pool".to_owned(),
    }
}

fn explain_policy(
    index: usize,
    policy: &L7Policy,
    decides: bool,
    fields: RequestFields<'_>,
) -> Result<PolicyExplained, String> {
    let rules = policy
        .rules
        .iter()
        .map(|rule| explain_rule(policy, rule, fields));
    let rules = rules.collect::<Result<Vec<_>, String>>()?;
    let verdict = if decides {
        PolicyVerdict::Decides
    } else if rules.iter().all(|rule| rule.holds) {
        PolicyVerdict::TooLate
    } else {
        PolicyVerdict::No
    };
    Ok(PolicyExplained {
        name: if policy.common.name.is_empty() {
            policy.id.to_string()
        } else {
            policy.common.name.clone()
        },
        position: index + 1,
        action: policy.action.to_string(),
        verdict,
        rules,
    })
}

fn explain_rule(
    policy: &L7Policy,
    rule: &L7Rule,
    fields: RequestFields<'_>,
) -> Result<RuleExplained, String> {
    let alone = L7Policy {
        rules: vec![rule.clone()],
        ..policy.clone()
    };
    let engine = l7::compile(&[&alone]).map_err(|error| error.to_string())?;
    let holds = engine.decide(fields, &mut Scratch::default()).is_some();
    let not = if rule.invert { "not " } else { "" };
    let key = rule.key.as_ref().filter(|_| {
        !matches!(
            rule.kind,
            L7RuleType::HostName | L7RuleType::Path | L7RuleType::FileType
        )
    });
    let key = key.map(|key| format!(" {key}")).unwrap_or_default();
    Ok(RuleExplained {
        text: format!(
            "{not}{}{key} {} {}",
            rule.kind, rule.compare_type, rule.value
        ),
        holds,
        seen: l7::seen(rule, fields).map_err(|error| error.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One policy: `/a` is rejected unless a header says otherwise.
    fn world() -> LoadBalancerSpec {
        let json = include_str!("../tests/explain.json");
        serde_json::from_str(json).unwrap()
    }

    fn judge(target: &str, headers: &[(&str, &str)]) -> Explained {
        let world = world();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let asked = Asked {
            method: "GET".to_owned(),
            target: target.to_owned(),
            headers: headers.iter().map(owned).collect(),
        };
        explain(&world, &world.listeners[0], &asked).unwrap()
    }

    #[test]
    fn a_request_is_told_who_decides_and_why_the_others_do_not() {
        let told = judge("/a", &[("Host", "x"), ("Team", "dev")]);
        assert!(told.verdict.ends_with("decides: 403"), "{}", told.verdict);
        assert_eq!(told.policies[0].verdict, PolicyVerdict::TooLate);
        assert_eq!(told.policies[1].verdict, PolicyVerdict::Decides);
        assert_eq!(told.policies[1].rules[1].seen, ["dev"]);

        let told = judge("/a", &[("Host", "x"), ("Team", "ops")]);
        assert_eq!(told.policies[0].verdict, PolicyVerdict::Decides);
        assert_eq!(told.policies[1].verdict, PolicyVerdict::No);
        let holds: Vec<bool> = told.policies[1].rules.iter().map(|it| it.holds).collect();
        assert_eq!(holds, [true, false]);
        assert!(told.pool.is_some());

        let told = judge("/b", &[("Host", "x")]);
        assert_eq!(told.verdict, "no policy matches: the default pool");
        let told = judge("/a", &[]);
        assert!(told.verdict.starts_with("400"), "{}", told.verdict);
    }
}
