//! The engine against the contract's table and against the naive interpreter.

use http::{HeaderMap, HeaderName, HeaderValue};
use lb_model::{
    enums::{L7PolicyAction, L7RuleCompareType, L7RuleType, OperatingStatus, ProvisioningStatus},
    id::{L7PolicyId, L7RuleId},
    resource::{Common, L7Policy, L7Rule},
    time::Timestamp,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::{RequestFields, Scratch, compile, naive};

fn common() -> Common {
    Common {
        name: String::new(),
        description: String::new(),
        admin_state_up: true,
        provisioning_status: ProvisioningStatus::Active,
        operating_status: OperatingStatus::Online,
        created_at: Timestamp(0),
        updated_at: None,
        tags: Vec::new(),
    }
}

fn rule(
    kind: L7RuleType,
    compare_type: L7RuleCompareType,
    key: Option<&str>,
    value: &str,
    invert: bool,
) -> L7Rule {
    L7Rule {
        id: L7RuleId(Uuid::nil()),
        common: common(),
        kind,
        compare_type,
        key: key.map(str::to_owned),
        value: value.to_owned(),
        invert,
    }
}

fn policy(rules: Vec<L7Rule>) -> L7Policy {
    L7Policy {
        id: L7PolicyId(Uuid::nil()),
        common: common(),
        action: L7PolicyAction::Reject,
        redirect_pool_id: None,
        redirect_url: None,
        redirect_prefix: None,
        redirect_http_code: None,
        rules,
    }
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            )
        })
        .collect()
}

fn matches(rule: L7Rule, path: &str, lines: &[(&str, &str)]) -> bool {
    let policy = policy(vec![rule]);
    let engine = compile(&[&policy]).expect("compiles");
    let headers = headers(lines);
    let request = RequestFields {
        path,
        headers: &headers,
        session: None,
    };
    engine.decide(request, &mut Scratch::default()).is_some()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_type_matches_as_the_contract_says() {
    use L7RuleCompareType::{Contains, EndsWith, EqualTo, Regex, StartsWith};
    use L7RuleType::{Cookie, FileType, Header, HostName, Path};
    let host = [("host", "WWW.Example.org:8080")];
    let agent = [
        ("user-agent", "Moz/5 (KHTML, like Gecko)"),
        ("x-a", "one"),
        ("X-A", "two, Three"),
    ];
    let cookie = [("cookie", "a=1; Session=AbC"), ("cookie", "b=\"q\"")];
    for (kind, compare, key, value, path, lines, wanted) in [
        (
            HostName,
            EqualTo,
            None,
            "www.example.org",
            "/",
            &host[..],
            false,
        ),
        (
            HostName,
            EqualTo,
            None,
            "www.example.ORG:8080",
            "/",
            &host,
            true,
        ),
        (HostName, StartsWith, None, "wWw.", "/", &host, true),
        (HostName, EndsWith, None, ":8080", "/", &host, true),
        (HostName, Regex, None, r"^www\.EXAMPLE\.", "/", &host, true),
        (HostName, Contains, None, "example", "/", &[], false),
        (Path, StartsWith, None, "/api", "/api/x", &[], true),
        (Path, StartsWith, None, "/api", "/API/x", &[], false),
        (Path, EqualTo, None, "/a%20b", "/a%20b", &[], true),
        (Path, EqualTo, None, "\"/a b\"", "/a b", &[], true),
        (Path, Regex, None, r"\.(jpg|png)$", "/x.png", &[], true),
        (Path, Contains, None, "mid", "/a/mid/b", &[], true),
        (FileType, EqualTo, None, "jpg", "/xjpg", &[], true),
        (FileType, EqualTo, None, "jpg", "/x.JPG", &[], false),
        (FileType, Regex, None, "^/x", "/x.jpg", &[], true),
        (Header, EqualTo, Some("X-a"), "Three", "/", &agent, true),
        (Header, EqualTo, Some("x-A"), "three", "/", &agent, false),
        (
            Header,
            EqualTo,
            Some("X-A"),
            "two, Three",
            "/",
            &agent,
            false,
        ),
        (
            Header,
            StartsWith,
            Some("User-Agent"),
            "like",
            "/",
            &agent,
            true,
        ),
        (
            Header,
            EndsWith,
            Some("User-Agent"),
            "(KHTML",
            "/",
            &agent,
            true,
        ),
        (Cookie, EqualTo, Some("Session"), "AbC", "/", &cookie, true),
        (Cookie, EqualTo, Some("session"), "AbC", "/", &cookie, false),
        (
            Cookie,
            StartsWith,
            Some("Session"),
            "ab",
            "/",
            &cookie,
            false,
        ),
        (Cookie, Contains, Some("b"), "q", "/", &cookie, true),
    ] {
        for invert in [false, true] {
            let rule = rule(kind, compare, key, value, invert);
            assert_eq!(
                matches(rule, path, lines),
                wanted != invert,
                "{kind} {compare} {key:?} {value} on {path} {lines:?} invert {invert}"
            );
        }
    }
}

#[test]
fn the_first_in_order_wins_and_policies_without_rules_never_match() {
    let starts = |value: &str| {
        policy(vec![rule(
            L7RuleType::Path,
            L7RuleCompareType::StartsWith,
            None,
            value,
            false,
        )])
    };
    let policies = [
        policy(Vec::new()),
        starts("/other"),
        starts("/a/b"),
        starts("/a"),
    ];
    let engine = compile(&policies.iter().collect::<Vec<_>>()).expect("compiles");
    let headers = HeaderMap::new();
    let mut scratch = Scratch::default();
    let mut decide = |path| {
        let request = RequestFields {
            path,
            headers: &headers,
            session: None,
        };
        engine.decide(request, &mut scratch)
    };
    assert_eq!(decide("/a/b/c"), Some(2));
    assert_eq!(decide("/a/c"), Some(3));
    assert_eq!(decide("/"), None);
}

#[test]
fn what_cannot_be_compiled_is_told() {
    for bad in [
        rule(
            L7RuleType::Path,
            L7RuleCompareType::Regex,
            None,
            "(?=x)",
            false,
        ),
        rule(
            L7RuleType::Header,
            L7RuleCompareType::EqualTo,
            Some("a b"),
            "x",
            false,
        ),
    ] {
        let policy = policy(vec![bad]);
        assert!(compile(&[&policy]).is_err(), "{policy:?}");
    }
}

const WORDS: [&str; 10] = ["a", "b", "ab", "ba", "aa", "/a", "/ab", "/a/b", "A", "a.b"];

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(&WORDS[..]).prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(word(), 0..4).prop_map(|words| words.concat())
}

fn any_rule() -> impl Strategy<Value = L7Rule> {
    let kind = prop::sample::select(&[
        (L7RuleType::HostName, None),
        (L7RuleType::Path, None),
        (L7RuleType::Header, Some("x-one")),
        (L7RuleType::Header, Some("X-TWO")),
        (L7RuleType::Cookie, Some("c")),
        (L7RuleType::Cookie, Some("C")),
        (L7RuleType::FileType, None),
    ]);
    let compare = prop::sample::select(L7RuleCompareType::ALL);
    (
        kind,
        compare,
        word(),
        any::<bool>(),
        prop::bool::weighted(0.9),
    )
        .prop_map(|((kind, key), compare, value, invert, enabled)| {
            let file_type_has = matches!(
                compare,
                L7RuleCompareType::Regex | L7RuleCompareType::EqualTo
            );
            let compare = if kind == L7RuleType::FileType && !file_type_has {
                L7RuleCompareType::EqualTo
            } else {
                compare
            };
            let mut rule = rule(kind, compare, key, &value, invert);
            rule.common.admin_state_up = enabled;
            rule
        })
}

fn any_headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let name = prop::sample::select(&["host", "x-one", "x-two", "cookie"]);
    let list = prop::collection::vec(text(), 1..4);
    prop::collection::vec((name, list), 0..5).prop_map(|lines| {
        lines
            .into_iter()
            .map(|(name, values)| {
                let line = if name == "cookie" {
                    let pairs: Vec<_> = values
                        .iter()
                        .zip(["c=", "C=", "c="])
                        .map(|(value, key)| format!("{key}{value}"))
                        .collect();
                    pairs.join("; ")
                } else {
                    values.join(", ")
                };
                (name, line)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_engine_equals_the_naive_interpreter(
        rules in prop::collection::vec(prop::collection::vec(any_rule(), 0..4), 0..12),
        path in text(),
        lines in any_headers(),
    ) {
        let policies: Vec<_> = rules.into_iter().map(policy).collect();
        let policies: Vec<_> = policies.iter().collect();
        let engine = compile(&policies).expect("compiles");
        let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let headers = headers(&lines);
        let request = RequestFields { path: &path, headers: &headers, session: None };
        prop_assert_eq!(engine.decide(request, &mut Scratch::default()), naive::decide(&policies, request));
    }
}
