//! The language: `and`, `or`, `not` and parentheses over single checks, and the older form of lists.
//!
//! Splitting into words is oslo.policy's to the letter: parentheses belong to a word only in its
//! middle, so `project_id:%(project_id)s` is one word. Precedence is the usual one (`not`, `and`,
//! `or`), which is also what its reductions amount to.

use std::{iter::Peekable, vec::IntoIter};

use crate::{check::Check, credentials, template::Template};

/// Longest rule.
pub(crate) const RULE_BYTES_MAX: usize = 16 << 10;
/// Deepest nesting of parentheses and `not`.
const DEPTH_MAX: usize = 64;

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Syntax(String),
    Kind(String),
}

type Parsed = Result<Check<String>, Wrong>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Open,
    Close,
    And,
    Or,
    Not,
    Check(String),
}

/// A rule as text.
pub(crate) fn text(rule: &str) -> Parsed {
    if rule.len() > RULE_BYTES_MAX {
        return Err(syntax(format!("is longer than {RULE_BYTES_MAX} bytes")));
    }
    if rule.is_empty() {
        return Ok(Check::Always);
    }
    let mut words = words(rule)?.into_iter().peekable();
    let check = any(&mut words, 0)?;
    match words.next() {
        None => Ok(check),
        Some(word) => Err(syntax(format!("{} is not expected", shown(&word)))),
    }
}

/// A rule as a list: one of the items must hold; an item that is a list, with all in it.
pub(crate) fn list(items: &[Vec<String>]) -> Parsed {
    if items.is_empty() {
        return Ok(Check::Always);
    }
    let mut some = Vec::new();
    for item in items.iter().filter(|item| !item.is_empty()) {
        let mut all = item
            .iter()
            .map(|check| single(check))
            .collect::<Result<Vec<_>, _>>()?;
        some.push(match (all.pop(), all.is_empty()) {
            (Some(only), true) => only,
            (last, _) => Check::And(all.into_iter().chain(last).collect()),
        });
    }
    if some.is_empty() {
        return Ok(Check::Never);
    }
    Ok(Check::Or(some))
}

fn syntax(why: impl Into<String>) -> Wrong {
    Wrong::Syntax(why.into())
}

fn shown(word: &Word) -> String {
    match word {
        Word::Open => "\"(\"".to_owned(),
        Word::Close => "\")\"".to_owned(),
        Word::And => "\"and\"".to_owned(),
        Word::Or => "\"or\"".to_owned(),
        Word::Not => "\"not\"".to_owned(),
        Word::Check(text) => format!("\"{text}\""),
    }
}

fn words(rule: &str) -> Result<Vec<Word>, Wrong> {
    let mut words = Vec::new();
    for part in rule.split_whitespace() {
        let inner = part.trim_start_matches('(');
        words.extend((0..part.len() - inner.len()).map(|_| Word::Open));
        let clean = inner.trim_end_matches(')');
        match clean.to_ascii_lowercase().as_str() {
            "" => {}
            "and" => words.push(Word::And),
            "or" => words.push(Word::Or),
            "not" => words.push(Word::Not),
            _ if is_quoted(clean) => {
                return Err(syntax(format!("{clean} is a text, not a check")));
            }
            _ => words.push(Word::Check(clean.to_owned())),
        }
        words.extend((0..inner.len() - clean.len()).map(|_| Word::Close));
    }
    Ok(words)
}

fn is_quoted(text: &str) -> bool {
    text.len() >= 2
        && ['"', '\'']
            .iter()
            .any(|&quote| text.starts_with(quote) && text.ends_with(quote))
}

type Words = Peekable<IntoIter<Word>>;

fn any(words: &mut Words, depth: usize) -> Parsed {
    let first = all(words, depth)?;
    let mut checks = vec![first];
    while words.next_if_eq(&Word::Or).is_some() {
        checks.push(all(words, depth)?);
    }
    Ok(several(checks, Check::Or))
}

fn all(words: &mut Words, depth: usize) -> Parsed {
    let first = one(words, depth)?;
    let mut checks = vec![first];
    while words.next_if_eq(&Word::And).is_some() {
        checks.push(one(words, depth)?);
    }
    Ok(several(checks, Check::And))
}

fn several(
    mut checks: Vec<Check<String>>,
    join: impl Fn(Vec<Check<String>>) -> Check<String>,
) -> Check<String> {
    match (checks.pop(), checks.is_empty()) {
        (Some(only), true) => only,
        (last, _) => join(checks.into_iter().chain(last).collect()),
    }
}

fn one(words: &mut Words, depth: usize) -> Parsed {
    if depth > DEPTH_MAX {
        return Err(syntax(format!("is nested deeper than {DEPTH_MAX}")));
    }
    match words.next() {
        None => Err(syntax("ends where a check is expected")),
        Some(Word::Not) => Ok(Check::Not(Box::new(one(words, depth + 1)?))),
        Some(Word::Open) => {
            let inner = any(words, depth + 1)?;
            if words.next_if_eq(&Word::Close).is_none() {
                return Err(syntax("a parenthesis is not closed"));
            }
            Ok(inner)
        }
        Some(Word::Check(text)) => single(&text),
        Some(word) => Err(syntax(format!(
            "{} stands where a check is expected",
            shown(&word)
        ))),
    }
}

/// One check: `kind:match`.
fn single(text: &str) -> Parsed {
    match text {
        "@" => return Ok(Check::Always),
        "!" => return Ok(Check::Never),
        _ => {}
    }
    let Some((kind, wanted)) = text.split_once(':') else {
        return Err(syntax(format!("\"{text}\" is no check: it has no colon")));
    };
    match kind {
        "rule" => return Ok(Check::Rule(wanted.to_owned())),
        "is_admin" => return Ok(Check::IsAdmin(wanted.eq_ignore_ascii_case("true"))),
        _ => {}
    }
    let template = Template::parse(wanted).map_err(Wrong::Syntax)?;
    if kind == "role" {
        Ok(Check::Role(template))
    } else if let Some(literal) = literal(kind) {
        Ok(Check::Literal(literal, template))
    } else if credentials::is_known(kind) {
        Ok(Check::Credential(kind.to_owned(), template))
    } else {
        Err(Wrong::Kind(kind.to_owned()))
    }
}

/// A Python literal as Python prints it.
fn literal(kind: &str) -> Option<String> {
    if is_quoted(kind) {
        return kind.get(1..kind.len() - 1).map(str::to_owned);
    }
    let is_name = matches!(kind, "True" | "False" | "None");
    let is_number = kind
        .parse::<i64>()
        .is_ok_and(|number| number.to_string() == kind);
    (is_name || is_number).then(|| kind.to_owned())
}
