//! A field of a request body, which may be absent, null, or a value: three different things.

use crate::fault::Fault;

/// A field of a body: clients distinguish "not there" from null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Given<T> {
    /// The key is not in the body.
    #[default]
    Absent,
    /// The key is there and null: "clear it".
    Null,
    /// The key has a value.
    Value(T),
}

impl<T> Given<T> {
    /// Whether the key was in the body, be it null.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The value, when there is one.
    #[must_use]
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// The value, when there is one.
    #[must_use]
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// The value to store at create for a field whose null has a meaning of its own.
    #[must_use]
    pub fn resolve(self, absent: T, null: T) -> T {
        match self {
            Self::Absent => absent,
            Self::Null => null,
            Self::Value(value) => value,
        }
    }

    /// The value to store at create for a field that can be null.
    #[must_use]
    pub fn or_absent(self, absent: T) -> Option<T> {
        match self {
            Self::Absent => Some(absent),
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }

    /// Changes `slot` as an update does: absent leaves it, null resets it.
    pub fn apply(self, slot: &mut T, null: T) {
        match self {
            Self::Absent => {}
            Self::Null => *slot = null,
            Self::Value(value) => *slot = value,
        }
    }

    /// Like [`Given::apply`] for a field that may be empty.
    pub fn apply_option(self, slot: &mut Option<T>, null: Option<T>) {
        match self {
            Self::Absent => {}
            Self::Null => *slot = null,
            Self::Value(value) => *slot = Some(value),
        }
    }

    /// Changes the value inside.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Given<U> {
        match self {
            Self::Absent => Given::Absent,
            Self::Null => Given::Null,
            Self::Value(value) => Given::Value(change(value)),
        }
    }

    /// Changes the value inside, or fails.
    pub fn try_map<U>(self, change: impl FnOnce(T) -> Result<U, Fault>) -> Result<Given<U>, Fault> {
        Ok(match self {
            Self::Absent => Given::Absent,
            Self::Null => Given::Null,
            Self::Value(value) => Given::Value(change(value)?),
        })
    }
}
