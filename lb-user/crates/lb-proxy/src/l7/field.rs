//! One field's predicates, looked up together.

use aho_corasick::{
    AhoCorasick, Anchored, Input, MatchKind, StartKind, automaton::OverlappingState,
};
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::{
    engine::{Matched, PredicateId},
    request::Source,
};

/// How a predicate compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Comparison {
    Equal,
    Prefix,
    Suffix,
    Contains,
    Regex,
}

/// Heap that one compiled expression may take, in bytes.
const REGEX_BYTES_MAX: usize = 4 << 20;

/// All predicates of one [`Source`].
#[derive(Debug)]
pub(super) struct Field {
    pub(super) source: Source,
    equal: Table,
    prefix: Option<Automaton>,
    suffix: Vec<(usize, Table)>,
    contains: Option<Automaton>,
    regex: Regexes,
}

/// Literals in order, each with its predicate.
#[derive(Debug, Default)]
struct Table(Vec<(Vec<u8>, PredicateId)>);

#[derive(Debug)]
struct Automaton {
    search: AhoCorasick,
    ids: Vec<PredicateId>,
}

#[derive(Debug, Default)]
struct Regexes {
    set: Option<RegexSet>,
    /// When the set as a whole grew too large.
    single: Vec<Regex>,
    ids: Vec<PredicateId>,
}

/// A predicate on its way into a field.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) comparison: Comparison,
    pub(super) value: String,
    pub(super) id: PredicateId,
}

/// Why a field could not be compiled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    /// The expression is not one the engine has.
    #[error("regular expression cannot be used: {0}")]
    Regex(#[from] regex::Error),
    /// Too many or too large literals.
    #[error("values cannot be compiled: {0}")]
    Literals(#[from] aho_corasick::BuildError),
    /// Not a header name.
    #[error("'{0}' is not a header name")]
    HeaderName(String),
}

impl Field {
    pub(super) fn new(source: Source, entries: Vec<Entry>) -> Result<Self, CompileError> {
        let mut by_comparison: [Vec<(Vec<u8>, PredicateId)>; 4] = Default::default();
        let mut regexes = Vec::new();
        let [equal, prefix, suffix, contains] = &mut by_comparison;
        for entry in entries {
            let mut literal = entry.value.clone().into_bytes();
            if source.ignores_case() {
                literal.make_ascii_lowercase();
            }
            match entry.comparison {
                Comparison::Equal => equal.push((literal, entry.id)),
                Comparison::Prefix => prefix.push((literal, entry.id)),
                Comparison::Suffix => suffix.push((literal, entry.id)),
                Comparison::Contains => contains.push((literal, entry.id)),
                Comparison::Regex => regexes.push((entry.value, entry.id)),
            }
        }
        let [equal, prefix, suffix, contains] = by_comparison;
        Ok(Self {
            regex: Regexes::new(regexes, source.ignores_case())?,
            source,
            equal: Table::new(equal),
            prefix: Automaton::new(prefix, StartKind::Anchored)?,
            suffix: by_length(suffix),
            contains: Automaton::new(contains, StartKind::Unanchored)?,
        })
    }

    /// Adds the predicates that `value` fulfils.
    pub(super) fn look_up(&self, value: &[u8], lowered: &mut Vec<u8>, matched: &mut Matched) {
        // The set has its own case folding; literals are compared in lower case.
        self.regex.look_up(value, matched);
        let value = if self.source.ignores_case() {
            lowered.clear();
            lowered.extend(value.iter().map(u8::to_ascii_lowercase));
            lowered.as_slice()
        } else {
            value
        };
        self.equal.look_up(value, matched);
        for (length, table) in &self.suffix {
            if let Some((_before, end)) = value
                .len()
                .checked_sub(*length)
                .and_then(|at| value.split_at_checked(at))
            {
                table.look_up(end, matched);
            }
        }
        if let Some(prefix) = &self.prefix {
            prefix.look_up(value, Anchored::Yes, matched);
        }
        if let Some(contains) = &self.contains {
            contains.look_up(value, Anchored::No, matched);
        }
    }
}

fn by_length(literals: Vec<(Vec<u8>, PredicateId)>) -> Vec<(usize, Table)> {
    let mut lengths = std::collections::BTreeMap::<usize, Vec<(Vec<u8>, PredicateId)>>::new();
    for (literal, id) in literals {
        lengths
            .entry(literal.len())
            .or_default()
            .push((literal, id));
    }
    lengths
        .into_iter()
        .map(|(length, literals)| (length, Table::new(literals)))
        .collect()
}

impl Table {
    fn new(mut literals: Vec<(Vec<u8>, PredicateId)>) -> Self {
        literals.sort_unstable();
        Self(literals)
    }

    fn look_up(&self, value: &[u8], matched: &mut Matched) {
        let found = self
            .0
            .binary_search_by(|(literal, _)| literal.as_slice().cmp(value))
            .ok()
            .and_then(|at| self.0.get(at));
        if let Some((_, id)) = found {
            matched.add(*id);
        }
    }
}

impl Automaton {
    fn new(
        literals: Vec<(Vec<u8>, PredicateId)>,
        start: StartKind,
    ) -> Result<Option<Self>, CompileError> {
        if literals.is_empty() {
            return Ok(None);
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .start_kind(start)
            .build(literals.iter().map(|(literal, _)| literal))?;
        let ids = literals.into_iter().map(|(_, id)| id).collect();
        Ok(Some(Self { search, ids }))
    }

    fn look_up(&self, value: &[u8], anchored: Anchored, matched: &mut Matched) {
        let input = Input::new(value).anchored(anchored);
        let mut state = OverlappingState::start();
        // An error would mean that the automaton was built for another kind of search.
        while self
            .search
            .try_find_overlapping(input.clone(), &mut state)
            .is_ok()
        {
            let Some(hit) = state.get_match() else {
                return;
            };
            // An anchored search also tells literals that end a longer one's prefix.
            let counts = !anchored.is_anchored() || hit.start() == 0;
            if let Some(id) = self.ids.get(hit.pattern().as_usize()).filter(|_| counts) {
                matched.add(*id);
            }
        }
    }
}

impl Regexes {
    fn new(patterns: Vec<(String, PredicateId)>, ignore_case: bool) -> Result<Self, CompileError> {
        let mut single = Vec::with_capacity(patterns.len());
        for (pattern, _) in &patterns {
            single.push(one(pattern, ignore_case)?);
        }
        let set = (!patterns.is_empty())
            .then(|| {
                RegexSetBuilder::new(patterns.iter().map(|(pattern, _)| pattern))
                    .case_insensitive(ignore_case)
                    .unicode(false)
                    .size_limit(REGEX_BYTES_MAX)
                    .build()
                    .ok()
            })
            .flatten();
        Ok(Self {
            single: if set.is_some() { Vec::new() } else { single },
            set,
            ids: patterns.into_iter().map(|(_, id)| id).collect(),
        })
    }

    fn look_up(&self, value: &[u8], matched: &mut Matched) {
        if let Some(set) = &self.set {
            for at in &set.matches(value) {
                self.add(at, matched);
            }
        }
        for (at, regex) in self.single.iter().enumerate() {
            if regex.is_match(value) {
                self.add(at, matched);
            }
        }
    }

    fn add(&self, at: usize, matched: &mut Matched) {
        if let Some(id) = self.ids.get(at) {
            matched.add(*id);
        }
    }
}

/// HAProxy runs PCRE on bytes; a class that exists only in Unicode is tried with it.
pub(super) fn one(pattern: &str, ignore_case: bool) -> Result<Regex, CompileError> {
    let build = |unicode| {
        RegexBuilder::new(pattern)
            .case_insensitive(ignore_case)
            .unicode(unicode)
            .size_limit(REGEX_BYTES_MAX)
            .build()
    };
    Ok(build(false).or_else(|_bytes_only| build(true))?)
}
