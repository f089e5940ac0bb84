//! L7 policies, compiled so that 500 rules cost what 10 cost.
//!
//! What: every distinct (field, comparison, value) of a listener's rules becomes a predicate with an
//! id. A request's fields are looked up once each ([`field`]): equal values in a sorted table,
//! prefixes and substrings in one automaton each, suffixes in a sorted table per length, regular
//! expressions in one set. What matched is a set of ids; a policy is the ids it needs and the ids it
//! forbids ([`engine`]). Only policies that need a matched id are looked at.
//!
//! Invariants: order of effect is Octavia's (contract 10.1): REJECT, then both redirects, then pools,
//! by position within each class; matching is contract 10.2 to the letter; the compiled engine equals
//! the naive interpreter (`naive`, a property test).
//!
//! Left out on purpose: regular expressions with look-around or back-references (the regex
//! crate has none, which is what makes it safe against hostile input): the API refuses them.

mod compile;
mod engine;
mod field;
#[cfg(test)]
mod naive;
mod request;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use compile::{compile, seen};
pub(crate) use engine::{Engine, Scratch};
pub(crate) use field::CompileError;
pub(crate) use request::{Headers, RequestFields};
