//! The schema's steps as texts: a server of the version before runs beside this one, on the schema
//! that this one has brought up to date. So steps expand only; what nobody uses any more is taken
//! away a release later, and listed here with its reason.

use std::collections::{BTreeMap, BTreeSet};

/// What would be in an older server's way, but is not: version, words of the statement, why.
const ALLOWED: &[(i64, &str, &str)] = &[
    (
        5,
        "DROP TABLE PORTS",
        "it is there again, with the columns it had, two statements on",
    ),
    (
        5,
        "ALTER TABLE PORTS_NEW RENAME TO PORTS",
        "an older server reads it by the same names",
    ),
];

/// Statements of a text, in upper case, without comments, each with single spaces.
fn statements(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split("--").next().unwrap());
    let text = lines.collect::<Vec<_>>().join(" ").to_uppercase();
    let all = text.split(';').map(|statement| {
        let words: Vec<&str> = statement.split_whitespace().collect();
        words.join(" ")
    });
    all.filter(|statement| !statement.is_empty()).collect()
}

/// What an older server would stumble over, given the tables that it knows.
fn obstacle(statement: &str, known: &BTreeSet<String>) -> Option<&'static str> {
    let words: Vec<&str> = statement.split(' ').collect();
    let table = |place: usize| words.get(place).is_some_and(|name| known.contains(*name));
    if statement.starts_with("DROP ") || statement.contains(" DROP ") {
        return Some("takes something away");
    }
    if statement.contains(" RENAME ") {
        return Some("renames");
    }
    if statement.starts_with("ALTER TABLE ") {
        if statement.contains(" ALTER COLUMN ") {
            return Some("changes a column");
        }
        if statement.contains(" ADD CONSTRAINT ") || statement.contains(" UNIQUE") {
            return Some("constrains what an older server writes");
        }
        if statement.contains(" NOT NULL") && !statement.contains(" DEFAULT ") && table(2) {
            return Some("adds a column that an older server leaves empty");
        }
    }
    let unique = statement.starts_with("CREATE UNIQUE INDEX ");
    if unique && words.iter().any(|word| known.contains(*word)) {
        return Some("constrains what an older server writes");
    }
    let writes = ["UPDATE ", "DELETE "];
    if writes.iter().any(|word| statement.starts_with(word))
        && table(usize::from(words[0] != "UPDATE") + 1)
    {
        return Some("rewrites rows while an older server works on them");
    }
    None
}

#[test]
fn every_step_leaves_what_an_older_server_uses() {
    let mut known = BTreeSet::new();
    let mut versions = BTreeMap::new();
    let mut used = BTreeSet::new();
    for step in sqlx::migrate!("./migrations").iter() {
        let twice = versions.insert(step.version, step.description.clone());
        assert_eq!(twice, None, "two steps have number {}", step.version);
        let statements = statements(step.sql.as_str());
        for statement in &statements {
            let Some(why) = obstacle(statement, &known) else {
                continue;
            };
            let allowed = ALLOWED
                .iter()
                .position(|(version, text, _)| *version == step.version && text == statement);
            assert!(
                allowed.is_some(),
                "step {}: {statement}: {why}",
                step.version
            );
            used.extend(allowed);
        }
        let made = statements
            .iter()
            .filter_map(|one| one.strip_prefix("CREATE TABLE "));
        known.extend(
            made.filter_map(|rest| rest.split(' ').next())
                .map(str::to_owned),
        );
    }
    assert_eq!(
        used.len(),
        ALLOWED.len(),
        "something is allowed that is not there"
    );
    assert!(known.len() > 20, "{known:?}");
}

#[test]
fn what_would_be_in_the_way_is_noticed() {
    let known = BTreeSet::from(["MEMBERS".to_owned()]);
    for text in [
        "DROP TABLE members;",
        "ALTER TABLE members DROP COLUMN weight",
        "alter table members rename column weight to share",
        "ALTER TABLE members ADD COLUMN a TEXT NOT NULL -- DEFAULT ''",
        "ALTER TABLE members ALTER COLUMN weight SET NOT NULL",
        "CREATE UNIQUE INDEX a ON members (address)",
        "UPDATE members SET weight = 1",
        "DELETE FROM members",
    ] {
        let found = statements(text);
        assert!(obstacle(&found[0], &known).is_some(), "{found:?}");
    }
    for text in [
        "ALTER TABLE members ADD COLUMN a TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE members ADD COLUMN a TEXT",
        "CREATE TABLE more (id TEXT NOT NULL PRIMARY KEY)",
        "CREATE INDEX members_more ON members (address)",
    ] {
        let found = statements(text);
        assert_eq!(obstacle(&found[0], &known), None, "{found:?}");
    }
}
