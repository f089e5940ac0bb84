//! Why a policy cannot be used.

/// What is wrong with an operator's rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The file is no YAML mapping of names to rules.
    #[error("the policy file is not a mapping of rule names to rules: {0}")]
    Form(String),
    /// The file, a rule, or the number of rules.
    #[error("{what} is larger than {max} {unit}")]
    TooLarge {
        /// What.
        what: String,
        /// The limit.
        max: usize,
        /// Of what.
        unit: &'static str,
    },
    /// A rule that is not in the language.
    #[error("rule \"{rule}\": {why}")]
    Syntax {
        /// Its name.
        rule: String,
        /// What is wrong.
        why: String,
    },
    /// A name that nothing asks for.
    #[error("rule \"{0}\" is unknown: no API call has this name and no other rule refers to it")]
    UnknownRule(String),
    /// `rule:NAME` of no rule.
    #[error("rule \"{rule}\" refers to rule \"{wanted}\", which does not exist")]
    UnknownReference {
        /// Who refers.
        rule: String,
        /// To what.
        wanted: String,
    },
    /// A check that cannot be evaluated.
    #[error("rule \"{rule}\": checks of the kind \"{kind}\" are unknown")]
    UnknownKind {
        /// The rule.
        rule: String,
        /// What stands before the colon.
        kind: String,
    },
    /// A rule that leads to itself.
    #[error("rule \"{0}\" refers to itself")]
    Cycle(String),
}
