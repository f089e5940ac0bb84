//! The compiled policies of a listener and how a request is judged by them.

use super::{field::Field, request::RequestFields};

/// A distinct predicate of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PredicateId(pub(super) u32);

/// One policy: matches when all of `need` and none of `forbid` matched.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) need: Vec<PredicateId>,
    pub(super) forbid: Vec<PredicateId>,
}

/// A listener's policies in order of effect: the lowest index that matches decides.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    pub(super) fields: Vec<Field>,
    pub(super) conditions: Vec<Condition>,
    /// By predicate: the policies that are looked at when it matched.
    pub(super) watchers: Vec<Vec<u32>>,
    /// Policies that need nothing: looked at always.
    pub(super) unconditional: Vec<u32>,
}

/// Space for judging, kept between requests of a worker.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    matched: Matched,
    lowered: Vec<u8>,
}

/// The set of matched predicates.
#[derive(Debug, Default)]
pub(super) struct Matched {
    bits: Vec<u64>,
    ids: Vec<PredicateId>,
}

impl Matched {
    fn reset(&mut self, predicates: usize) {
        self.ids.clear();
        self.bits.clear();
        self.bits.resize(predicates.div_ceil(64), 0);
    }

    pub(super) fn add(&mut self, id: PredicateId) {
        if let Some(word) = self.bits.get_mut(id.0 as usize / 64) {
            let bit = 1 << (id.0 % 64);
            if *word & bit == 0 {
                *word |= bit;
                self.ids.push(id);
            }
        }
    }

    fn has(&self, id: PredicateId) -> bool {
        self.bits
            .get(id.0 as usize / 64)
            .is_some_and(|word| word & (1 << (id.0 % 64)) != 0)
    }
}

impl Engine {
    /// There is nothing to judge by.
    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// How many fields of a request are looked at.
    pub(crate) fn fields(&self) -> usize {
        self.fields.len()
    }

    /// The index of the policy that decides over `request`, in order of effect.
    pub(crate) fn decide(
        &self,
        request: RequestFields<'_>,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        if self.conditions.is_empty() {
            return None;
        }
        let Scratch { matched, lowered } = scratch;
        matched.reset(self.watchers.len());
        for field in &self.fields {
            field
                .source
                .for_each(request, |value| field.look_up(value, lowered, matched));
        }
        let watched = matched
            .ids
            .iter()
            .filter_map(|id| self.watchers.get(id.0 as usize))
            .flatten();
        let mut best: Option<u32> = None;
        for &candidate in self.unconditional.iter().chain(watched) {
            if best.is_none_or(|best| candidate < best) && self.holds(candidate, matched) {
                best = Some(candidate);
            }
        }
        best.map(|index| index as usize)
    }

    fn holds(&self, index: u32, matched: &Matched) -> bool {
        self.conditions
            .get(index as usize)
            .is_some_and(|condition| {
                condition.need.iter().all(|id| matched.has(*id))
                    && !condition.forbid.iter().any(|id| matched.has(*id))
            })
    }
}
