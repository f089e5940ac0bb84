//! Reads one section: every key is asked for by name and type, what is left over is unknown.

use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive, str::FromStr};

use super::{
    ConfigError,
    source::{Leaf, Node, Origin, nodes},
};

/// A section being read.
#[derive(Debug)]
pub(crate) struct Section {
    path: String,
    origin: Origin,
    entries: BTreeMap<String, Node>,
    asked: Vec<&'static str>,
}

impl Section {
    pub(crate) fn root(entries: BTreeMap<String, Node>) -> Self {
        Self {
            path: String::new(),
            origin: Origin::Default,
            entries,
            asked: Vec::new(),
        }
    }

    /// A complaint about `key` of this section that only whoever reads it can make.
    pub(crate) fn wrong(
        &self,
        key: &str,
        value: Option<String>,
        fix: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            origin: self.origin.clone(),
            key: self.full(key),
            value,
            fix: fix.into(),
        }
    }

    /// A section below; empty when it was not given.
    pub(crate) fn section(&mut self, key: &'static str) -> Result<Self, ConfigError> {
        let path = self.full(key);
        match self.take(key) {
            None => Ok(Self {
                path,
                origin: self.origin.clone(),
                entries: BTreeMap::new(),
                asked: Vec::new(),
            }),
            Some(Node::Section(entries, origin)) => Ok(Self {
                path,
                origin,
                entries,
                asked: Vec::new(),
            }),
            Some(Node::Leaf(leaf)) => {
                Err(error(&path, &leaf, format!("must be a section [{path}]")))
            }
        }
    }

    /// A list of sections, `[[key]]`; empty when it was not given.
    pub(crate) fn sections(&mut self, key: &'static str) -> Result<Vec<Self>, ConfigError> {
        let path = self.full(key);
        let wanted = format!("must be a list of sections [[{path}]]");
        let leaf = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Node::Leaf(leaf)) => leaf,
            Some(Node::Section(_, origin)) => {
                return Err(ConfigError {
                    origin,
                    key: path,
                    value: None,
                    fix: wanted,
                });
            }
        };
        let toml::Value::Array(items) = &leaf.value else {
            return Err(error(&path, &leaf, wanted));
        };
        let mut sections = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let toml::Value::Table(table) = item else {
                return Err(error(&path, &leaf, wanted));
            };
            sections.push(Self {
                path: format!("{path}[{index}]"),
                origin: leaf.origin.clone(),
                entries: nodes(table.clone(), &leaf.origin),
                asked: Vec::new(),
            });
        }
        Ok(sections)
    }

    /// A text that must parse as `T`; `expected` says what would be right.
    pub(crate) fn parsed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Result<Option<T>, ConfigError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let path = self.full(key);
        let Some(leaf) = self.leaf(key, expected)? else {
            return Ok(None);
        };
        let parsed = text(&leaf).map(|text| text.parse::<T>().map_err(|error| error.to_string()));
        match parsed {
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(why)) => Err(error(&path, &leaf, format!("must be {expected} ({why})"))),
            None => Err(error(&path, &leaf, format!("must be {expected}"))),
        }
    }

    /// A text that is never repeated in a complaint.
    pub(crate) fn secret(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Result<Option<String>, ConfigError> {
        let path = self.full(key);
        let Some(leaf) = self.leaf(key, expected)? else {
            return Ok(None);
        };
        match text(&leaf) {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(ConfigError {
                value: None,
                ..error(&path, &leaf, format!("must be {expected}"))
            }),
        }
    }

    /// [`Self::parsed`] for a key that has no default.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Result<T, ConfigError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.parsed(key, expected)?
            .ok_or_else(|| self.wrong(key, None, format!("is missing: must be {expected}")))
    }

    /// A list of texts that must each parse as `T`.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Result<Vec<T>, ConfigError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let path = self.full(key);
        let wanted = format!("must be a list of {expected}");
        let Some(leaf) = self.leaf(key, &wanted)? else {
            return Ok(Vec::new());
        };
        let toml::Value::Array(items) = &leaf.value else {
            return Err(error(&path, &leaf, wanted));
        };
        let parse = |item: &toml::Value| match item.as_str().map(str::parse::<T>) {
            Some(Ok(value)) => Ok(value),
            Some(Err(why)) => Err(ConfigError {
                origin: leaf.origin.clone(),
                key: path.clone(),
                value: Some(item.to_string()),
                fix: format!("{wanted} ({why})"),
            }),
            None => Err(error(&path, &leaf, wanted.clone())),
        };
        items.iter().map(parse).collect()
    }

    /// A whole number.
    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        let bound = |end: &u64| i64::try_from(*end).unwrap_or(i64::MAX);
        let number = self.signed(key, bound(range.start())..=bound(range.end()))?;
        Ok(number.and_then(|number| u64::try_from(number).ok()))
    }

    /// A whole number that may be negative, as `-1` for "no limit".
    pub(crate) fn signed(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ConfigError> {
        let path = self.full(key);
        let expected = format!(
            "must be a whole number from {} to {}",
            range.start(),
            range.end()
        );
        let Some(leaf) = self.leaf(key, &expected)? else {
            return Ok(None);
        };
        leaf.value
            .as_integer()
            .filter(|number| range.contains(number))
            .map(Some)
            .ok_or_else(|| error(&path, &leaf, expected))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        let path = self.full(key);
        let expected = "must be true or false";
        let Some(leaf) = self.leaf(key, expected)? else {
            return Ok(None);
        };
        leaf.value
            .as_bool()
            .map(Some)
            .ok_or_else(|| error(&path, &leaf, expected))
    }

    /// The end: whatever was not asked for is unknown.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        let Some((key, node)) = self.entries.iter().next() else {
            return Ok(());
        };
        let (origin, value) = match node {
            Node::Section(_, origin) => (origin.clone(), None),
            Node::Leaf(leaf) => (leaf.origin.clone(), Some(shown(leaf))),
        };
        Err(ConfigError {
            origin,
            key: self.full(key),
            value,
            fix: format!("unknown key; known here: {}", self.asked.join(", ")),
        })
    }

    fn leaf(&mut self, key: &'static str, expected: &str) -> Result<Option<Leaf>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Node::Leaf(leaf)) => Ok(Some(leaf)),
            Some(Node::Section(_, origin)) => Err(ConfigError {
                origin,
                key: self.full(key),
                value: None,
                fix: format!("must be {expected}, not a section"),
            }),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Node> {
        self.asked.push(key);
        self.entries.remove(key)
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// A text, or outside files whatever was written.
fn text(leaf: &Leaf) -> Option<&str> {
    match (&leaf.value, &leaf.raw) {
        (toml::Value::String(text), _) => Some(text),
        (_, Some(raw)) => Some(raw),
        _ => None,
    }
}

fn shown(leaf: &Leaf) -> String {
    leaf.raw.clone().unwrap_or_else(|| leaf.value.to_string())
}

fn error(path: &str, leaf: &Leaf, fix: impl Into<String>) -> ConfigError {
    ConfigError {
        origin: leaf.origin.clone(),
        key: path.to_owned(),
        value: Some(shown(leaf)),
        fix: fix.into(),
    }
}
