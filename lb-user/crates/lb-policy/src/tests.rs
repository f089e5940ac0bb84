//! The language and the sets, without oslo.policy at hand; the comparison with it is in `tests/`.

use crate::{Action, Credentials, Policy, PolicyError, PolicySet, matrix};

const OWN: &str = "p1";

fn policy(text: &str) -> Result<Policy, PolicyError> {
    Policy::new(PolicySet::KeystoneDefaultRoles, Some(text))
}

/// Whether `rule` holds for a caller with `roles` in [`OWN`], on an object of `project`.
fn holds(rule: &str, roles: &[&str], project: &str) -> bool {
    let rule = rule.replace('\'', "''");
    let policy = policy(&format!("os_load-balancer_api:pool:get_one: '{rule}'")).unwrap();
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    let caller = Credentials {
        user_id: Some("u1"),
        project_id: Some(OWN),
        roles: &roles,
        ..Credentials::default()
    };
    policy.allows(Action::PoolGetOne, &caller, Some(project))
}

#[test]
fn the_language_means_what_it_says() {
    for (rule, expected) in [
        ("", true),
        ("@", true),
        ("!", false),
        ("not !", true),
        ("not not @", true),
        ("role:a", true),
        ("role:A", true),
        ("role:c", false),
        ("role:a and role:b", true),
        ("role:a and role:c", false),
        ("role:c or role:a and role:b", true),
        ("role:a or role:b and role:c", true),
        ("(role:a or role:b) and role:c", false),
        ("role:c or not (role:a and role:b)", false),
        ("((role:a))", true),
        ("( role:a and ( role:b ) )", true),
        ("role:a AND NOT role:c", true),
        ("project_id:%(project_id)s", true),
        ("project_id:p1", true),
        ("project_id:p2", false),
        ("tenant:%(tenant_id)s", true),
        ("user_id:%(user_id)s", false),
        ("user_id:u1", true),
        ("'p1':%(project_id)s", true),
        ("'p2':%(project_id)s", false),
        ("None:%(project_id)s", false),
        ("17:17", true),
        ("role:%(project_id)s", false),
        ("is_admin:True", false),
        ("is_admin:False", true),
        ("is_admin_project:True", true),
        ("system_scope:all", false),
        ("roles:a", true),
        ("rule:load-balancer:owner", true),
        ("project_id:%%(project_id)s", false),
    ] {
        assert_eq!(holds(rule, &["a", "b"], OWN), expected, "{rule}");
    }
    assert!(!holds("project_id:%(project_id)s", &[], "p2"));
}

#[test]
fn the_older_form_of_lists_is_or_of_and() {
    for (rule, expected) in [
        ("[]", true),
        ("[[]]", false),
        ("[[\"role:a\", \"role:b\"]]", true),
        ("[[\"role:a\", \"role:c\"], \"role:b\"]", true),
        ("[[\"role:a\", \"role:c\"], [\"!\"]]", false),
        ("[\"@\"]", true),
    ] {
        let policy = policy(&format!("os_load-balancer_api:pool:get_one: {rule}")).unwrap();
        let roles = ["a".to_owned(), "b".to_owned()];
        let caller = Credentials {
            roles: &roles,
            ..Credentials::default()
        };
        assert_eq!(
            policy.allows(Action::PoolGetOne, &caller, Some(OWN)),
            expected,
            "{rule}"
        );
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (file, named) in [
        (
            "os_load-balancer_api:pool:fly: '@'",
            "os_load-balancer_api:pool:fly",
        ),
        ("load-balancer:raed: '@'", "load-balancer:raed"),
        ("load-balancer:read: 'rule:nobody'", "nobody"),
        ("load-balancer:read: 'http://decide.example/'", "\"http\""),
        ("load-balancer:read: 'https:x'", "\"https\""),
        ("load-balancer:read: 'colour:blue'", "\"colour\""),
        ("load-balancer:read: 'role:a and'", "load-balancer:read"),
        ("load-balancer:read: 'role:a role:b'", "role:b"),
        ("load-balancer:read: '(role:a'", "parenthesis"),
        ("load-balancer:read: 'role:a)'", "\")\""),
        ("load-balancer:read: 'nothing'", "colon"),
        ("load-balancer:read: 'project_id:%(project_id)'", "after %"),
        ("load-balancer:read: 7", "load-balancer:read"),
        ("load-balancer:read: {a: b}", "load-balancer:read"),
        (
            "load-balancer:read: 'rule:load-balancer:read'",
            "refers to itself",
        ),
        ("{a: 'rule:b', b: 'rule:a'}", "refers to itself"),
        ("- a", "mapping"),
        ("a: b: c", "mapping"),
    ] {
        let error = policy(file).unwrap_err().to_string();
        assert!(error.contains(named), "{file}: {error}");
    }
}

#[test]
fn size_and_depth_have_limits() {
    let deep = format!("{}role:a{}", "(".repeat(100), ")".repeat(100));
    let nots = format!("{}role:a", "not ".repeat(100));
    let long = "role:a or ".repeat(2000) + "role:a";
    for rule in [deep, nots, long] {
        assert!(policy(&format!("load-balancer:read: '{rule}'")).is_err());
    }
    let doubling: String = (0..40)
        .map(|n| format!("r{n}: 'rule:r{0} and rule:r{0}'\n", n + 1))
        .chain(["r40: '@'\nload-balancer:read: 'rule:r0'\n".to_owned()])
        .collect();
    let error = policy(&doubling).unwrap_err();
    assert!(matches!(error, PolicyError::TooLarge { .. }), "{error}");
    assert!(policy(&" ".repeat(300 << 10)).is_err());
}

#[test]
fn an_empty_file_changes_nothing_and_names_of_ones_own_are_fine() {
    assert!(policy("").is_ok());
    assert!(policy("# nothing\n").is_ok());
    assert!(policy("{}").is_ok());
    assert!(policy("mine: 'role:x'\nload-balancer:write: 'rule:mine'\ndefault: '!'").is_ok());
}

/// Who may read own, read other, write own, write other, operate.
fn persona(set: PolicySet, roles: &[&str], system: bool) -> [bool; 5] {
    let policy = Policy::defaults(set);
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    let caller = Credentials {
        project_id: (!system).then_some(OWN),
        system_scope: system.then_some("all"),
        roles: &roles,
        ..Credentials::default()
    };
    let rows = matrix(&policy, &caller);
    let row = |action| *rows.iter().find(|row| row.action == action).unwrap();
    let read = row(Action::LoadBalancerGetOne);
    let write = row(Action::LoadBalancerPost);
    let admin = row(Action::AmphoraGetAll);
    [read.own, read.other, write.own, write.other, admin.own]
}

#[test]
fn the_sets_know_their_personas() {
    use PolicySet::{AdminOrOwner, AdvancedRbac, KeystoneDefaultRoles, KeystoneDefaultRolesScoped};
    let (all, none) = ([true; 5], [false; 5]);
    let own = [true, false, true, false, false];
    let reads = [true, false, false, false, false];
    for (set, roles, expected) in [
        (KeystoneDefaultRoles, "admin", all),
        (KeystoneDefaultRoles, "member", own),
        (KeystoneDefaultRoles, "reader", reads),
        (KeystoneDefaultRoles, "service", none),
        (KeystoneDefaultRoles, "manager", none),
        (KeystoneDefaultRoles, "load-balancer_admin", none),
        (KeystoneDefaultRoles, "load-balancer_member", none),
        (KeystoneDefaultRolesScoped, "admin", none),
        (KeystoneDefaultRolesScoped, "reader", reads),
        (AdvancedRbac, "load-balancer_member", own),
        (AdvancedRbac, "load-balancer_observer", reads),
        (
            AdvancedRbac,
            "load-balancer_global_observer",
            [true, true, false, false, false],
        ),
        (AdvancedRbac, "load-balancer_admin", all),
        (AdvancedRbac, "admin", all),
        (AdvancedRbac, "member", none),
        (AdminOrOwner, "anything", own),
        (AdminOrOwner, "load-balancer_admin", all),
    ] {
        assert_eq!(persona(set, &[roles], false), expected, "{set} {roles}");
    }
    assert_eq!(persona(KeystoneDefaultRolesScoped, &["admin"], true), all);
}
