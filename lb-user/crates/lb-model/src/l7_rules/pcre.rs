//! Regular expressions as PCRE users write them: which of them mean the same to us.
//!
//! The proxy matches in linear time. What only a backtracking engine can do is named with its place
//! in the expression; so is what both engines take but understand differently, which would be worse
//! than a refusal.

use regex_syntax::ast::{
    AssertionKind, Ast, ClassSet, ClassSetItem, ErrorKind, Flag, FlagsItemKind, RepetitionKind,
    Span, Visitor, parse::Parser, visit,
};

/// Escapes PCRE has and we have not.
const PCRE_ESCAPES: &[char] = &[
    'C', 'E', 'G', 'H', 'K', 'N', 'Q', 'R', 'V', 'X', 'Z', 'c', 'e', 'g', 'h', 'k',
];

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// PCRE would take it.
    pub(super) legal: bool,
    /// In characters, from 1.
    pub(super) at: usize,
    pub(super) reason: String,
}

impl Trouble {
    fn new(legal: bool, span: &Span, reason: impl Into<String>) -> Self {
        Self {
            legal,
            at: span.start.column,
            reason: reason.into(),
        }
    }
}

/// Reads `pattern`.
pub(super) fn check(pattern: &str) -> Result<(), Trouble> {
    let ast = Parser::new().parse(pattern).map_err(|error| {
        let span = error.span();
        let here = pattern.get(span.start.offset..).unwrap_or_default();
        let named = here.chars().find(|it| *it != '\\').unwrap_or_default();
        let (legal, reason) = match error.kind() {
            ErrorKind::UnsupportedLookAround => (true, "look-around is not supported".to_owned()),
            ErrorKind::UnsupportedBackreference => {
                (true, "back-references are not supported".to_owned())
            }
            ErrorKind::EscapeUnrecognized if PCRE_ESCAPES.contains(&named) => {
                (true, format!("\\{named} is not supported"))
            }
            ErrorKind::FlagUnrecognized if "#&(>|+0123456789".contains(named) => (
                true,
                format!("groups that begin with (?{named} are not supported"),
            ),
            ErrorKind::RepetitionMissing
                if pattern
                    .get(..span.start.offset)
                    .is_some_and(|it| it.ends_with('(')) =>
            {
                (true, "verbs are not supported".to_owned())
            }
            kind => (false, kind.to_string()),
        };
        Trouble::new(legal, span, reason)
    })?;
    visit(&ast, Differences)
}

/// Finds what both engines take and understand differently.
struct Differences;

impl Visitor for Differences {
    type Output = ();
    type Err = Trouble;

    fn finish(self) -> Result<(), Trouble> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Trouble> {
        match ast {
            Ast::Repetition(outer) if matches!(&*outer.ast, Ast::Repetition(_)) => {
                match outer.op.kind {
                    RepetitionKind::OneOrMore => {
                        let reason = "possessive repetition is not supported";
                        Err(Trouble::new(true, &outer.op.span, reason))
                    }
                    RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore => {
                        let reason = "there is nothing to repeat";
                        Err(Trouble::new(false, &outer.op.span, reason))
                    }
                    RepetitionKind::Range(_) => Ok(()),
                }
            }
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText
                | AssertionKind::WordBoundary
                | AssertionKind::NotWordBoundary => Ok(()),
                _ => {
                    let reason = "beginnings and ends of words are told by \\b only";
                    Err(Trouble::new(true, &assertion.span, reason))
                }
            },
            Ast::Flags(set) => {
                let mut items = set.flags.items.iter();
                match items.find(|it| it.kind == FlagsItemKind::Flag(Flag::CRLF)) {
                    Some(item) => {
                        let reason = "recursion is not supported";
                        Err(Trouble::new(true, &item.span, reason))
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Trouble> {
        match item {
            ClassSetItem::Bracketed(class) if !matches!(class.kind, ClassSet::BinaryOp(_)) => {
                let reason = "a bracket within a class must be escaped";
                Err(Trouble::new(true, &class.span, reason))
            }
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(
        &mut self,
        operation: &regex_syntax::ast::ClassSetBinaryOp,
    ) -> Result<(), Trouble> {
        let reason = "&&, -- and ~~ within a class must be escaped";
        Err(Trouble::new(true, &operation.span, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_passes() {
        for good in [
            "^/v[12]/",
            "a+?b*?",
            "(?i)jpe?g$",
            "(?:a|b){2,3}",
            r"\d+\.\w\s\b",
            "[[:alpha:]_-]+",
            "(?P<name>x)",
            r"[\[\]]",
            "a{2}{3}",
            r"\A/x\z",
            "(?s).",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_only_a_backtracking_engine_does_is_named_with_its_place() {
        for (bad, at) in [
            ("a(?=b)", 2),
            ("(?<!x)y", 1),
            (r"(a)\1", 4),
            ("(?>a)", 3),
            ("a++b", 3),
            (r"a\Kb", 2),
            (r"\Q.\E", 1),
            ("(a)(?1)", 6),
            ("(?R)", 3),
            ("(*FAIL)", 2),
            ("[a-z&&[^b]]", 2),
            ("[a[b]]", 3),
            (r"\<a", 1),
        ] {
            let trouble = check(bad).unwrap_err();
            assert!(trouble.legal, "{bad}: {trouble:?}");
            assert_eq!(trouble.at, at, "{bad}: {trouble:?}");
        }
    }

    #[test]
    fn what_no_engine_takes_is_told_as_such() {
        for (bad, at) in [("a(b", 2), ("[a", 1), ("a**", 3), ("*a", 1), ("a{2,1}", 2)] {
            let trouble = check(bad).unwrap_err();
            assert!(!trouble.legal, "{bad}: {trouble:?}");
            assert_eq!(trouble.at, at, "{bad}: {trouble:?}");
        }
    }
}
