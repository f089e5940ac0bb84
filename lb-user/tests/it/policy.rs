//! `lbaas policy check`, and starts that a policy file ends.

use std::process::Command;

fn lbaas(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lbaas"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn words<'a>(matrix: &'a str, rule: &str) -> Vec<&'a str> {
    let line = matrix
        .lines()
        .find(|line| line.split_whitespace().next() == Some(rule));
    line.unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .collect()
}

#[test]
fn the_matrix_is_printed_for_a_role_in_a_project() {
    let (code, matrix, _) = lbaas(&["policy", "check", "--role", "member", "--project", "p1"]);
    assert_eq!(code, Some(0));
    let post = "os_load-balancer_api:loadbalancer:post";
    assert_eq!(words(&matrix, post), ["allowed", "denied"]);
    let failover = "os_load-balancer_api:loadbalancer:put_failover";
    assert_eq!(words(&matrix, failover), ["denied", "denied"]);
    let (_, matrix, _) = lbaas(&[
        "policy",
        "check",
        "--role",
        "load-balancer_admin",
        "--project",
        "p1",
        "--set",
        "policy.defaults=advanced-rbac",
    ]);
    assert_eq!(words(&matrix, failover), ["allowed", "allowed"]);
    let (_, lines, _) = lbaas(&[
        "policy",
        "check",
        "--role",
        "reader",
        "--project",
        "p1",
        "--json",
    ]);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["own"], true);
    assert_eq!(first["other"], false);
}

#[test]
fn a_rule_that_nobody_knows_ends_the_start_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    for (text, named) in [
        (
            "os_load-balancer_api:loadbalancer:fly: '@'",
            "os_load-balancer_api:loadbalancer:fly",
        ),
        ("load-balancer:read: 'rule:gone'", "gone"),
        ("load-balancer:read: 'http://decide.example/'", "http"),
    ] {
        std::fs::write(&path, text).unwrap();
        let file = format!("policy.file={}", path.display());
        let state = format!("state_dir={}", dir.path().join("state").display());
        let run = format!("run_dir={}", dir.path().join("run").display());
        for command in [
            ["policy", "check"].as_slice(),
            &["all-in-one", "--simulate"],
        ] {
            let settings = [
                "--set",
                &file,
                "--set",
                &state,
                "--set",
                &run,
                "--set",
                "api.listen=127.0.0.1:0",
            ];
            let (code, _, errors) = lbaas(&[command, &settings].concat());
            assert_eq!(code, Some(64), "{text}: {errors}");
            assert!(errors.contains(named), "{text}: {errors}");
        }
    }
}
