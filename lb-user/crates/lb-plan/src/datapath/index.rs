//! Numbers handed out, taken back, and kept from use for a while in between.
//!
//! An index that an object gave up is *retired*: a packet under way, a flow or a counter may still
//! name it. It becomes free when [`Indices::reclaim`] is told that nothing does.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Indices of one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Indices {
    /// Lowest one never handed out.
    next: u32,
    /// Handed out before, free again.
    free: BTreeSet<u32>,
    /// Given up, not yet free.
    retired: BTreeSet<u32>,
}

impl Indices {
    /// Hands out from `first`.
    pub(super) const fn starting_at(first: u32) -> Self {
        Self {
            next: first,
            free: BTreeSet::new(),
            retired: BTreeSet::new(),
        }
    }

    /// One that nobody has, below `limit`.
    pub(super) fn take(&mut self, limit: u32) -> Option<u32> {
        if let Some(index) = self.free.pop_first() {
            return Some(index);
        }
        (self.next < limit).then(|| {
            let index = self.next;
            self.next += 1;
            index
        })
    }

    /// One that nobody has, below `limit`, of those that `fits`. What is passed over stays free.
    pub(super) fn take_where(&mut self, limit: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
        if let Some(index) = self.free.iter().copied().find(|index| fits(*index)) {
            self.free.remove(&index);
            return Some(index);
        }
        let index = (self.next..limit).find(|index| fits(*index))?;
        self.free.extend(self.next..index);
        self.next = index + 1;
        Some(index)
    }

    /// Gives one up.
    pub(super) fn retire(&mut self, index: u32) {
        self.retired.insert(index);
    }

    /// Frees what is retired and not `in_use`, and says what that was.
    pub(super) fn reclaim(&mut self, in_use: impl Fn(u32) -> bool) -> BTreeSet<u32> {
        let (keep, free): (_, BTreeSet<u32>) =
            self.retired.iter().partition(|index| in_use(**index));
        self.retired = keep;
        self.free.extend(&free);
        free
    }
}

/// Blocks of a power of two words, each aligned to its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blocks {
    next: u32,
    free: BTreeSet<Block>,
    retired: BTreeSet<Block>,
}

/// A block of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Block {
    /// Words: a power of two.
    pub(super) size: u32,
    /// First word.
    pub(super) base: u32,
}

impl Blocks {
    pub(super) const fn new() -> Self {
        Self {
            next: 0,
            free: BTreeSet::new(),
            retired: BTreeSet::new(),
        }
    }

    /// A block of `size` words below `limit`. A larger free one is halved as often as needed.
    pub(super) fn take(&mut self, size: u32, limit: u32) -> Option<Block> {
        let from = Block { size, base: 0 };
        if let Some(block) = self.free.range(from..).next().copied() {
            self.free.remove(&block);
            let mut left = block.size;
            while left > size {
                left /= 2;
                self.free.insert(Block {
                    size: left,
                    base: block.base + left,
                });
            }
            return Some(Block {
                size,
                base: block.base,
            });
        }
        let base = self.next.checked_next_multiple_of(size)?;
        let end = base.checked_add(size).filter(|end| *end <= limit)?;
        // What alignment skips stays usable, in blocks aligned to their size.
        while self.next < base {
            let size = 1 << self.next.trailing_zeros();
            self.free.insert(Block {
                size,
                base: self.next,
            });
            self.next += size;
        }
        self.next = end;
        Some(Block { size, base })
    }

    pub(super) fn retire(&mut self, block: Block) {
        self.retired.insert(block);
    }

    /// Frees what is retired, joining halves.
    pub(super) fn reclaim(&mut self) {
        while let Some(mut block) = self.retired.pop_first() {
            loop {
                let buddy = Block {
                    size: block.size,
                    base: block.base ^ block.size,
                };
                if !self.free.remove(&buddy) {
                    break;
                }
                block = Block {
                    size: block.size * 2,
                    base: block.base.min(buddy.base),
                };
            }
            self.free.insert(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_index_is_handed_out_only_after_it_was_reclaimed() {
        let mut indices = Indices::starting_at(1);
        assert_eq!(indices.take(3), Some(1));
        assert_eq!(indices.take(3), Some(2));
        assert_eq!(indices.take(3), None);
        indices.retire(1);
        assert_eq!(indices.take(3), None);
        indices.reclaim(|index| index == 1);
        assert_eq!(indices.take(3), None, "still in use");
        indices.reclaim(|_| false);
        assert_eq!(indices.take(3), Some(1));
    }

    #[test]
    fn blocks_are_aligned_split_and_joined() {
        let mut blocks = Blocks::new();
        let small = blocks.take(4, 64).expect("room");
        let large = blocks.take(16, 64).expect("room");
        assert_eq!((small.base, large.base), (0, 16));
        assert_eq!(blocks.take(4, 64).expect("skipped words").base, 4);
        assert_eq!(blocks.take(64, 64), None);
        blocks.retire(large);
        assert_ne!(blocks.take(16, 64).expect("room").base, 16);
        blocks.reclaim();
        assert_eq!(blocks.take(16, 64).expect("reclaimed").base, 16);
    }
}
